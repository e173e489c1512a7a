// What a program does with Microsoft's JavaScript SDK: send many messages at once, receive, complete.
// Arguments: connection string, queue, number of messages, messages under way, bytes of a body.
// Prints the milliseconds that sending and receiving took, as JSON.

import { ServiceBusClient } from "@azure/service-bus";

const [connectionString, queue, ...numbers] = process.argv.slice(2);
const [count, inFlight, bodyBytes] = numbers.map(Number);
const body = Buffer.alloc(bodyBytes, "x");
const client = new ServiceBusClient(connectionString);

async function send() {
  const sender = client.createSender(queue);
  // The link is opened by the first message.
  await sender.sendMessages({ body });
  const began = performance.now();
  let next = 1;
  const lane = async () => {
    while (next < count) {
      next += 1;
      await sender.sendMessages({ body });
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const elapsed = performance.now() - began;
  await sender.close();
  return elapsed;
}

async function receive() {
  const receiver = client.createReceiver(queue, { maxAutoLockRenewalDurationInMs: 0 });
  const began = performance.now();
  let received = 0;
  while (received < count) {
    const messages = await receiver.receiveMessages(inFlight, { maxWaitTimeInMs: 10_000 });
    if (messages.length === 0) {
      throw new Error(`only ${received} of ${count} messages came`);
    }
    received += messages.length;
    await Promise.all(messages.map((message) => receiver.completeMessage(message)));
  }
  const elapsed = performance.now() - began;
  await receiver.close();
  return elapsed;
}

const sendMs = await send();
const receiveMs = await receive();
await client.close();
console.log(JSON.stringify({ sendMs, receiveMs }));
