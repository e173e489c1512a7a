"""The asyncio client, whose transport and link code is separate from the blocking one."""

import asyncio

from azure.servicebus import ServiceBusMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient

from . import body, equal

QUEUE = "asynchronous"


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


def settling(connection_string):
    """send, complete, abandon, dead-letter and renew work as in the blocking client"""
    asyncio.run(send_and_settle(connection_string))


def concurrency(connection_string):
    """four senders and two receivers at the same time: nothing twice, nothing lost"""
    asyncio.run(side_by_side(connection_string))


CHECKS = [settling, concurrency]
