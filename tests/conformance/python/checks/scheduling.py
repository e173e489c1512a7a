"""Scheduled messages: they come at their time, and can be cancelled until then."""

import time
from datetime import datetime, timedelta, timezone

from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessageNotFoundError

from . import assert_empty, body, client, equal, receive
from .errors import raises

QUEUE = "scheduling"


def later(seconds):
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


def one(connection_string):
    """a scheduled message comes at its time, with a new sequence number"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            at = later(4)
            [number] = sender.schedule_messages(ServiceBusMessage(b"x", message_id="1"), at)
            assert_empty(receiver)
            [message] = receive(receiver, 1)
            assert datetime.now(timezone.utc) >= at - timedelta(milliseconds=50), "too early"
            equal((message.message_id, body(message)), ("1", b"x"), "message")
            assert message.sequence_number > number
            assert abs(message.scheduled_enqueue_time_utc - at) < timedelta(milliseconds=2)
            equal(message.state.name, "ACTIVE", "state")
            receiver.complete_message(message)
            assert_empty(receiver)


def many(connection_string):
    """a list of messages is scheduled at once and comes in its order"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            wanted = [str(i) for i in range(20)]
            messages = [ServiceBusMessage(i, message_id=i) for i in wanted]
            numbers = sender.schedule_messages(messages, later(0.5))
            equal(len(set(numbers)), 20, "sequence numbers")
            got = receive(receiver, 20)
            equal([message.message_id for message in got], wanted, "order")
            for message in got:
                receiver.complete_message(message)


def annotated(connection_string):
    """a message that carries its time is scheduled by a plain send and by a batch"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            at = later(1)
            sender.send_messages(ServiceBusMessage(b"one", scheduled_enqueue_time_utc=at))
            batch = sender.create_message_batch()
            batch.add_message(ServiceBusMessage(b"two", scheduled_enqueue_time_utc=at))
            batch.add_message(ServiceBusMessage(b"now"))
            sender.send_messages(batch)
            [first] = receive(receiver, 1)
            equal(body(first), b"now", "what is not scheduled")
            rest = receive(receiver, 2)
            equal([body(message) for message in rest], [b"one", b"two"], "the others")
            assert datetime.now(timezone.utc) >= at - timedelta(milliseconds=50), "too early"
            for message in [first, *rest]:
                receiver.complete_message(message)


def cancelled(connection_string):
    """a cancelled message never comes, and cannot be cancelled twice"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            messages = [ServiceBusMessage(str(i), message_id=str(i)) for i in range(3)]
            numbers = sender.schedule_messages(messages, later(4))
            sender.cancel_scheduled_messages([numbers[0], numbers[2]])
            raises(MessageNotFoundError, lambda: sender.cancel_scheduled_messages(numbers[0]))
            [message] = receive(receiver, 1)
            equal(message.message_id, "1", "the one that was left")
            receiver.complete_message(message)
            assert_empty(receiver)


def past(connection_string):
    """a message scheduled for the past is available at once"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            sender.schedule_messages(ServiceBusMessage(b"x"), later(-60))
            started = time.monotonic()
            [message] = receive(receiver, 1)
            assert time.monotonic() - started < 2
            receiver.complete_message(message)


CHECKS = [one, many, annotated, cancelled, past]
