// Errors: each mistake raises the code that the service's users know, at once.

import { assert, raises, receiveOne, withClient, withQueue } from "./world.mjs";

const QUEUE = "js-errors";

function unknownQueue(connection) {
  return withClient(connection, async (client) => {
    await raises("MessagingEntityNotFound", () =>
      client.createSender("no-such-queue").sendMessages({ body: "x" }),
    );
    await raises("MessagingEntityNotFound", () =>
      client.createReceiver("no-such-queue").receiveMessages(1, { maxWaitTimeInMs: 1_000 }),
    );
  });
}

async function tooLarge({ sender, receiver }) {
  await raises("MessageSizeExceeded", () =>
    sender.sendMessages({ body: Buffer.alloc(1024 * 1024 + 1) }),
  );
  await sender.sendMessages({ body: "small" });
  const message = await receiveOne(receiver);
  assert.equal(message.body, "small");
  await receiver.completeMessage(message);
}

function disabled(connection) {
  return withClient(connection, async (client) => {
    await raises("MessagingEntityDisabled", () =>
      client.createSender("js-disabled").sendMessages({ body: "x" }),
    );
    await raises("MessagingEntityDisabled", () =>
      client.createReceiver("js-disabled").receiveMessages(1, { maxWaitTimeInMs: 1_000 }),
    );
  });
}

async function settledTwice({ sender, receiver }) {
  await sender.sendMessages({ body: "x" });
  const message = await receiveOne(receiver);
  await receiver.completeMessage(message);
  await assert.rejects(() => receiver.completeMessage(message));
}

export const checks = {
  "an unknown queue is an error for senders and receivers": unknownQueue,
  "a message above the limit is refused, and the sender goes on": (connection) =>
    withQueue(connection, QUEUE, tooLarge),
  "a queue that is disabled is an error for senders and receivers, at once": disabled,
  "settling twice is an error": (connection) => withQueue(connection, QUEUE, settledTwice),
};
