// Sending: what a message carries arrives as it was sent.

import { assert, completeAll, ids, numbers, receive, receiveOne, sendIds, withQueue } from "./world.mjs";

const QUEUE = "js-sending";

async function stamped({ sender, receiver }) {
  const before = Date.now();
  await sender.sendMessages({ body: "hello", messageId: "m-1" });
  const message = await receiveOne(receiver);
  assert.equal(message.body, "hello");
  assert.equal(message.messageId, "m-1");
  assert.ok(message.sequenceNumber.toNumber() > 0);
  assert.ok(Math.abs(message.enqueuedTimeUtc.getTime() - before) < 5_000);
  assert.ok(message.lockedUntilUtc.getTime() > Date.now());
  assert.match(message.lockToken, /^[0-9a-f-]{36}$/);
  assert.equal(message.deliveryCount, 0);
  await receiver.completeMessage(message);
}

async function properties({ sender, receiver }) {
  const sent = {
    body: "x",
    messageId: "m",
    contentType: "text/plain",
    correlationId: "c",
    subject: "s",
    to: "t",
    replyTo: "r",
    timeToLive: 60_000,
    applicationProperties: { text: "größer", number: 7, fraction: 1.5, yes: true },
  };
  await sender.sendMessages(sent);
  const message = await receiveOne(receiver);
  for (const name of ["messageId", "contentType", "correlationId", "subject", "to", "replyTo", "timeToLive"]) {
    assert.equal(message[name], sent[name], name);
  }
  assert.deepEqual({ ...message.applicationProperties }, sent.applicationProperties);
  assert.equal(
    message.expiresAtUtc.getTime() - message.enqueuedTimeUtc.getTime(),
    sent.timeToLive,
  );
  await receiver.completeMessage(message);
}

async function list({ sender, receiver }) {
  await sendIds(sender, numbers(20));
  const messages = await receive(receiver, 20);
  assert.deepEqual(ids(messages), numbers(20));
  await completeAll(receiver, messages);
}

async function filledBatch({ sender, receiver }) {
  const batch = await sender.createMessageBatch();
  let count = 0;
  while (batch.tryAddMessage({ body: Buffer.alloc(10_000), messageId: String(count) })) {
    count += 1;
  }
  assert.ok(count > 20, `only ${count} messages fit`);
  await sender.sendMessages(batch);
  const messages = await receive(receiver, count);
  assert.deepEqual(ids(messages), numbers(count));
  await completeAll(receiver, messages);
}

async function beyondTheCredit({ sender, receiver }) {
  await Promise.all(numbers(2_000).map((messageId) => sender.sendMessages({ body: "x", messageId })));
  const messages = await receive(receiver, 2_000, 30);
  assert.equal(new Set(ids(messages)).size, 2_000);
  await Promise.all(messages.map((message) => receiver.completeMessage(message)));
}

export const checks = Object.fromEntries(
  Object.entries({
    "a message arrives with a body, a sequence number, an enqueue time and a lock": stamped,
    "system and application properties of every type come back as they were sent": properties,
    "a list of messages arrives in its order": list,
    "a batch filled to the link's limit is accepted whole": filledBatch,
    "two thousand concurrent sends need more credit than is granted at once, and all arrive": beyondTheCredit,
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
