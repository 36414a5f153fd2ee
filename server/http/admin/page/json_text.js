// Shows JSON as it is: indented, but with each number and text as the server wrote it. To parse it and write it anew
// would round long numbers.
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const SHOWN_CHARACTERS_MAX = 100_000;

/** Return the text with a line for each value. */
export function indented(text) {
  const out = [];
  let depth = 0;
  let before = "";
  for (const [token] of text.matchAll(TOKEN)) {
    if ("}]".includes(token)) {
      depth -= 1;
      if (!"{[".includes(before)) out.push(newLine(depth));
    } else if ("{[,".includes(before) && before) out.push(newLine(depth));
    out.push(token === ":" ? ": " : token);
    if ("{[".includes(token)) depth += 1;
    before = token;
  }
  return out.join("");
}

/** Return the beginning of the indented text, and how much there is more. */
export function shown(text) {
  const whole = indented(text.slice(0, SHOWN_CHARACTERS_MAX));
  const left = text.length - SHOWN_CHARACTERS_MAX;
  return left > 0 ? `${whole}\n… and ${left} more characters` : whole;
}

function newLine(depth) {
  return `\n${"  ".repeat(Math.max(0, depth))}`;
}
