// Deferred messages: received by their sequence numbers, in both modes, and settled in every way.

import { assert, assertEmpty, raises, receive, receiveOne, sendIds, withQueue } from "./world.mjs";

const QUEUE = "js-deferring";

// Sends messages, defers them, and says their sequence numbers.
async function defer({ sender, receiver }, ...wanted) {
  await sendIds(sender, wanted);
  const messages = await receive(receiver, wanted.length);
  for (const message of messages) await receiver.deferMessage(message);
  await assertEmpty(receiver);
  return messages.map((message) => message.sequenceNumber);
}

async function byNumber(world) {
  const { receiver } = world;
  const sequence = await defer(world, "a", "b");
  const messages = await receiver.receiveDeferredMessages(sequence);
  assert.deepEqual(messages.map((message) => message.body), ["a", "b"]);
  for (const message of messages) {
    assert.deepEqual([message.state, message.deliveryCount], ["deferred", 1]);
    assert.ok(message.lockToken && message.lockedUntilUtc);
    await receiver.renewMessageLock(message);
    await receiver.completeMessage(message);
  }
  await raises("MessageNotFound", () => receiver.receiveDeferredMessages(sequence[0]));
}

async function abandoned(world) {
  const { receiver } = world;
  const [number] = await defer(world, "a");
  const [first] = await receiver.receiveDeferredMessages(number);
  await receiver.abandonMessage(first);
  await assertEmpty(receiver);
  const [second] = await receiver.receiveDeferredMessages(number);
  assert.equal(second.deliveryCount, 2);
  await receiver.deferMessage(second);
  const [third] = await receiver.receiveDeferredMessages(number);
  await receiver.completeMessage(third);
}

async function deadLettered(world) {
  const { client, receiver, queue } = world;
  const [number] = await defer(world, "a");
  const [message] = await receiver.receiveDeferredMessages(number);
  await receiver.deadLetterMessage(message, { deadLetterReason: "R", deadLetterErrorDescription: "D" });
  const dead = client.createReceiver(queue, { subQueueType: "deadLetter" });
  const letter = await receiveOne(dead);
  assert.deepEqual([letter.deadLetterReason, letter.deadLetterErrorDescription], ["R", "D"]);
  // A dead letter can be deferred as well.
  await dead.deferMessage(letter);
  await assertEmpty(dead);
  const [again] = await dead.receiveDeferredMessages(letter.sequenceNumber);
  await dead.completeMessage(again);
}

async function deleted(world) {
  const { client, queue } = world;
  const [number] = await defer(world, "a");
  const deleting = client.createReceiver(queue, { receiveMode: "receiveAndDelete" });
  const [message] = await deleting.receiveDeferredMessages(number);
  assert.equal(message.body, "a");
  await raises("MessageNotFound", () => deleting.receiveDeferredMessages(number));
}

async function missing(world) {
  const { receiver } = world;
  const [number] = await defer(world, "a");
  const unknown = number.add(999_999);
  await raises("MessageNotFound", () => receiver.receiveDeferredMessages([number, unknown]));
  const [message] = await receiver.receiveDeferredMessages(number);
  await receiver.completeMessage(message);
}

export const checks = Object.fromEntries(
  Object.entries({
    "a deferred message comes by its number only, with its lock, and can be completed": byNumber,
    "an abandoned deferred message stays deferred": abandoned,
    "a deferred message can be dead-lettered with a reason": deadLettered,
    "receive-and-delete takes a deferred message for good": deleted,
    "a number under which nothing is deferred is an error, and nothing is taken": missing,
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
