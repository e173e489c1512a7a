"""Locks: they end, they can be renewed, and a lost one is reported."""

import time
from datetime import datetime, timezone

from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessageLockLostError

from . import assert_empty, client, equal, receive

QUEUE = "short-lock"


def expiry(connection_string):
    """a lock that ends makes the message available again, with one more delivery counted"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            sender.send_messages(ServiceBusMessage(b"x", message_id="1"))
        with bus.get_queue_receiver(QUEUE) as receiver:
            receive(receiver, 1)
            started = time.monotonic()
            [again] = receive(receiver, 1)
            took = time.monotonic() - started
            equal((again.message_id, again.delivery_count), ("1", 1), "second delivery")
            assert 2 < took < 9, f"came back after {took:.1f} s"
            receiver.complete_message(again)
            assert_empty(receiver)


def lost_lock(connection_string):
    """settling under a lock that ended is an error, and the message is not lost"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            sender.send_messages(ServiceBusMessage(b"x"))
        with bus.get_queue_receiver(QUEUE) as receiver:
            [message] = receive(receiver, 1)
            with bus.get_queue_receiver(QUEUE) as other:
                [again] = receive(other, 1)
                # The SDK would refuse by its own clock; what the broker says is asked for here.
                message.raw_amqp_message.annotations[b"x-opt-locked-until"] = int((time.time() + 60) * 1000)
                message._expiry = None
                try:
                    receiver.complete_message(message)
                    raise AssertionError("a lost lock was accepted")
                except MessageLockLostError:
                    pass
                other.complete_message(again)
                assert_empty(other)


def renewal(connection_string):
    """a renewed lock lasts longer than the queue's lock duration"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            sender.send_messages(ServiceBusMessage(b"x"))
        with bus.get_queue_receiver(QUEUE) as receiver:
            [message] = receive(receiver, 1)
            for _ in range(5):
                time.sleep(0.9)
                until = receiver.renew_message_lock(message)
                assert until > datetime.now(timezone.utc), until
            receiver.complete_message(message)
            assert_empty(receiver)


CHECKS = [expiry, lost_lock, renewal]
