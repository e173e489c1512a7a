"""Sending: one, many, batches, and everything a message can carry."""

import uuid
from datetime import datetime, timedelta, timezone

from azure.servicebus import ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage

from . import assert_empty, body, client, equal, receive

QUEUE = "sending"


def one_message(connection_string):
    """a message arrives with a body, a sequence number, an enqueue time and a lock"""
    before = datetime.now(timezone.utc) - timedelta(seconds=2)
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            sender.send_messages(ServiceBusMessage(b"hello"))
        with bus.get_queue_receiver(QUEUE) as receiver:
            [message] = receive(receiver, 1)
            equal(body(message), b"hello", "body")
            equal(message.delivery_count, 0, "delivery count")
            assert message.sequence_number > 0
            assert before <= message.enqueued_time_utc <= datetime.now(timezone.utc) + timedelta(seconds=2)
            lock = message.locked_until_utc - datetime.now(timezone.utc)
            assert timedelta(seconds=50) < lock <= timedelta(seconds=61), f"locked for {lock}"
            assert isinstance(message.lock_token, uuid.UUID)
            equal(message.state.name, "ACTIVE", "state")
            receiver.complete_message(message)
            assert_empty(receiver)


def assigned_message_id(connection_string):
    """a message without an id is given one of 32 hexadecimal digits"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            # A `ServiceBusMessage` has an id of the SDK's making; the raw form has none.
            sender.send_messages(AmqpAnnotatedMessage(data_body=b"a"))
            sender.send_messages(AmqpAnnotatedMessage(data_body=b"b", properties={"subject": "s"}))
        with bus.get_queue_receiver(QUEUE) as receiver:
            first, second = receive(receiver, 2)
            assert first.message_id != second.message_id
            for message in (first, second):
                equal(len(message.message_id), 32, "digits")
                int(message.message_id, 16)
                receiver.complete_message(message)
            equal((second.subject, body(second)), ("s", b"b"), "second message")


def every_property(connection_string):
    """system and application properties of every type come back as they were sent"""
    application_properties = {
        "int": 42,
        "negative": -7,
        "double": 1.5,
        "true": True,
        "false": False,
        "text": "zażółć 🦔",
        "empty": "",
        "bytes": b"octets",
        "uuid": uuid.UUID("00112233-4455-6677-8899-aabbccddeeff"),
        "time": datetime(2026, 3, 29, 1, 30, 0, 123000, tzinfo=timezone.utc),
    }
    sent = ServiceBusMessage(
        b"x",
        application_properties=application_properties,
        session_id=None,
        message_id="id-1",
        content_type="application/json",
        correlation_id="correlation",
        subject="subject",
        to="to",
        reply_to="reply",
        reply_to_session_id="reply-session",
        time_to_live=timedelta(minutes=5),
        partition_key="partition",
    )
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            sender.send_messages(sent)
        with bus.get_queue_receiver(QUEUE) as receiver:
            [got] = receive(receiver, 1)
            receiver.complete_message(got)
    for name in ("message_id", "content_type", "correlation_id", "subject", "to", "reply_to",
                 "reply_to_session_id", "time_to_live", "partition_key"):
        equal(getattr(got, name), getattr(sent, name), name)
    equal(got.expires_at_utc - got.enqueued_time_utc, timedelta(minutes=5), "life")
    properties = {k.decode(): v for k, v in got.application_properties.items()}
    equal(set(properties), set(application_properties), "names")
    for name, value in application_properties.items():
        actual = properties[name]
        if name == "time":  # the SDK hands timestamps out as milliseconds
            actual, value = int(actual), int(value.timestamp() * 1000)
        if isinstance(actual, bytes) and isinstance(value, str):
            actual = actual.decode()
        equal(actual, value, name)


def list_in_order(connection_string):
    """a list of messages arrives in its order"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            sender.send_messages([ServiceBusMessage(str(i), message_id=str(i)) for i in range(200)])
        with bus.get_queue_receiver(QUEUE) as receiver:
            messages = receive(receiver, 200)
            equal([m.message_id for m in messages], [str(i) for i in range(200)], "order")
            numbers = [m.sequence_number for m in messages]
            equal(numbers, sorted(set(numbers)), "sequence numbers")
            for message in messages:
                receiver.complete_message(message)
            assert_empty(receiver)


def filled_batch(connection_string):
    """a batch filled to the link's limit is accepted whole"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            batch = sender.create_message_batch()
            count = 0
            try:
                while True:
                    message = ServiceBusMessage(b"b" * 1000, application_properties={"n": count})
                    batch.add_message(message)
                    count += 1
            except ValueError:
                pass
            assert count > 200, f"only {count} messages fit"
            sender.send_messages(batch)
        with bus.get_queue_receiver(QUEUE, receive_mode="receiveanddelete") as receiver:
            messages = receive(receiver, count)
            equal([m.application_properties[b"n"] for m in messages], list(range(count)), "order")
            assert_empty(receiver)


def many_one_by_one(connection_string):
    """two thousand single sends need more credit than is granted at once, and all arrive"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            for i in range(2000):
                sender.send_messages(ServiceBusMessage(b"x", message_id=str(i)))
        with bus.get_queue_receiver(QUEUE, receive_mode="receiveanddelete") as receiver:
            messages = receive(receiver, 2000, seconds=30)
            equal(sorted(int(m.message_id) for m in messages), list(range(2000)), "ids")


CHECKS = [one_message, assigned_message_id, every_property, list_in_order, filled_batch, many_one_by_one]
