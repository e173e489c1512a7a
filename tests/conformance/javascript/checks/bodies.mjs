// Bodies: every kind that the SDK can send comes back as it was.

import { assert, receiveOne, withQueue } from "./world.mjs";

const QUEUE = "js-bodies";

function comesBack(body, bodyType) {
  return async ({ sender, receiver }) => {
    // With a body type it is an AMQP message, without one a message of the SDK.
    await sender.sendMessages(bodyType ? { body, bodyType } : { body });
    const received = await receiveOne(receiver);
    assert.deepEqual(received.body, body);
    if (bodyType) {
      assert.equal(received._rawAmqpMessage.bodyType, bodyType);
    }
    await receiver.completeMessage(received);
  };
}

const large = Buffer.alloc(250 * 1024, 7);

export const checks = Object.fromEntries(
  Object.entries({
    "text comes back": comesBack("grüße"),
    "an empty text comes back": comesBack(""),
    "an object comes back": comesBack({ a: [1, 2, { b: null }], c: "d" }),
    "a number comes back": comesBack(42.5),
    "null comes back": comesBack(null),
    "bytes come back": comesBack(Buffer.from([0, 255, 1, 254])),
    "250 KiB, which take several frames, come back": comesBack(large),
    "an AMQP value keeps its kind": comesBack("value", "value"),
    "an AMQP sequence keeps its kind": comesBack([1, "two", 3], "sequence"),
  }).map(([title, check]) => [title, (connection) => withQueue(connection, QUEUE, check)]),
);
