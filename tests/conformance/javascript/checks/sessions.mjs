// Sessions: accepting one, order, one owner, state, and what the end of a lock means.

import { assert, assertEmpty, completeAll, ids, pause, raises, receive, receiveOne, withClient } from "./world.mjs";

const QUEUE = "js-sessions";
const SHORT = "js-short-sessions";
const PLAIN = "js-plain";

// How long the broker may let a receiver wait for a session, too.
const OPTIONS = { retryOptions: { maxRetries: 0, timeoutInMs: 4_000 } };

// By itself this SDK renews every lock for as long as it holds the session.
const NO_RENEWAL = { maxAutoLockRenewalDurationInMs: 0 };

async function send(client, sessionId, wanted, queue = QUEUE) {
  const sender = client.createSender(queue);
  await sender.sendMessages(wanted.map((messageId) => ({ body: messageId, messageId, sessionId })));
  await sender.close();
}

function accept(client, session, queue = QUEUE, options = {}) {
  return client.acceptSession(queue, session, { ...NO_RENEWAL, ...options });
}

async function named(client) {
  await send(client, "a", ["1", "2"]);
  await send(client, "b", ["3"]);
  await send(client, "a", ["4"]);
  const a = await accept(client, "a");
  assert.equal(a.sessionId, "a");
  const left = a.sessionLockedUntilUtc.getTime() - Date.now();
  assert.ok(50_000 < left && left <= 61_000, `locked for ${left} ms`);
  const messages = await receive(a, 3);
  assert.deepEqual(ids(messages), ["1", "2", "4"]);
  assert.ok(messages.every((message) => message.sessionId === "a"));
  await completeAll(a, messages);
  await assertEmpty(a);
  await a.close();
  const b = await accept(client, "b");
  await completeAll(b, await receive(b, 1));
  await b.close();
}

async function nextAvailable(client) {
  for (const session of ["x", "y", "z"]) await send(client, session, [session]);
  const seen = [];
  for (let round = 0; round < 3; round += 1) {
    const receiver = await client.acceptNextSession(QUEUE, NO_RENEWAL);
    seen.push(receiver.sessionId);
    await completeAll(receiver, await receive(receiver, 1));
    await receiver.close();
  }
  assert.deepEqual(seen.sort(), ["x", "y", "z"]);
}

async function noneAvailable(client) {
  const abortSignal = AbortSignal.timeout(9_000);
  await raises("ServiceTimeout", () => client.acceptNextSession(QUEUE, { ...NO_RENEWAL, abortSignal }));
}

async function waiting(client) {
  const accepted = client.acceptNextSession(QUEUE, NO_RENEWAL);
  await pause(500);
  await send(client, "late", ["1"]);
  const receiver = await accepted;
  assert.equal(receiver.sessionId, "late");
  await completeAll(receiver, await receive(receiver, 1));
  await receiver.close();
}

async function oneOwner(client) {
  const owner = await accept(client, "a");
  await raises("SessionCannotBeLocked", () => accept(client, "a"));
  await owner.close();
  await (await accept(client, "a")).close();
}

async function closing(client) {
  await send(client, "a", ["1", "2"]);
  const first = await accept(client, "a");
  await receive(first, 2);
  await first.close();
  const second = await accept(client, "a");
  const messages = await receive(second, 2);
  assert.deepEqual(messages.map((message) => [message.messageId, message.deliveryCount]), [["1", 0], ["2", 0]]);
  await completeAll(second, messages);
  await second.close();
}

async function abandoned(client) {
  await send(client, "a", ["1", "2"]);
  const receiver = await accept(client, "a");
  await receiver.abandonMessage(await receiveOne(receiver));
  const messages = await receive(receiver, 2);
  assert.deepEqual(messages.map((message) => [message.messageId, message.deliveryCount]), [["1", 1], ["2", 0]]);
  await completeAll(receiver, messages);
  await receiver.close();
}

async function state(client) {
  const first = await accept(client, "stateful");
  assert.ok(!(await first.getSessionState()));
  await first.setSessionState({ step: 7 });
  await first.close();
  const second = await accept(client, "stateful");
  assert.deepEqual(await second.getSessionState(), { step: 7 });
  // This SDK writes null as a state, which a client of another kind would have to remove.
  await second.setSessionState(null);
  assert.ok(!(await second.getSessionState()));
  await second.close();
}

async function renewal(client) {
  await send(client, "a", ["1"], SHORT);
  const receiver = await accept(client, "a", SHORT);
  const message = await receiveOne(receiver);
  for (let round = 0; round < 6; round += 1) {
    await pause(700);
    const until = await receiver.renewSessionLock();
    assert.ok(until.getTime() > Date.now() + 300, `${until}`);
  }
  await receiver.completeMessage(message);
  await receiver.close();
}

async function automatic(client) {
  await send(client, "a", ["1"], SHORT);
  const receiver = await client.acceptSession(SHORT, "a");
  const message = await receiveOne(receiver);
  await pause(5_500);
  await receiver.completeMessage(message);
  await receiver.close();
}

async function lost(client) {
  await send(client, "a", ["1"], SHORT);
  const receiver = await accept(client, "a", SHORT);
  const message = await receiveOne(receiver);
  await pause(4_300);
  await raises("SessionLockLost", () => receiver.completeMessage(message));
  await receiver.close();
  const again = await accept(client, "a", SHORT);
  const redelivered = await receiveOne(again);
  assert.equal(redelivered.deliveryCount, 1);
  await again.completeMessage(redelivered);
  await again.close();
}

async function deferring(client) {
  await send(client, "a", ["1", "2"]);
  const first = await accept(client, "a");
  const [one, two] = await receive(first, 2);
  await first.deferMessage(one);
  await first.completeMessage(two);
  await first.close();
  const other = await accept(client, "b");
  await raises("MessageNotFound", () => other.receiveDeferredMessages(one.sequenceNumber));
  await other.close();
  const second = await accept(client, "a");
  const [message] = await second.receiveDeferredMessages(one.sequenceNumber);
  assert.equal(message.messageId, "1");
  await second.completeMessage(message);
  await second.close();
}

async function peeking(client) {
  await send(client, "a", ["1", "2"]);
  await send(client, "b", ["3"]);
  const a = await accept(client, "a");
  assert.deepEqual(ids(await a.peekMessages(9)), ["1", "2"]);
  await completeAll(a, await receive(a, 2));
  assert.deepEqual(await a.peekMessages(1), []);
  await a.close();
  const b = await accept(client, "b");
  await completeAll(b, await receive(b, 1));
  await b.close();
}

async function deadLetters(client) {
  await send(client, "a", ["1"]);
  const receiver = await accept(client, "a");
  await receiver.deadLetterMessage(await receiveOne(receiver), { deadLetterReason: "R" });
  await receiver.close();
  const dead = client.createReceiver(QUEUE, { subQueueType: "deadLetter" });
  const letter = await receiveOne(dead);
  assert.deepEqual([letter.deadLetterReason, letter.sessionId], ["R", "a"]);
  await dead.completeMessage(letter);
}

async function deletion(client) {
  await send(client, "a", ["1", "2"]);
  const receiver = await accept(client, "a", QUEUE, { receiveMode: "receiveAndDelete" });
  assert.deepEqual(ids(await receive(receiver, 2)), ["1", "2"]);
  await receiver.close();
}

async function subscription(client) {
  const wanted = Array.from({ length: 20 }, (_, number) => String(number));
  await send(client, "a", wanted);
  const receiver = await accept(client, "a");
  const seen = [];
  await new Promise((resolve, reject) => {
    receiver.subscribe(
      {
        processMessage: async (message) => {
          seen.push(message.messageId);
          if (seen.length === wanted.length) resolve();
        },
        processError: async ({ error }) => reject(error),
      },
      { maxConcurrentCalls: 1 },
    );
  });
  // Completion follows the handler.
  await pause(200);
  await receiver.close();
  assert.deepEqual(seen, wanted);
}

async function scheduling(client) {
  const sender = client.createSender(QUEUE);
  await sender.scheduleMessages({ body: "x", sessionId: "later" }, new Date(Date.now() + 500));
  const receiver = await client.acceptNextSession(QUEUE, NO_RENEWAL);
  assert.equal(receiver.sessionId, "later");
  await completeAll(receiver, await receive(receiver, 1));
  await receiver.close();
}

async function noSessionId(client) {
  const sender = client.createSender(QUEUE);
  await assert.rejects(() => sender.sendMessages({ body: "x" }), /requires sessions/);
}

async function mixedUp(client) {
  const without = client.createReceiver(QUEUE);
  await assert.rejects(() => without.receiveMessages(1, { maxWaitTimeInMs: 1_000 }), /sessionful/);
  // This SDK looks at the answer before it looks at the error that follows.
  await assert.rejects(() => accept(client, "a", PLAIN), /requested session/);
}

export const checks = Object.fromEntries(
  Object.entries({
    "the receiver of a named session gets its messages in order and no others": named,
    "accepting the next available session gives each one that has messages, once": nextAvailable,
    "accepting the next session when none has messages times out": noneAvailable,
    "who waits for a session gets it as soon as a message is sent": waiting,
    "a session that has an owner cannot be locked by another, until the owner closes": oneOwner,
    "closing gives back what was held, and counts no delivery": closing,
    "an abandoned message comes again before those that follow it": abandoned,
    "the state of a session is kept for its next owner, and can be replaced": state,
    "renewing the session keeps it, with the messages that are held, beyond the lock duration": renewal,
    "a session that the SDK renews by itself is not lost": automatic,
    "after the lock has ended settling is an error, and the message comes again": lost,
    "messages of a session are deferred and received by number within it": deferring,
    "peeking shows the messages of the session and no others": peeking,
    "dead letters of a queue with sessions are received without a session": deadLetters,
    "receive-and-delete works within a session": deletion,
    "a subscription to a session processes its messages in order": subscription,
    "a scheduled message comes in its session": scheduling,
    "a message without a session id is refused": noSessionId,
    "a queue with sessions has no receivers without one, and the other way round": mixedUp,
  }).map(([title, check]) => [title, (connection) => withClient(connection, check, OPTIONS)]),
);
