// One of the SDKs for Node: one question, [PACKAGE, HOST, KEY, COUNT, BATCH, OPTIONS]; sends as many events, and answers
// with the ids that it reports as sent and as lost.
import readline from "node:readline";
import RudderAnalytics from "@rudderstack/rudder-sdk-node";
import { Analytics } from "@segment/analytics-node";
import { Analytics as Analytics2 } from "@segment/analytics-node-2";

const HANG_MILLISECONDS = 300_000;

function segment(Client, host, writeKey, flushAt) {
  const client = new Client({ writeKey, host, flushAt, flushInterval: 100, httpRequestTimeout: HANG_MILLISECONDS });
  client.on("error", () => {});
  return [client, () => client.closeAndFlush({ timeout: HANG_MILLISECONDS })];
}

function rudder(dataPlaneUrl, key, flushAt, options) {
  const silent = { logLevel: "none", errorHandler: () => {} };
  const client = new RudderAnalytics(key, { dataPlaneUrl, flushAt, flushInterval: 100, ...silent, ...options });
  return [client, async () => { while (client.queue.length) await client.flush(); await client.flush(); }];
}

const packages = {
  "segment 3": (...given) => segment(Analytics, ...given),
  "segment 2": (...given) => segment(Analytics2, ...given),
  rudderstack: rudder,
};

const { value: line } = await readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
const [name, host, key, count, batch, options] = JSON.parse(line);
const [client, close] = packages[name](host, key, batch, options);
const answer = { sent: [], lost: [] };
const reports = Array.from({ length: count }, (_, number) => {
  const message = { userId: "user-1", event: "Counted", properties: { number }, messageId: `message-${number}` };
  return new Promise((resolve) => client.track(message, (error) => {
    answer[error ? "lost" : "sent"].push(message.messageId);
    resolve();
  }));
});
await close();
await Promise.all(reports);
console.log(JSON.stringify(answer));
process.exit();
