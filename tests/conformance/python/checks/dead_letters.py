"""Dead letters: by hand, by too many deliveries, by age; and reading them."""

from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue

from . import assert_empty, body, client, equal, receive


def dead(bus, queue, **options):
    return bus.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER, **options)


def by_hand(connection_string):
    """a dead-lettered message is in the dead-letter queue with its reason and all it carried"""
    with client(connection_string) as bus:
        with bus.get_queue_sender("dead-letters") as sender:
            sender.send_messages(
                ServiceBusMessage(b"x", message_id="1", application_properties={"kept": "yes"})
            )
        with bus.get_queue_receiver("dead-letters") as receiver:
            [message] = receive(receiver, 1)
            receiver.dead_letter_message(message, reason="BadInput", error_description="a field is missing")
            assert_empty(receiver)
        with dead(bus, "dead-letters") as receiver:
            [message] = receive(receiver, 1)
            equal(message.dead_letter_reason, "BadInput", "reason")
            equal(message.dead_letter_error_description, "a field is missing", "description")
            equal(message.application_properties[b"kept"], b"yes", "kept property")
            equal((message.message_id, body(message)), ("1", b"x"), "message")
            receiver.complete_message(message)
            assert_empty(receiver)


def without_reason(connection_string):
    """a message can be dead-lettered without a reason"""
    with client(connection_string) as bus:
        with bus.get_queue_sender("dead-letters") as sender:
            sender.send_messages(ServiceBusMessage(b"x"))
        with bus.get_queue_receiver("dead-letters") as receiver:
            receiver.dead_letter_message(receive(receiver, 1)[0])
        with dead(bus, "dead-letters", receive_mode="receiveanddelete") as receiver:
            [message] = receive(receiver, 1)
            equal(body(message), b"x", "body")
            assert_empty(receiver)


def too_many_deliveries(connection_string):
    """a message that fails max-delivery-count times becomes a dead letter with the broker's reason"""
    with client(connection_string) as bus:
        with bus.get_queue_sender("two-tries") as sender:
            sender.send_messages(ServiceBusMessage(b"x", message_id="1"))
        with bus.get_queue_receiver("two-tries") as receiver:
            for _ in range(2):
                receiver.abandon_message(receive(receiver, 1)[0])
            assert_empty(receiver)
        with dead(bus, "two-tries") as receiver:
            [message] = receive(receiver, 1)
            equal(message.dead_letter_reason, "MaxDeliveryCountExceeded", "reason")
            equal((message.message_id, message.delivery_count), ("1", 2), "message")
            # A dead letter may fail as often as it likes.
            for _ in range(3):
                receiver.abandon_message(message)
                [message] = receive(receiver, 1)
            receiver.complete_message(message)
            assert_empty(receiver)


def too_old(connection_string):
    """a message that outlives its time becomes a dead letter where the queue says so"""
    with client(connection_string) as bus:
        with bus.get_queue_sender("expiring") as sender:
            sender.send_messages(ServiceBusMessage(b"x", message_id="1"))
        with dead(bus, "expiring") as receiver:
            [message] = receive(receiver, 1)
            equal(message.dead_letter_reason, "TTLExpiredException", "reason")
            receiver.complete_message(message)
            assert_empty(receiver)
        with bus.get_queue_receiver("expiring") as receiver:
            assert_empty(receiver)


CHECKS = [by_hand, without_reason, too_many_deliveries, too_old]
