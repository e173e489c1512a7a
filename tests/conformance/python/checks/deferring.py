"""Deferred messages: received by their sequence numbers, in both modes, and settled in every way."""

from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.exceptions import MessageNotFoundError

from . import assert_empty, body, client, equal, receive
from .errors import raises

QUEUE = "deferring"


def defer(bus, receiver, *bodies):
    """Sends messages, defers them, and says their sequence numbers."""
    with bus.get_queue_sender(QUEUE) as sender:
        sender.send_messages([ServiceBusMessage(text) for text in bodies])
    messages = receive(receiver, len(bodies))
    for message in messages:
        receiver.defer_message(message)
    assert_empty(receiver)
    return [message.sequence_number for message in messages]


def by_number(connection_string):
    """a deferred message comes by its number only, with its lock, and can be completed"""
    with client(connection_string) as bus:
        with bus.get_queue_receiver(QUEUE) as receiver:
            numbers = defer(bus, receiver, "a", "b")
            messages = receiver.receive_deferred_messages(numbers)
            equal([body(message) for message in messages], [b"a", b"b"], "bodies")
            for message in messages:
                equal((message.state.name, message.delivery_count), ("DEFERRED", 1), "message")
                assert message.lock_token and message.locked_until_utc
                receiver.renew_message_lock(message)
                receiver.complete_message(message)
            raises(MessageNotFoundError, lambda: receiver.receive_deferred_messages(numbers[0]))


def abandoned(connection_string):
    """an abandoned deferred message stays deferred"""
    with client(connection_string) as bus:
        with bus.get_queue_receiver(QUEUE) as receiver:
            [number] = defer(bus, receiver, "a")
            [message] = receiver.receive_deferred_messages(number)
            receiver.abandon_message(message)
            assert_empty(receiver)
            [message] = receiver.receive_deferred_messages(number)
            equal(message.delivery_count, 2, "delivery count")
            receiver.defer_message(message)
            [message] = receiver.receive_deferred_messages(number)
            receiver.complete_message(message)


def dead_lettered(connection_string):
    """a deferred message can be dead-lettered with a reason"""
    with client(connection_string) as bus:
        with bus.get_queue_receiver(QUEUE) as receiver:
            [number] = defer(bus, receiver, "a")
            [message] = receiver.receive_deferred_messages(number)
            receiver.dead_letter_message(message, reason="R", error_description="D")
        with bus.get_queue_receiver(QUEUE, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
            [message] = receive(receiver, 1)
            equal((message.dead_letter_reason, message.dead_letter_error_description), ("R", "D"), "reason")
            # A dead letter can be deferred as well.
            receiver.defer_message(message)
            assert_empty(receiver)
            [message] = receiver.receive_deferred_messages(message.sequence_number)
            receiver.complete_message(message)


def deleted(connection_string):
    """receive-and-delete takes a deferred message for good"""
    with client(connection_string) as bus:
        with bus.get_queue_receiver(QUEUE) as receiver:
            [number] = defer(bus, receiver, "a")
        mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
        with bus.get_queue_receiver(QUEUE, receive_mode=mode) as receiver:
            [message] = receiver.receive_deferred_messages(number)
            equal(body(message), b"a", "body")
            raises(MessageNotFoundError, lambda: receiver.receive_deferred_messages(number))


def missing(connection_string):
    """a number under which nothing is deferred is an error, and nothing is taken"""
    with client(connection_string) as bus:
        with bus.get_queue_receiver(QUEUE) as receiver:
            [number] = defer(bus, receiver, "a")
            raises(MessageNotFoundError, lambda: receiver.receive_deferred_messages([number, 999_999]))
            [message] = receiver.receive_deferred_messages(number)
            receiver.complete_message(message)


CHECKS = [by_number, abandoned, dead_lettered, deleted, missing]
