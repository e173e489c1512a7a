// Duplicate detection on a queue with a window of five seconds.

import { assert, assertEmpty, completeAll, pause, receive, receiveOne, withQueue } from "./world.mjs";

const QUEUE = "js-detecting";

async function dropped({ sender, receiver }) {
  await sender.sendMessages({ body: "first", messageId: "1" });
  await sender.sendMessages({ body: "again", messageId: "1" });
  await sender.sendMessages(Array.from({ length: 3 }, () => ({ body: "other", messageId: "2" })));
  const messages = await receive(receiver, 2);
  assert.deepEqual(messages.map((message) => message.body), ["first", "other"]);
  await completeAll(receiver, messages);
  await sender.sendMessages({ body: "late", messageId: "1" });
  await assertEmpty(receiver);
}

async function forgotten({ sender, receiver }) {
  for (const body of ["first", "second"]) {
    if (body === "second") await pause(5_100);
    await sender.sendMessages({ body, messageId: "3" });
    const message = await receiveOne(receiver);
    assert.equal(message.body, body);
    await receiver.completeMessage(message);
  }
}

export const checks = Object.fromEntries(
  Object.entries({
    "a message whose id was seen within the window is accepted and dropped": dropped,
    "after the window the same id is a new message": forgotten,
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
