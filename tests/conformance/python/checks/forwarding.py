"""Forwarding: from one queue to another, of messages and of dead letters."""

from datetime import datetime, timedelta, timezone

from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.exceptions import ServiceBusError

from . import assert_empty, body, client, equal, receive
from .errors import raises

SOURCE, TARGET = "forwarding", "forwarded"
BURYING, GRAVEYARD = "burying", "buried"


def arrival(connection_string):
    """a message sent to a queue that forwards arrives at its target, with its first number"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(TARGET) as sender:
            sender.send_messages(ServiceBusMessage(b"direct"))
        with bus.get_queue_sender(SOURCE) as sender:
            sender.send_messages([ServiceBusMessage(b"1"), ServiceBusMessage(b"2")])
        with bus.get_queue_receiver(TARGET) as receiver:
            direct, first, second = receive(receiver, 3)
            equal([body(direct), body(first), body(second)], [b"direct", b"1", b"2"], "bodies")
            equal(direct.enqueued_sequence_number, None, "first number of what was not forwarded")
            equal(second.enqueued_sequence_number, first.enqueued_sequence_number + 1, "first number")
            assert first.sequence_number > direct.sequence_number
            for message in (direct, first, second):
                receiver.complete_message(message)
            assert_empty(receiver)


def no_receivers(connection_string):
    """a queue that forwards cannot be received from"""
    with client(connection_string) as bus:
        raises(ServiceBusError, lambda: bus.get_queue_receiver(SOURCE).__enter__())


def dead_letters(connection_string):
    """a dead letter is forwarded with its reason and names its queue"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(BURYING) as sender:
            sender.send_messages(ServiceBusMessage(b"x", message_id="1"))
        with bus.get_queue_receiver(BURYING) as receiver:
            receiver.dead_letter_message(receive(receiver, 1)[0], reason="R", error_description="D")
        with bus.get_queue_receiver(GRAVEYARD) as receiver:
            [message] = receive(receiver, 1)
            equal((message.message_id, message.dead_letter_source), ("1", BURYING), "message")
            equal((message.dead_letter_reason, message.dead_letter_error_description), ("R", "D"), "reason")
            equal(message.delivery_count, 0, "delivery count")
            receiver.complete_message(message)
        with bus.get_queue_receiver(BURYING, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
            assert_empty(receiver)


def scheduled(connection_string):
    """a scheduled message is forwarded when its time comes"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(SOURCE) as sender:
            at = datetime.now(timezone.utc) + timedelta(seconds=1)
            sender.schedule_messages(ServiceBusMessage(b"later"), at)
        with bus.get_queue_receiver(TARGET) as receiver:
            [message] = receive(receiver, 1)
            assert datetime.now(timezone.utc) >= at - timedelta(milliseconds=50), "too early"
            receiver.complete_message(message)


CHECKS = [arrival, no_receivers, dead_letters, scheduled]
