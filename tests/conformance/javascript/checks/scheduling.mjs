// Scheduled messages: they come at their time, and can be cancelled until then.

import { assert, assertEmpty, completeAll, ids, numbers, raises, receive, receiveOne, withQueue } from "./world.mjs";

const QUEUE = "js-scheduling";

function later(milliseconds) {
  return new Date(Date.now() + milliseconds);
}

async function one({ sender, receiver }) {
  const at = later(4_000);
  const [number] = await sender.scheduleMessages({ body: "x", messageId: "1" }, at);
  await assertEmpty(receiver);
  const message = await receiveOne(receiver);
  assert.ok(Date.now() >= at.getTime() - 50, "too early");
  assert.equal(message.messageId, "1");
  assert.ok(message.sequenceNumber.greaterThan(number));
  assert.equal(message.scheduledEnqueueTimeUtc.getTime(), at.getTime());
  assert.equal(message.state, "active");
  await receiver.completeMessage(message);
}

async function many({ sender, receiver }) {
  const wanted = numbers(20);
  const messages = wanted.map((messageId) => ({ body: "x", messageId }));
  const sequence = await sender.scheduleMessages(messages, later(500));
  assert.equal(new Set(sequence.map(String)).size, 20);
  const got = await receive(receiver, 20);
  assert.deepEqual(ids(got), wanted);
  await completeAll(receiver, got);
}

async function annotated({ sender, receiver }) {
  const at = later(1_000);
  await sender.sendMessages({ body: "one", scheduledEnqueueTimeUtc: at });
  const batch = await sender.createMessageBatch();
  batch.tryAddMessage({ body: "two", scheduledEnqueueTimeUtc: at });
  batch.tryAddMessage({ body: "now" });
  await sender.sendMessages(batch);
  const now = await receiveOne(receiver);
  assert.equal(now.body, "now");
  const rest = await receive(receiver, 2);
  assert.deepEqual(rest.map((message) => message.body), ["one", "two"]);
  assert.ok(Date.now() >= at.getTime() - 50, "too early");
  await completeAll(receiver, [now, ...rest]);
}

async function cancelled({ sender, receiver }) {
  const messages = numbers(3).map((messageId) => ({ body: "x", messageId }));
  const sequence = await sender.scheduleMessages(messages, later(4_000));
  await sender.cancelScheduledMessages([sequence[0], sequence[2]]);
  await raises("MessageNotFound", () => sender.cancelScheduledMessages(sequence[0]));
  const message = await receiveOne(receiver);
  assert.equal(message.messageId, "1");
  await receiver.completeMessage(message);
}

async function past({ sender, receiver }) {
  await sender.scheduleMessages({ body: "x" }, later(-60_000));
  const started = Date.now();
  const message = await receiveOne(receiver);
  assert.ok(Date.now() - started < 2_000);
  await receiver.completeMessage(message);
}

export const checks = Object.fromEntries(
  Object.entries({
    "a scheduled message comes at its time, with a new sequence number": one,
    "a list of messages is scheduled at once and comes in its order": many,
    "a message that carries its time is scheduled by a plain send and by a batch": annotated,
    "a cancelled message never comes, and cannot be cancelled twice": cancelled,
    "a message scheduled for the past is available at once": past,
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
