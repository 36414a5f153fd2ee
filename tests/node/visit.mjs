// A headless Chromium with one page, used as people use it, until there is no more question: one a line,
// [WHAT, ...ARGUMENTS], each with an answer. Parts of a page are named by Playwright's selectors.
//   ["open", CHROMIUM, PROFILE, ...FLAGS]  begins, with an empty folder for a profile
//   ["go", ADDRESS]                        opens a page
//   ["shape", WIDTH, HEIGHT, SCHEME]       sets the window's size, and "light" or "dark"
//   ["click", PART], ["press", KEY]        the mouse, the keyboard
//   ["type", PART, TEXT]                   fills in a field
//   ["choose", PART, VALUE]                of a list
//   ["await", PART]                        waits until it is seen
//   ["gone", PART]                         waits until it is not seen
//   ["text", PART]                         what it shows
//   ["do", SCRIPT]                         what this comes to in the page
//   ["axe"]                                what axe-core finds wrong: rules, each with the parts that break it
//   ["clock"], ["later", MILLISECONDS]    takes the clock of the pages that are opened then; sets it so much later
//   ["picture", PATH]                      writes what is seen, as PNG
//   ["told"]                               addresses of all requests, and what the console said, so far
import fs from "node:fs";
import readline from "node:readline";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const HANG_MILLISECONDS = 300_000;
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8");

let context, page;
const asked = [];
const said = [];

const questions = {
  open: async (executablePath, profile, ...args) => {
    context = await chromium.launchPersistentContext(profile, { executablePath, args, chromiumSandbox: false });
    context.setDefaultTimeout(HANG_MILLISECONDS);
    page = context.pages()[0];
    page.on("request", (request) => asked.push(request.url()));
    page.on("console", (line) => said.push(`${line.type()}: ${line.text()}`));
    page.on("pageerror", (error) => said.push(`error: ${error}`));
    page.on("dialog", async (dialog) => { said.push(`dialog: ${dialog.message()}`); await dialog.dismiss(); });
  },
  go: async (address) => { await page.goto(address); },
  shape: async (width, height, colorScheme) => {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  },
  click: (part) => page.click(part),
  press: (key) => page.keyboard.press(key),
  type: (part, text) => page.fill(part, text),
  choose: (part, value) => page.selectOption(part, value),
  await: async (part) => { await page.waitForSelector(part); },
  gone: async (part) => { await page.waitForSelector(part, { state: "hidden" }); },
  text: (part) => page.innerText(part),
  do: (script) => page.evaluate(script),
  axe: async () => {
    if (!(await page.evaluate("'axe' in globalThis"))) await page.evaluate(AXE);
    const { violations } = await page.evaluate("axe.run()");
    return violations.map(({ id, nodes }) => [id, nodes.map((node) => `${node.html} ${node.failureSummary}`)]);
  },
  clock: () => page.clock.install(),
  later: (milliseconds) => page.clock.runFor(milliseconds),
  picture: async (path) => { await page.screenshot({ path }); },
  told: async () => ({ asked, said }),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [what, ...given] = JSON.parse(line);
  const answer = await questions[what](...given).then((result) => ({ result }), (error) => ({ error: String(error) }));
  console.log(JSON.stringify(answer));
}
await context?.close();
