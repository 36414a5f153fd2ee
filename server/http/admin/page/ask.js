// Asks the admin side. The token is in this variable alone, so that it is gone with the page.
let token = "";
let whenUnauthorized = () => {};

/** An answer that is no success, with the server's own words. */
export class Refused extends Error {
  constructor(status, message, code = "") {
    super(code ? `${code}: ${message}` : message);
    this.status = status;
    this.code = code;
    this.words = message;
  }
}

export function useToken(text) {
  token = text;
}

/** Have this called when the server wants a token, or another one. */
export function onUnauthorized(call) {
  whenUnauthorized = call;
}

/** Return the answer, if it is a success or has the status `or`; throw `Refused` if not, and what `fetch` throws. */
export async function ask(path, { body, signal, or } = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  const answer = await fetch(path, { method, body, headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  if (answer.ok || answer.status === or) return answer;
  if (answer.status === 401) whenUnauthorized();
  throw await refused(answer);
}

async function refused(answer) {
  const text = await answer.text();
  try {
    const { code, message } = JSON.parse(text);
    return new Refused(answer.status, message, code);
  } catch {
    return new Refused(answer.status, `the server answers ${answer.status}`);
  }
}

export async function askJson(path, options) {
  return (await ask(path, options)).json();
}

export async function askText(path, options) {
  return (await ask(path, options)).text();
}

/** Have something done, and return what the server says about it. */
export async function command(path, value) {
  return askJson(path, { body: JSON.stringify(value) });
}

/** Return a path with a query of what is not empty; a list is given again and again. */
export function withQuery(path, values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") query.append(name, each);
  }
  return query.size ? `${path}?${query}` : path;
}

/** Return the first values of an answer of JSON lines, and whether there are more; the rest is not read. */
export async function firstLines(path, count) {
  const stop = new AbortController();
  const found = [];
  try {
    for await (const line of lines(await ask(path, { signal: stop.signal }))) {
      if (found.length === count) return { found, more: true };
      if (line) found.push(JSON.parse(line));
    }
    return { found, more: false };
  } finally {
    stop.abort();
  }
}

/** Call for each event of a stream of them, with its data, until the signal or the server ends it. */
export async function follow(path, signal, call) {
  for await (const line of lines(await ask(path, { signal }))) {
    if (line.startsWith("data: ")) call(JSON.parse(line.slice(6)));
  }
}

async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    yield* whole;
  }
  if (rest) yield rest;
}
