"""Receiving: credit, both modes, settling, and receivers that compete."""

import threading
import time

from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode

from . import assert_empty, client, equal, receive

QUEUE = "receiving"


def send(bus, ids, queue=QUEUE):
    with bus.get_queue_sender(queue) as sender:
        sender.send_messages([ServiceBusMessage(i, message_id=i) for i in ids])


def ids(messages):
    return [m.message_id for m in messages]


def credit(connection_string):
    """a receiver gets no more messages than it asked for"""
    with client(connection_string) as bus:
        send(bus, ["1", "2", "3", "4", "5"])
        with bus.get_queue_receiver(QUEUE) as receiver:
            first = receiver.receive_messages(max_message_count=2, max_wait_time=5)
            equal(ids(first), ["1", "2"], "first call")
            # What is left is left for others.
            with bus.get_queue_receiver(QUEUE) as other:
                rest = receive(other, 3)
                equal(ids(rest), ["3", "4", "5"], "second receiver")
                for message in rest:
                    other.complete_message(message)
            for message in first:
                receiver.complete_message(message)
            assert_empty(receiver)


def waiting(connection_string):
    """a receiver that waits is given a message as soon as it is sent"""
    with client(connection_string) as bus:
        with bus.get_queue_receiver(QUEUE) as receiver, bus.get_queue_sender(QUEUE) as sender:
            assert_empty(receiver)
            timer = threading.Timer(0.5, lambda: sender.send_messages(ServiceBusMessage(b"late")))
            timer.start()
            started = time.monotonic()
            [message] = receiver.receive_messages(max_message_count=1, max_wait_time=10)
            took = time.monotonic() - started
            receiver.complete_message(message)
            timer.join()
            assert took < 5, f"took {took:.1f} s"


def receive_and_delete(connection_string):
    """receive-and-delete removes on delivery and cannot be settled"""
    with client(connection_string) as bus:
        send(bus, ["1", "2"])
        mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
        with bus.get_queue_receiver(QUEUE, receive_mode=mode) as receiver:
            messages = receive(receiver, 2)
            equal(ids(messages), ["1", "2"], "ids")
            assert messages[0].locked_until_utc is None
            left = receiver.peek_messages(sequence_number=messages[0].sequence_number)
            equal(left, [], "what is left, locked or not")
            try:
                receiver.complete_message(messages[0])
                raise AssertionError("a deleted message was completed")
            except ValueError:
                pass
            assert_empty(receiver)


def prefetch(connection_string):
    """a receiver with prefetch gets its messages in order"""
    with client(connection_string) as bus:
        send(bus, [str(i) for i in range(50)])
        with bus.get_queue_receiver(QUEUE, prefetch_count=20) as receiver:
            got = []
            while len(got) < 50:
                batch = receiver.receive_messages(max_message_count=10, max_wait_time=5)
                assert batch, f"only {len(got)} of 50 arrived"
                for message in batch:
                    receiver.complete_message(message)
                got += ids(batch)
            equal(got, [str(i) for i in range(50)], "order")


def iteration(connection_string):
    """a receiver can be iterated over until nothing comes"""
    with client(connection_string) as bus:
        send(bus, ["1", "2", "3"])
        with bus.get_queue_receiver(QUEUE, max_wait_time=1) as receiver:
            got = []
            for message in receiver:
                got.append(message.message_id)
                receiver.complete_message(message)
            equal(got, ["1", "2", "3"], "ids")


def abandon(connection_string):
    """an abandoned message comes back with one more delivery counted"""
    with client(connection_string) as bus:
        send(bus, ["1"])
        with bus.get_queue_receiver(QUEUE) as receiver:
            for expected in range(3):
                [message] = receive(receiver, 1)
                equal(message.delivery_count, expected, "delivery count")
                receiver.abandon_message(message)
            [message] = receive(receiver, 1)
            receiver.complete_message(message)
            assert_empty(receiver)


def competing(connection_string):
    """two receivers share a queue: nothing twice, nothing lost, nobody starves"""
    total, results = 400, [[], []]
    with client(connection_string) as bus:
        done = threading.Event()

        def work(mine):
            with client(connection_string) as own, own.get_queue_receiver("competing") as receiver:
                ready.wait()
                while not done.is_set():
                    for message in receiver.receive_messages(max_message_count=10, max_wait_time=0.5):
                        receiver.complete_message(message)
                        mine.append(message.message_id)
                    if len(results[0]) + len(results[1]) >= total:
                        done.set()

        ready = threading.Barrier(3)
        threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
        for thread in threads:
            thread.start()
        ready.wait()
        send(bus, [str(i) for i in range(total)], "competing")
        for thread in threads:
            thread.join(timeout=30)
        done.set()
        equal(sorted(map(int, results[0] + results[1])), list(range(total)), "ids")
        assert all(len(mine) > total // 10 for mine in results), [len(mine) for mine in results]


CHECKS = [credit, waiting, receive_and_delete, prefetch, iteration, abandon, competing]
