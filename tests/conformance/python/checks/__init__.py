"""What the checks share: a client, and reading a queue until it has given what is expected."""

import time

from azure.servicebus import ServiceBusClient


def client(connection_string, **options):
    """A client that fails fast: a retry would hide what these checks look for."""
    return ServiceBusClient.from_connection_string(connection_string, retry_total=0, **options)


def receive(receiver, count, seconds=10):
    """Exactly `count` messages, however many calls it takes."""
    messages, deadline = [], time.monotonic() + seconds
    while len(messages) < count:
        left = deadline - time.monotonic()
        assert left > 0, f"received {len(messages)} of {count} messages within {seconds} s"
        messages += receiver.receive_messages(max_message_count=count - len(messages), max_wait_time=left)
    return messages


def assert_empty(receiver):
    left = receiver.receive_messages(max_message_count=1, max_wait_time=0.3)
    assert not left, f"the queue should be empty, but holds {left[0]}"


def body(message):
    return b"".join(message.body)


def equal(actual, expected, what):
    assert actual == expected, f"{what}: expected {expected!r}, got {actual!r}"
