// Forwarding: from one queue to another, of messages and of dead letters.

import { assert, assertEmpty, completeAll, receive, receiveOne, withClient } from "./world.mjs";

const SOURCE = "js-forwarding";
const TARGET = "js-forwarded";
const BURYING = "js-burying";
const GRAVEYARD = "js-buried";

async function arrival(client) {
  await client.createSender(TARGET).sendMessages({ body: "direct" });
  await client.createSender(SOURCE).sendMessages([{ body: "1" }, { body: "2" }]);
  const receiver = client.createReceiver(TARGET);
  const messages = await receive(receiver, 3);
  assert.deepEqual(messages.map((message) => message.body), ["direct", "1", "2"]);
  const [direct, first, second] = messages.map((message) => message.enqueuedSequenceNumber);
  assert.equal(direct, undefined);
  assert.equal(second, first + 1);
  await completeAll(receiver, messages);
  await assertEmpty(receiver);
}

async function noReceivers(client) {
  const receiver = client.createReceiver(SOURCE);
  await assert.rejects(() => receiver.receiveMessages(1, { maxWaitTimeInMs: 1_000 }), /forwards/);
}

async function deadLetters(client) {
  await client.createSender(BURYING).sendMessages({ body: "x", messageId: "1" });
  const receiver = client.createReceiver(BURYING);
  await receiver.deadLetterMessage(await receiveOne(receiver), { deadLetterReason: "R" });
  const graves = client.createReceiver(GRAVEYARD);
  const letter = await receiveOne(graves);
  const told = [letter.messageId, letter.deadLetterReason, letter.deadLetterSource, letter.deliveryCount];
  assert.deepEqual(told, ["1", "R", BURYING, 0]);
  await graves.completeMessage(letter);
  await assertEmpty(client.createReceiver(BURYING, { subQueueType: "deadLetter" }));
}

async function scheduled(client) {
  const at = new Date(Date.now() + 1_000);
  await client.createSender(SOURCE).scheduleMessages({ body: "later" }, at);
  const receiver = client.createReceiver(TARGET);
  const message = await receiveOne(receiver);
  assert.ok(Date.now() >= at.getTime() - 50, "too early");
  await receiver.completeMessage(message);
}

export const checks = Object.fromEntries(
  Object.entries({
    "a message sent to a queue that forwards arrives at its target, with its first number": arrival,
    "a queue that forwards cannot be received from": noReceivers,
    "a dead letter is forwarded with its reason and names its queue": deadLetters,
    "a scheduled message is forwarded when its time comes": scheduled,
  }).map(([title, check]) => [title, (connection) => withClient(connection, check)]),
);
