"""Duplicate detection on a queue with a window of five seconds."""

import time

from azure.servicebus import ServiceBusMessage

from . import assert_empty, body, client, equal, receive

QUEUE = "detecting"


def dropped(connection_string):
    """a message whose id was seen within the window is accepted and dropped"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            sender.send_messages(ServiceBusMessage(b"first", message_id="1"))
            sender.send_messages(ServiceBusMessage(b"again", message_id="1"))
            same = [ServiceBusMessage(b"other", message_id="2") for _ in range(3)]
            sender.send_messages(same)
            messages = receive(receiver, 2)
            equal([body(message) for message in messages], [b"first", b"other"], "bodies")
            for message in messages:
                receiver.complete_message(message)
            sender.send_messages(ServiceBusMessage(b"late", message_id="1"))
            assert_empty(receiver)


def forgotten(connection_string):
    """after the window the same id is a new message"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            for text in (b"first", b"second"):
                if text == b"second":
                    time.sleep(5.1)
                sender.send_messages(ServiceBusMessage(text, message_id="3"))
                [message] = receive(receiver, 1)
                equal(body(message), text, "body")
                receiver.complete_message(message)


CHECKS = [dropped, forgotten]
