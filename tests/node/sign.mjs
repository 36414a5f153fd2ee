// The vendors' signers and verifiers: one question a line, [PACKAGE, SECRET, BODY, HEADERS]. Without headers the answer
// is the headers with which the package signs; with them, whether its verifier takes them, or what it throws.
import readline from "node:readline";
import * as octokit from "@octokit/webhooks-methods";
import "@shopify/shopify-api/adapters/node";
import { ApiVersion, shopifyApi } from "@shopify/shopify-api";
import { createSHA256HMAC } from "@shopify/shopify-api/runtime";
import { Webhook } from "standardwebhooks";

const shopify = (apiSecretKey) =>
  shopifyApi({
    apiKey: "key",
    apiSecretKey,
    apiVersion: Object.values(ApiVersion).at(-1),
    hostName: "localhost",
    isEmbeddedApp: false,
    logger: { log: () => {} },
  });

const packages = {
  octokit: {
    sign: async (secret, body) => ({ "x-hub-signature-256": await octokit.sign(secret, body) }),
    verify: (secret, body, headers) => octokit.verify(secret, body, headers["x-hub-signature-256"]),
  },
  shopify: {
    sign: async (secret, body) => ({ "x-shopify-hmac-sha256": await createSHA256HMAC(secret, body) }),
    verify: async (secret, body, headers) => {
      const shop = { "x-shopify-shop-domain": "a.myshopify.com", "x-shopify-api-version": "2026-01" };
      const rawRequest = { method: "POST", url: "/", headers: { ...shop, ...headers } };
      return (await shopify(secret).webhooks.validate({ rawBody: body, rawRequest })).valid;
    },
  },
  standardwebhooks: {
    sign: async (secret, body) => {
      const at = new Date();
      const signature = new Webhook(secret).sign("msg_1", at, body);
      const timestamp = String(Math.floor(at / 1000));
      return { "webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": signature };
    },
    verify: async (secret, body, headers) => {
      new Webhook(secret).verify(body, headers);
      return true;
    },
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [name, secret, body, headers] = JSON.parse(line);
  const found = packages[name];
  const answer = await (headers ? found.verify(secret, body, headers) : found.sign(secret, body)).catch(String);
  console.log(JSON.stringify(answer));
}
