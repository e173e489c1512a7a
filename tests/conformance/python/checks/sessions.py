"""Sessions: accepting one, order, one owner, state, and what the end of a lock means."""

import threading
import time
from datetime import datetime, timedelta, timezone

from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.exceptions import (
    MessageNotFoundError,
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from . import assert_empty, body, client, equal, receive
from .errors import raises

QUEUE = "sessions"
SHORT = "short-sessions"


def send(bus, session, *ids, queue=QUEUE):
    with bus.get_queue_sender(queue) as sender:
        sender.send_messages([ServiceBusMessage(i, message_id=i, session_id=session) for i in ids])


def accept(bus, session=NEXT_AVAILABLE_SESSION, queue=QUEUE, **options):
    return bus.get_queue_receiver(queue, session_id=session, **options)


def ids(messages):
    return [message.message_id for message in messages]


def complete_all(receiver, messages):
    for message in messages:
        receiver.complete_message(message)


def named(connection_string):
    """the receiver of a named session gets its messages in order and no others"""
    with client(connection_string) as bus:
        send(bus, "a", "1", "2")
        send(bus, "b", "3")
        send(bus, "a", "4")
        with accept(bus, "a") as receiver:
            equal(receiver.session.session_id, "a", "session")
            lock = receiver.session.locked_until_utc - datetime.now(timezone.utc)
            assert timedelta(seconds=50) < lock <= timedelta(seconds=61), f"locked for {lock}"
            messages = receive(receiver, 3)
            equal(ids(messages), ["1", "2", "4"], "ids")
            equal({message.session_id for message in messages}, {"a"}, "session ids")
            complete_all(receiver, messages)
            assert_empty(receiver)
        with accept(bus, "b") as receiver:
            complete_all(receiver, receive(receiver, 1))


def next_available(connection_string):
    """accepting the next available session gives each one that has messages, once"""
    with client(connection_string) as bus:
        for session in ("x", "y", "z"):
            send(bus, session, session)
        receivers = [accept(bus) for _ in range(3)]
        seen = []
        for receiver in receivers:
            with receiver:
                seen.append(receiver.session.session_id)
                complete_all(receiver, receive(receiver, 1))
        equal(sorted(seen), ["x", "y", "z"], "sessions")


def none_available(connection_string):
    """accepting the next session when none has messages times out"""
    with client(connection_string) as bus:
        raises(OperationTimeoutError, lambda: accept(bus, max_wait_time=1).__enter__())


def waiting(connection_string):
    """who waits for a session gets it as soon as a message is sent"""
    with client(connection_string) as bus:
        timer = threading.Timer(0.7, lambda: send(bus, "late", "1"))
        timer.start()
        with accept(bus, max_wait_time=10) as receiver:
            equal(receiver.session.session_id, "late", "session")
            complete_all(receiver, receive(receiver, 1))
        timer.join()


def one_owner(connection_string):
    """a session that has an owner cannot be locked by another, until the owner closes"""
    with client(connection_string) as bus:
        with accept(bus, "a"):
            raises(SessionCannotBeLockedError, lambda: accept(bus, "a").__enter__())
        accept(bus, "a").__enter__().close()


def closing(connection_string):
    """closing gives back what was held, and counts no delivery"""
    with client(connection_string) as bus:
        send(bus, "a", "1", "2")
        with accept(bus, "a") as receiver:
            receive(receiver, 2)
        with accept(bus, "a") as receiver:
            messages = receive(receiver, 2)
            equal([(m.message_id, m.delivery_count) for m in messages], [("1", 0), ("2", 0)], "messages")
            complete_all(receiver, messages)


def abandoned(connection_string):
    """an abandoned message comes again before those that follow it"""
    with client(connection_string) as bus:
        send(bus, "a", "1", "2")
        with accept(bus, "a") as receiver:
            receiver.abandon_message(receive(receiver, 1)[0])
            messages = receive(receiver, 2)
            equal([(m.message_id, m.delivery_count) for m in messages], [("1", 1), ("2", 0)], "messages")
            complete_all(receiver, messages)


def state(connection_string):
    """the state of a session is kept for its next owner, and can be removed"""
    with client(connection_string) as bus:
        with accept(bus, "stateful") as receiver:
            equal(receiver.session.get_state(), None, "state at first")
            receiver.session.set_state(b"half way")
        with accept(bus, "stateful") as receiver:
            equal(receiver.session.get_state(), b"half way", "state")
            receiver.session.set_state(None)
            equal(receiver.session.get_state(), None, "state in the end")


def large_state(connection_string):
    """a state above the limit is refused, and the old one stays"""
    with client(connection_string) as bus:
        with accept(bus, "stateful") as receiver:
            receiver.session.set_state(b"x" * (256 * 1024))
            raises(ServiceBusError, lambda: receiver.session.set_state(b"x" * (256 * 1024 + 1)))
            equal(len(receiver.session.get_state()), 256 * 1024, "size")
            receiver.session.set_state(None)


def renewal(connection_string):
    """renewing the session keeps it, with the messages that are held, beyond the lock duration"""
    with client(connection_string) as bus:
        send(bus, "a", "1", queue=SHORT)
        with accept(bus, "a", SHORT) as receiver:
            [message] = receive(receiver, 1)
            for _ in range(5):
                time.sleep(0.9)
                until = receiver.session.renew_lock()
                assert until > datetime.now(timezone.utc), until
            receiver.complete_message(message)
            assert_empty(receiver)


def lost(connection_string):
    """after the lock has ended, settling, renewing and state are errors, and the message comes again"""
    with client(connection_string) as bus:
        send(bus, "a", "1", queue=SHORT)
        with accept(bus, "a", SHORT) as receiver:
            [message] = receive(receiver, 1)
            time.sleep(4.3)
            # The SDK would refuse by its own clock; what the broker says is asked for here.
            receiver.session._locked_until_utc = datetime.now(timezone.utc) + timedelta(minutes=1)
            raises(SessionLockLostError, lambda: receiver.session.renew_lock())
            receiver.session._locked_until_utc = datetime.now(timezone.utc) + timedelta(minutes=1)
            raises(SessionLockLostError, lambda: receiver.session.get_state())
            raises(SessionLockLostError, lambda: receiver.complete_message(message))
        with accept(bus, "a", SHORT) as receiver:
            [message] = receive(receiver, 1)
            equal(message.delivery_count, 1, "delivery count")
            receiver.complete_message(message)


def deferring(connection_string):
    """messages of a session are deferred and received by number within it"""
    with client(connection_string) as bus:
        send(bus, "a", "1", "2")
        with accept(bus, "a") as receiver:
            [first, second] = receive(receiver, 2)
            receiver.defer_message(first)
            receiver.complete_message(second)
            number = first.sequence_number
        with accept(bus, "b") as receiver:
            raises(MessageNotFoundError, lambda: receiver.receive_deferred_messages(number))
        with accept(bus, "a") as receiver:
            [message] = receiver.receive_deferred_messages(number)
            equal(message.message_id, "1", "id")
            receiver.complete_message(message)
            raises(MessageNotFoundError, lambda: receiver.receive_deferred_messages(number))


def peeking(connection_string):
    """peeking shows the messages of the session and no others"""
    with client(connection_string) as bus:
        send(bus, "a", "1", "2")
        send(bus, "b", "3")
        with accept(bus, "a") as receiver, accept(bus, "b") as other:
            equal(ids(receiver.peek_messages(max_message_count=9)), ["1", "2"], "ids")
            complete_all(receiver, receive(receiver, 2))
            equal(ids(receiver.peek_messages()), [], "nothing left")
            complete_all(other, receive(other, 1))


def dead_letters(connection_string):
    """dead letters of a queue with sessions are received without a session"""
    with client(connection_string) as bus:
        send(bus, "a", "1")
        with accept(bus, "a") as receiver:
            receiver.dead_letter_message(receive(receiver, 1)[0], reason="R")
        with bus.get_queue_receiver(QUEUE, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
            [message] = receive(receiver, 1)
            equal((message.dead_letter_reason, message.session_id), ("R", "a"), "dead letter")
            receiver.complete_message(message)


def deletion(connection_string):
    """receive-and-delete works within a session"""
    with client(connection_string) as bus:
        send(bus, "a", "1", "2")
        with accept(bus, "a", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
            equal(ids(receive(receiver, 2)), ["1", "2"], "ids")
            assert_empty(receiver)


def scheduling(connection_string):
    """a scheduled message comes in its session"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            at = datetime.now(timezone.utc) + timedelta(seconds=0.5)
            sender.schedule_messages(ServiceBusMessage(b"x", session_id="later"), at)
        with accept(bus, max_wait_time=10) as receiver:
            equal(receiver.session.session_id, "later", "session")
            complete_all(receiver, receive(receiver, 1))


def no_session_id(connection_string):
    """a message without a session id is refused"""
    with client(connection_string) as bus:
        with bus.get_queue_sender(QUEUE) as sender:
            raises(ServiceBusError, lambda: sender.send_messages(ServiceBusMessage(b"x")))
            raises(ServiceBusError, lambda: sender.schedule_messages(ServiceBusMessage(b"x"), datetime.now(timezone.utc)))


def mixed_up(connection_string):
    """a queue with sessions has no receivers without one, and the other way round"""
    with client(connection_string) as bus:
        raises(ServiceBusError, lambda: bus.get_queue_receiver(QUEUE).__enter__())
        raises(ServiceBusError, lambda: accept(bus, "a", "plain").__enter__())


CHECKS = [
    named,
    next_available,
    none_available,
    waiting,
    one_owner,
    closing,
    abandoned,
    state,
    large_state,
    renewal,
    lost,
    deferring,
    peeking,
    dead_letters,
    deletion,
    scheduling,
    no_session_id,
    mixed_up,
]
