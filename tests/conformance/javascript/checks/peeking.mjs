// Peeking: what is there, in every state, without taking it.

import { assert, completeAll, ids, numbers, receive, receiveOne, sendIds, withQueue } from "./world.mjs";

const QUEUE = "js-peeking";

async function clear(receiver, count) {
  await completeAll(receiver, await receive(receiver, count));
}

async function batches({ sender, receiver }) {
  await sendIds(sender, numbers(5));
  const first = await receiver.peekMessages(3);
  assert.deepEqual(ids(first), ["0", "1", "2"]);
  assert.equal(first[0].body, "0");
  assert.equal(first[0].lockedUntilUtc, undefined);
  assert.deepEqual(ids(await receiver.peekMessages(9)), ["3", "4"]);
  assert.deepEqual(await receiver.peekMessages(9), []);
  await clear(receiver, 5);
}

async function fromNumber({ sender, receiver }) {
  await sendIds(sender, ["a", "b", "c"]);
  const [, second] = await receiver.peekMessages(3);
  const peeked = await receiver.peekMessages(9, { fromSequenceNumber: second.sequenceNumber });
  assert.deepEqual(ids(peeked), ["b", "c"]);
  await clear(receiver, 3);
}

async function states({ sender, receiver }) {
  await sendIds(sender, ["deferred", "locked"]);
  const [deferred, locked] = await receive(receiver, 2);
  await receiver.deferMessage(deferred);
  const hour = new Date(Date.now() + 3_600_000);
  const scheduled = await sender.scheduleMessages({ body: "x", messageId: "scheduled" }, hour);
  await sender.sendMessages({ body: "x", messageId: "active" });
  const peeked = await receiver.peekMessages(9, { fromSequenceNumber: deferred.sequenceNumber });
  assert.deepEqual(Object.fromEntries(peeked.map(({ messageId, state }) => [messageId, state])), {
    deferred: "deferred",
    locked: "active",
    scheduled: "scheduled",
    active: "active",
  });
  await sender.cancelScheduledMessages(scheduled);
  await receiver.completeMessage(locked);
  const [again] = await receiver.receiveDeferredMessages(deferred.sequenceNumber);
  await receiver.completeMessage(again);
  await clear(receiver, 1);
}

async function deadLetters({ client, sender, receiver, queue }) {
  await sendIds(sender, ["dead", "alive"]);
  await receiver.deadLetterMessage(await receiveOne(receiver), { deadLetterReason: "R" });
  assert.deepEqual(ids(await receiver.peekMessages(9)), ["alive"]);
  await clear(receiver, 1);
  const dead = client.createReceiver(queue, { subQueueType: "deadLetter" });
  const [peeked] = await dead.peekMessages(9);
  assert.deepEqual([peeked.messageId, peeked.deadLetterReason], ["dead", "R"]);
  await clear(dead, 1);
}

async function nothing({ receiver }) {
  assert.deepEqual(await receiver.peekMessages(1), []);
}

export const checks = Object.fromEntries(
  Object.entries({
    "peeking goes on where it ended, and takes nothing": batches,
    "peeking starts at a given sequence number": fromNumber,
    "peeking shows active, locked, deferred and scheduled messages with their state": states,
    "the dead letters of a queue are peeked at apart from the queue": deadLetters,
    "peeking at an empty queue gives nothing": nothing,
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
