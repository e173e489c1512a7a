"""Peeking: what is there, in every state, without taking it."""

from datetime import datetime, timedelta, timezone

from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue

from . import assert_empty, body, client, equal, receive

QUEUE = "peeking"


def ids(messages):
    return [message.message_id for message in messages]


def send(bus, wanted):
    with bus.get_queue_sender(QUEUE) as sender:
        sender.send_messages([ServiceBusMessage(i, message_id=i) for i in wanted])


def clear(receiver, count):
    for message in receive(receiver, count):
        receiver.complete_message(message)
    assert_empty(receiver)


def batches(connection_string):
    """peeking goes on where it ended, and takes nothing"""
    with client(connection_string) as bus:
        send(bus, [str(i) for i in range(5)])
        with bus.get_queue_receiver(QUEUE) as receiver:
            first = receiver.peek_messages(max_message_count=3)
            equal(ids(first), ["0", "1", "2"], "first batch")
            equal(body(first[0]), b"0", "body")
            equal(first[0].locked_until_utc, None, "lock")
            equal(ids(receiver.peek_messages(max_message_count=9)), ["3", "4"], "second batch")
            equal(receiver.peek_messages(max_message_count=9), [], "rest")
            clear(receiver, 5)


def from_number(connection_string):
    """peeking starts at a given sequence number"""
    with client(connection_string) as bus:
        send(bus, ["a", "b", "c"])
        with bus.get_queue_receiver(QUEUE) as receiver:
            numbers = [message.sequence_number for message in receiver.peek_messages(3)]
            peeked = receiver.peek_messages(9, sequence_number=numbers[1])
            equal(ids(peeked), ["b", "c"], "from the second")
            clear(receiver, 3)


def states(connection_string):
    """peeking shows active, locked, deferred and scheduled messages with their state"""
    with client(connection_string) as bus:
        send(bus, ["deferred", "locked"])
        with bus.get_queue_receiver(QUEUE) as receiver, bus.get_queue_sender(QUEUE) as sender:
            deferred, locked = receive(receiver, 2)
            receiver.defer_message(deferred)
            at = datetime.now(timezone.utc) + timedelta(hours=1)
            number = sender.schedule_messages(ServiceBusMessage(b"x", message_id="scheduled"), at)
            sender.send_messages(ServiceBusMessage(b"x", message_id="active"))
            peeked = receiver.peek_messages(9, sequence_number=1)
            expected = {"deferred": "DEFERRED", "locked": "ACTIVE", "scheduled": "SCHEDULED", "active": "ACTIVE"}
            equal({message.message_id: message.state.name for message in peeked}, expected, "states")
            sender.cancel_scheduled_messages(number)
            receiver.complete_message(locked)
            [deferred] = receiver.receive_deferred_messages(deferred.sequence_number)
            receiver.complete_message(deferred)
            clear(receiver, 1)


def dead_letters(connection_string):
    """the dead letters of a queue are peeked at apart from the queue"""
    with client(connection_string) as bus:
        send(bus, ["dead", "alive"])
        with bus.get_queue_receiver(QUEUE) as receiver:
            [message] = receive(receiver, 1)
            receiver.dead_letter_message(message, reason="R")
            equal(ids(receiver.peek_messages(9, sequence_number=1)), ["alive"], "queue")
            clear(receiver, 1)
        with bus.get_queue_receiver(QUEUE, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
            [peeked] = receiver.peek_messages(9)
            equal((peeked.message_id, peeked.dead_letter_reason), ("dead", "R"), "dead letter")
            clear(receiver, 1)


def nothing(connection_string):
    """peeking at an empty queue gives nothing, at once"""
    with client(connection_string) as bus, bus.get_queue_receiver(QUEUE) as receiver:
        equal(receiver.peek_messages(timeout=5), [], "messages")


CHECKS = [batches, from_number, states, dead_letters, nothing]
