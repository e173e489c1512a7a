// Receiving: credit, both modes, settling, and receivers that compete.

import { assert, assertEmpty, completeAll, ids, numbers, pause, receive, receiveOne, sendIds, withQueue } from "./world.mjs";

const QUEUE = "js-receiving";

async function credit({ client, sender, receiver, queue }) {
  await sendIds(sender, numbers(5));
  const first = await receiver.receiveMessages(2, { maxWaitTimeInMs: 5_000 });
  assert.deepEqual(ids(first), ["0", "1"]);
  // What is left is left for others.
  const other = client.createReceiver(queue);
  const rest = await receive(other, 3);
  assert.deepEqual(ids(rest), ["2", "3", "4"]);
  await completeAll(other, rest);
  await completeAll(receiver, first);
}

async function waiting({ sender, receiver }) {
  const waits = receiver.receiveMessages(1, { maxWaitTimeInMs: 10_000 });
  await pause(300);
  const started = Date.now();
  await sender.sendMessages({ body: "late" });
  const [message] = await waits;
  assert.ok(Date.now() - started < 3_000);
  await receiver.completeMessage(message);
}

async function receiveAndDelete({ client, sender, queue }) {
  await sendIds(sender, numbers(3));
  const deleting = client.createReceiver(queue, { receiveMode: "receiveAndDelete" });
  const messages = await receive(deleting, 3);
  assert.deepEqual(ids(messages), numbers(3));
  assert.equal(messages[0].lockToken, undefined);
  assert.deepEqual(await deleting.peekMessages(1), [], "something is left, locked or not");
  await deleting.close();
}

async function subscription({ client, sender, queue }) {
  const receiver = client.createReceiver(queue);
  const seen = [];
  const errors = [];
  const done = new Promise((resolve) => {
    receiver.subscribe(
      {
        processMessage: async (message) => {
          seen.push(message.messageId);
          if (seen.length === 30) resolve();
        },
        processError: async ({ error }) => errors.push(error),
      },
      { maxConcurrentCalls: 4 },
    );
  });
  await sendIds(sender, numbers(30));
  await done;
  // Completion follows the handler.
  await pause(200);
  await receiver.close();
  assert.deepEqual(errors, []);
  assert.deepEqual(seen.map(Number).sort((a, b) => a - b), numbers(30).map(Number));
}

async function iteration({ sender, receiver }) {
  await sendIds(sender, numbers(3));
  const seen = [];
  for await (const message of receiver.getMessageIterator({ maxWaitTimeInMs: 1_000 })) {
    if (!message) break;
    seen.push(message.messageId);
    await receiver.completeMessage(message);
    if (seen.length === 3) break;
  }
  assert.deepEqual(seen, numbers(3));
}

async function abandon({ sender, receiver }) {
  await sendIds(sender, ["a"]);
  for (const expected of [0, 1, 2]) {
    const message = await receiveOne(receiver);
    assert.equal(message.deliveryCount, expected);
    await receiver.abandonMessage(message);
  }
  await receiver.completeMessage(await receiveOne(receiver));
}

async function abandonWithProperties({ sender, receiver }) {
  await sender.sendMessages({ body: "x", applicationProperties: { kept: 1, changed: "before" } });
  await receiver.abandonMessage(await receiveOne(receiver), { changed: "after", added: true });
  const message = await receiveOne(receiver);
  assert.deepEqual({ ...message.applicationProperties }, { kept: 1, changed: "after", added: true });
  await receiver.completeMessage(message);
}

async function competing({ client, sender, queue }) {
  const seen = [[], []];
  const receivers = seen.map(() => client.createReceiver(queue));
  const work = receivers.map(async (receiver, which) => {
    for (;;) {
      const messages = await receiver.receiveMessages(10, { maxWaitTimeInMs: 1_000 });
      if (messages.length === 0) return;
      seen[which].push(...ids(messages));
      await Promise.all(messages.map((message) => receiver.completeMessage(message)));
    }
  });
  await sendIds(sender, numbers(400));
  await Promise.all(work);
  await Promise.all(receivers.map((receiver) => receiver.close()));
  const all = seen.flat().map(Number).sort((a, b) => a - b);
  assert.deepEqual(all, numbers(400).map(Number));
  assert.ok(seen.every((mine) => mine.length > 40), `${seen.map((mine) => mine.length)}`);
}

// What the SDK holds inside is looked at: from outside, a link that was given up is opened anew.
async function drained({ sender, receiver }) {
  assert.deepEqual(await receiver.receiveMessages(10, { maxWaitTimeInMs: 300 }), []);
  const link = receiver._batchingReceiver;
  assert.ok(link.isOpen(), "the link was given up");
  await sendIds(sender, numbers(3));
  const messages = await receive(receiver, 3);
  assert.deepEqual(ids(messages), numbers(3));
  await completeAll(receiver, messages);
  assert.deepEqual(await receiver.receiveMessages(10, { maxWaitTimeInMs: 300 }), []);
  assert.ok(link.isOpen() && receiver._batchingReceiver === link, "the link was given up later");
}

async function closeGivesBack({ client, sender, receiver, queue }) {
  await sendIds(sender, ["a"]);
  const leaver = client.createReceiver(queue);
  await leaver.receiveMessages(1, { maxWaitTimeInMs: 100 }).then((got) => completeAll(leaver, got));
  await leaver.close();
  await assertEmpty(receiver);
}

export const checks = Object.fromEntries(
  Object.entries({
    "a receiver gets no more messages than it asked for": credit,
    "a receiver that waits is given a message as soon as it is sent": waiting,
    "receive-and-delete removes on delivery": receiveAndDelete,
    "a subscription processes every message once and completes it": subscription,
    "a receiver can be iterated over": iteration,
    "an abandoned message comes back with one more delivery counted": abandon,
    "abandoning can change application properties": abandonWithProperties,
    "two receivers share a queue: nothing twice, nothing lost, nobody starves": competing,
    "a receive call that ends gives its credit back and keeps its link": drained,
    "a receiver that closes leaves nothing behind": closeGivesBack,
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
