// Locks of four seconds: they end, can be renewed, and settling too late is an error.

import { assert, pause, raises, receiveOne, sendIds, withQueue } from "./world.mjs";

const QUEUE = "js-short-lock";

async function expiry({ sender, receiver }) {
  await sendIds(sender, ["a"]);
  const first = await receiveOne(receiver);
  const again = await receiveOne(receiver);
  assert.equal(again.messageId, first.messageId);
  assert.equal(again.deliveryCount, 1);
  assert.notEqual(again.lockToken, first.lockToken);
  await receiver.completeMessage(again);
}

async function lost({ sender, receiver }) {
  await sendIds(sender, ["a"]);
  const message = await receiveOne(receiver);
  await pause(4_300);
  await raises("MessageLockLost", () => receiver.completeMessage(message));
  await receiver.completeMessage(await receiveOne(receiver));
}

async function renewal({ sender, receiver }) {
  await sendIds(sender, ["a"]);
  const message = await receiveOne(receiver);
  for (let round = 0; round < 6; round += 1) {
    await pause(700);
    const until = await receiver.renewMessageLock(message);
    assert.ok(until.getTime() > Date.now() + 300, `${until}`);
  }
  await receiver.completeMessage(message);
}

async function automatic({ client, sender, queue }) {
  await sendIds(sender, ["a"]);
  const receiver = client.createReceiver(queue);
  const message = await receiveOne(receiver);
  await pause(5_500);
  await receiver.completeMessage(message);
}

export const checks = Object.fromEntries(
  Object.entries({
    "a lock that ends makes the message available again, with one more delivery counted": expiry,
    "settling under a lock that ended is an error, and the message is not lost": lost,
    "a renewed lock lasts longer than the queue's lock duration": renewal,
    "a lock that the SDK renews by itself does not end": automatic,
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
