// A headless Chromium with one page, until there is no more question: one a line, [WHAT, ...ARGUMENTS], each with an
// answer.
//   ["open", CHROMIUM, PROFILE, ...FLAGS]  begins, with an empty folder for a profile
//   ["go", ADDRESS]                        opens a page in place of the one before
//   ["do", SCRIPT]                         what this comes to in the page
//   ["clock"]                              takes the clock of the pages that are opened then
//   ["later", MILLISECONDS]                sets it so much later
//   ["asked"]                              the addresses of all requests so far
import readline from "node:readline";
import { chromium } from "playwright-core";

const HANG_MILLISECONDS = 300_000;

let context, page;
const asked = [];

const questions = {
  open: async (executablePath, profile, ...args) => {
    context = await chromium.launchPersistentContext(profile, { executablePath, args, chromiumSandbox: false });
    context.setDefaultTimeout(HANG_MILLISECONDS);
    context.on("request", (request) => asked.push(request.url()));
    page = context.pages()[0];
  },
  go: async (address) => { await page.goto(address); },
  do: (script) => page.evaluate(script),
  clock: () => page.clock.install(),
  later: (milliseconds) => page.clock.fastForward(milliseconds),
  asked: async () => asked,
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [what, ...given] = JSON.parse(line);
  const answer = await questions[what](...given).then((result) => ({ result }), (error) => ({ error: String(error) }));
  console.log(JSON.stringify(answer));
}
await context?.close();
