"""Errors: each mistake raises the exception that the service's users know."""

import time

from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    MessagingEntityDisabledError,
    ServiceBusAuthenticationError,
)

from . import assert_empty, client, receive


def raises(expected, work):
    started = time.monotonic()
    try:
        work()
    except expected:
        took = time.monotonic() - started
        assert took < 5, f"the error took {took:.1f} s"
        return
    except Exception as error:
        raise AssertionError(f"expected {expected}, got {type(error).__name__}: {error}") from error
    raise AssertionError(f"expected {expected}, got none")


def unknown_queue(connection_string):
    """an unknown queue is an error for senders and receivers, at once"""
    # The service refuses the token already, which this SDK reports as a matter of authentication.
    with client(connection_string) as bus:
        raises(ServiceBusAuthenticationError, lambda: bus.get_queue_sender("no-such-queue").__enter__())
        raises(ServiceBusAuthenticationError, lambda: bus.get_queue_receiver("no-such-queue").__enter__())


def too_large(connection_string):
    """a message above the limit is refused, and the sender goes on"""
    with client(connection_string) as bus:
        with bus.get_queue_sender("errors") as sender:
            large = ServiceBusMessage(b"x" * (1024 * 1024 + 1))
            raises(MessageSizeExceededError, lambda: sender.send_messages(large))
            sender.send_messages(ServiceBusMessage(b"small"))
        with bus.get_queue_receiver("errors") as receiver:
            receiver.complete_message(receive(receiver, 1)[0])
            assert_empty(receiver)


def disabled(connection_string):
    """a queue that is disabled is an error for senders and receivers, at once"""
    with client(connection_string) as bus:
        raises(MessagingEntityDisabledError, lambda: bus.get_queue_sender("disabled").__enter__())
        raises(MessagingEntityDisabledError, lambda: bus.get_queue_receiver("disabled").__enter__())


CHECKS = [unknown_queue, too_large, disabled]
