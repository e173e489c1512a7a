// What the checks share: a client, a sender and receiver on a queue, and reading it until it has
// given what is expected.

import assert from "node:assert/strict";
import { ServiceBusClient } from "@azure/service-bus";

export { assert };

// A retry would hide what these checks look for.
const OPTIONS = { retryOptions: { maxRetries: 0, timeoutInMs: 10_000 } };

// Calls `work` with a client, and closes it.
export async function withClient(connectionString, work, options = OPTIONS) {
  const client = new ServiceBusClient(connectionString, options);
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

// Calls `work` with a sender and a peek-lock receiver of the queue; afterwards the queue is empty.
export function withQueue(connectionString, queue, work) {
  return withClient(connectionString, async (client) => {
    const sender = client.createSender(queue);
    // By itself this SDK renews every lock for as long as it holds the message.
    const receiver = client.createReceiver(queue, { maxAutoLockRenewalDurationInMs: 0 });
    await work({ client, sender, receiver, queue });
    await assertEmpty(receiver);
  });
}

// Exactly `count` messages, however many calls it takes.
export async function receive(receiver, count, seconds = 10) {
  const messages = [];
  const deadline = Date.now() + seconds * 1000;
  while (messages.length < count) {
    const left = deadline - Date.now();
    assert.ok(left > 0, `received ${messages.length} of ${count} messages within ${seconds} s`);
    messages.push(
      ...(await receiver.receiveMessages(count - messages.length, { maxWaitTimeInMs: left })),
    );
  }
  return messages;
}

export async function receiveOne(receiver) {
  const [message] = await receive(receiver, 1);
  return message;
}

export async function completeAll(receiver, messages) {
  for (const message of messages) {
    await receiver.completeMessage(message);
  }
}

export async function assertEmpty(receiver) {
  const left = await receiver.receiveMessages(1, { maxWaitTimeInMs: 300 });
  assert.equal(left.length, 0, "the queue should be empty");
}

export function ids(messages) {
  return messages.map((message) => message.messageId);
}

// `numbers(3)` is ["0", "1", "2"].
export function numbers(count) {
  return Array.from({ length: count }, (_, number) => String(number));
}

export async function sendIds(sender, wanted) {
  await sender.sendMessages(wanted.map((messageId) => ({ body: messageId, messageId })));
}

export function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

// The error that `work` must raise, by its code, and soon.
export async function raises(code, work) {
  const started = Date.now();
  await assert.rejects(work, (error) => {
    assert.equal(error.code, code, `${error}`);
    return true;
  });
  assert.ok(Date.now() - started < 5_000, `the error took ${Date.now() - started} ms`);
}
