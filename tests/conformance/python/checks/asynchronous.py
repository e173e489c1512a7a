"""The asyncio client, whose transport and link code is separate from the blocking one."""

import asyncio
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    ServiceBusMessage,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import (
    MessageNotFoundError,
    MessageSizeExceededError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    SessionCannotBeLockedError,
)

from . import body, equal

QUEUE = "asynchronous"
SESSIONS = "asynchronous-sessions"


def connect(connection_string):
    return ServiceBusClient.from_connection_string(connection_string, retry_total=0)


async def receive(receiver, count):
    messages = []
    while len(messages) < count:
        batch = await receiver.receive_messages(max_message_count=count - len(messages), max_wait_time=5)
        assert batch, f"received {len(messages)} of {count}"
        messages += batch
    return messages


async def send_and_settle(connection_string):
    async with connect(connection_string) as bus:
        async with bus.get_queue_sender(QUEUE) as sender:
            await sender.send_messages([ServiceBusMessage(str(i)) for i in range(4)])
            await sender.send_messages(ServiceBusMessage(b"y" * 250_000))
        async with bus.get_queue_receiver(QUEUE) as receiver:
            first, second, third, fourth, large = await receive(receiver, 5)
            equal(body(large), b"y" * 250_000, "large body")
            await receiver.complete_message(first)
            await receiver.abandon_message(second)
            await receiver.dead_letter_message(third, reason="R", error_description="D")
            await receiver.renew_message_lock(fourth)
            await receiver.complete_message(fourth)
            await receiver.complete_message(large)
            [again] = await receive(receiver, 1)
            equal((body(again), again.delivery_count), (b"1", 1), "abandoned message")
            await receiver.complete_message(again)
            equal(await receiver.receive_messages(max_wait_time=0.3), [], "rest")
        dead = bus.get_queue_receiver(QUEUE, sub_queue=ServiceBusSubQueue.DEAD_LETTER)
        async with dead as receiver:
            [message] = await receive(receiver, 1)
            equal((message.dead_letter_reason, body(message)), ("R", b"2"), "dead letter")
            await receiver.complete_message(message)


async def side_by_side(connection_string):
    async with connect(connection_string) as bus:

        async def send(part):
            async with bus.get_queue_sender(QUEUE) as sender:
                for i in range(50):
                    await sender.send_messages(ServiceBusMessage(f"{part}-{i}"))

        async def take(into):
            async with bus.get_queue_receiver(QUEUE, max_wait_time=2) as receiver:
                async for message in receiver:
                    into.append(body(message).decode())
                    await receiver.complete_message(message)

        got = []
        await asyncio.gather(*(send(part) for part in range(4)), take(got), take(got))
        equal(sorted(got), sorted(f"{part}-{i}" for part in range(4) for i in range(50)), "bodies")


async def schedule_and_cancel(connection_string):
    async with connect(connection_string) as bus:
        async with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            at = datetime.now(timezone.utc) + timedelta(seconds=1)
            messages = [ServiceBusMessage(str(i), message_id=str(i)) for i in range(3)]
            numbers = await sender.schedule_messages(messages, at)
            await sender.cancel_scheduled_messages([numbers[0], numbers[2]])
            with raised(MessageNotFoundError):
                await sender.cancel_scheduled_messages(numbers[0])
            [message] = await receive(receiver, 1)
            equal(message.message_id, "1", "the one that was left")
            assert datetime.now(timezone.utc) >= at - timedelta(milliseconds=50), "too early"
            await receiver.complete_message(message)


async def defer_and_receive(connection_string):
    async with connect(connection_string) as bus:
        async with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            await sender.send_messages(ServiceBusMessage("x"))
            [message] = await receive(receiver, 1)
            await receiver.defer_message(message)
            equal(await receiver.receive_messages(max_wait_time=0.3), [], "what is left")
            [again] = await receiver.receive_deferred_messages(message.sequence_number)
            equal(again.delivery_count, 1, "delivery count")
            await receiver.complete_message(again)
            with raised(MessageNotFoundError):
                await receiver.receive_deferred_messages(message.sequence_number)


async def peek_on(connection_string):
    async with connect(connection_string) as bus:
        async with bus.get_queue_sender(QUEUE) as sender, bus.get_queue_receiver(QUEUE) as receiver:
            await sender.send_messages([ServiceBusMessage(str(i)) for i in range(5)])
            first = await receiver.peek_messages(max_message_count=3)
            start = first[-1].sequence_number + 1
            rest = await receiver.peek_messages(max_message_count=9, sequence_number=start)
            equal([body(m) for m in first + rest], [b"0", b"1", b"2", b"3", b"4"], "bodies")
            for message in await receive(receiver, 5):
                await receiver.complete_message(message)


async def delete_on_receiving(connection_string):
    async with connect(connection_string) as bus:
        async with bus.get_queue_sender(QUEUE) as sender:
            await sender.send_messages([ServiceBusMessage(str(i)) for i in range(3)])
        mode = ServiceBusReceiveMode.RECEIVE_AND_DELETE
        async with bus.get_queue_receiver(QUEUE, receive_mode=mode, prefetch_count=3) as receiver:
            equal([body(m) for m in await receive(receiver, 3)], [b"0", b"1", b"2"], "bodies")
        async with bus.get_queue_receiver(QUEUE) as receiver:
            equal(await receiver.receive_messages(max_wait_time=0.3), [], "rest")


async def own_a_session(connection_string):
    async with connect(connection_string) as bus:
        async with bus.get_queue_sender(SESSIONS) as sender:
            messages = [ServiceBusMessage(i, message_id=i, session_id="a") for i in ("1", "2", "3")]
            await sender.send_messages(messages)
        async with bus.get_queue_receiver(SESSIONS, session_id=NEXT_AVAILABLE_SESSION) as receiver:
            equal(receiver.session.session_id, "a", "session")
            with raised(SessionCannotBeLockedError):
                await bus.get_queue_receiver(SESSIONS, session_id="a").__aenter__()
            await receiver.session.set_state(b"half way")
            first, second, third = await receive(receiver, 3)
            equal([m.message_id for m in (first, second, third)], ["1", "2", "3"], "order")
            await receiver.complete_message(first)
            await receiver.session.renew_lock()
            await receiver.complete_message(second)
        async with bus.get_queue_receiver(SESSIONS, session_id="a") as receiver:
            equal(await receiver.session.get_state(), b"half way", "state")
            [message] = await receive(receiver, 1)
            equal((message.message_id, message.delivery_count), ("3", 0), "what was given back")
            await receiver.complete_message(message)
            await receiver.session.set_state(None)


async def wait_for_a_session(connection_string):
    async with connect(connection_string) as bus:

        async def send_later():
            await asyncio.sleep(0.5)
            async with bus.get_queue_sender(SESSIONS) as sender:
                await sender.send_messages(ServiceBusMessage("x", session_id="late"))

        sending = asyncio.create_task(send_later())
        options = {"session_id": NEXT_AVAILABLE_SESSION, "max_wait_time": 10}
        async with bus.get_queue_receiver(SESSIONS, **options) as receiver:
            equal(receiver.session.session_id, "late", "session")
            [message] = await receive(receiver, 1)
            await receiver.complete_message(message)
        await sending


async def mistakes_of_all_kinds(connection_string):
    async with connect(connection_string) as bus:
        with raised(ServiceBusAuthenticationError):
            await bus.get_queue_sender("no-such-queue").__aenter__()
        async with bus.get_queue_sender(QUEUE) as sender:
            with raised(MessageSizeExceededError):
                await sender.send_messages(ServiceBusMessage(b"x" * (1024 * 1024 + 1)))
        async with bus.get_queue_sender(SESSIONS) as sender:
            with raised(ServiceBusError):
                await sender.send_messages(ServiceBusMessage("no session"))
        with raised(ServiceBusError):
            await bus.get_queue_receiver(SESSIONS).__aenter__()


@contextmanager
def raised(expected):
    try:
        yield
    except expected:
        return
    raise AssertionError(f"expected {expected}, got none")


def settling(connection_string):
    """send, complete, abandon, dead-letter and renew work as in the blocking client"""
    asyncio.run(send_and_settle(connection_string))


def concurrency(connection_string):
    """four senders and two receivers at the same time: nothing twice, nothing lost"""
    asyncio.run(side_by_side(connection_string))


def scheduling(connection_string):
    """messages are scheduled and cancelled as in the blocking client"""
    asyncio.run(schedule_and_cancel(connection_string))


def deferring(connection_string):
    """messages are deferred and received by number as in the blocking client"""
    asyncio.run(defer_and_receive(connection_string))


def peeking(connection_string):
    """messages are peeked at, from a number too, as in the blocking client"""
    asyncio.run(peek_on(connection_string))


def deletion(connection_string):
    """receive-and-delete with prefetch removes on delivery as in the blocking client"""
    asyncio.run(delete_on_receiving(connection_string))


def sessions(connection_string):
    """order, one owner, state and renewal of a session are as in the blocking client"""
    asyncio.run(own_a_session(connection_string))


def waiting(connection_string):
    """who waits for a session gets it as soon as a message is sent, as in the blocking client"""
    asyncio.run(wait_for_a_session(connection_string))


def errors(connection_string):
    """mistakes raise the same errors as in the blocking client"""
    asyncio.run(mistakes_of_all_kinds(connection_string))


CHECKS = [settling, concurrency, scheduling, deferring, peeking, deletion, sessions, waiting, errors]
