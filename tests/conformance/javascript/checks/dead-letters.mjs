// Dead letters: by hand, after too many deliveries, and after their time.

import { assert, receiveOne, withQueue } from "./world.mjs";

const TRIES = "js-two-tries";
const EXPIRING = "js-expiring";

function withDeadLetters(queue, check) {
  return (connection) =>
    withQueue(connection, queue, (world) =>
      check({ ...world, dead: world.client.createReceiver(queue, { subQueueType: "deadLetter" }) }),
    );
}

async function byHand({ sender, receiver, dead }) {
  await sender.sendMessages({ body: "bad", messageId: "d", applicationProperties: { kept: 1 } });
  await receiver.deadLetterMessage(await receiveOne(receiver), {
    deadLetterReason: "unreadable",
    deadLetterErrorDescription: "not a number",
    extra: "more",
  });
  const message = await receiveOne(dead);
  assert.equal(message.body, "bad");
  assert.equal(message.deadLetterReason, "unreadable");
  assert.equal(message.deadLetterErrorDescription, "not a number");
  assert.equal(message.applicationProperties.kept, 1);
  assert.equal(message.applicationProperties.extra, "more");
  await dead.completeMessage(message);
}

async function withoutReason({ sender, receiver, dead }) {
  await sender.sendMessages({ body: "bad" });
  await receiver.deadLetterMessage(await receiveOne(receiver));
  const message = await receiveOne(dead);
  assert.equal(message.deadLetterReason, undefined);
  await dead.completeMessage(message);
}

async function tooManyDeliveries({ sender, receiver, dead }) {
  await sender.sendMessages({ body: "fails" });
  await receiver.abandonMessage(await receiveOne(receiver));
  await receiver.abandonMessage(await receiveOne(receiver));
  const message = await receiveOne(dead);
  assert.equal(message.deadLetterReason, "MaxDeliveryCountExceeded");
  await dead.completeMessage(message);
}

async function expired({ sender, dead }) {
  await sender.sendMessages({ body: "old" });
  const message = await receiveOne(dead);
  assert.equal(message.deadLetterReason, "TTLExpiredException");
  await dead.completeMessage(message);
}

export const checks = {
  "a dead-lettered message is in the dead-letter queue with its reason and all it carried":
    withDeadLetters(TRIES, byHand),
  "a message can be dead-lettered without a reason": withDeadLetters(TRIES, withoutReason),
  "a message that fails max-delivery-count times becomes a dead letter with the broker's reason":
    withDeadLetters(TRIES, tooManyDeliveries),
  "a message that outlives its time becomes a dead letter where the queue says so":
    withDeadLetters(EXPIRING, expired),
};
