// The first view: charts, and a row a source.
import { charts } from "./charts.js";
import { field, make, outcome, tableRow, table } from "./element.js";
import { link } from "./places.js";
import { rowRates } from "./reading.js";
import { troubles } from "./troubles.js";
import { count, duration, perSecond } from "./words.js";

const COLUMNS = ["Source", "In", "Outcomes", "Pending", "Refused since the start", "Limit", "Processor"];
const ROWS_MAX = 200;
const OVER_LIMIT = { defer: "what is over it waits", drop: "what is over it is dropped" };

export function overview(main, _, server) {
  const wrong = troubles();
  const drawn = charts(server.history);
  const list = table("Sources", COLUMNS, []);
  const wanted = make("input", { name: "source", autocomplete: "off", spellcheck: "false" });
  const shown = make("p", { class: "note", role: "status" });
  const body = list.querySelector("tbody");
  const filter = field("Sources whose id has", wanted);
  main.append(make("h1", { tabindex: -1 }, "Overview"), ...wrong.elements, drawn.element, make("div", { class: "bar" }, filter, shown), list);
  const drawRows = () => {
    if (!server.now) return;
    const rows = [...server.now.rows.values()];
    const found = chosen(rows, wanted.value.trim());
    const some = found.slice(0, ROWS_MAX);
    body.replaceChildren(...some.map((row) => tableRow(COLUMNS, { cells: cells(row, server) })));
    say(shown, rows.length ? shownOf(some.length, found.length, rows.length) : "There is no source yet.");
  };
  const draw = () => {
    if (server.now) {
      wrong.draw(server.now);
      drawn.draw();
    }
    drawRows();
  };
  wanted.addEventListener("input", drawRows);
  server.addEventListener("read", draw);
  draw();
  return () => {
    server.removeEventListener("read", draw);
    drawn.end();
  };
}

/** Return the rows of sources whose id has this text, in any case of its letters; those that begin so come first. */
function chosen(rows, text) {
  const part = text.toLowerCase();
  const at = (row) => row.facts.id.toLowerCase().indexOf(part);
  return part ? rows.filter((row) => at(row) >= 0).sort((one, other) => (at(one) > 0) - (at(other) > 0)) : rows;
}

function shownOf(some, found, all) {
  return `${count(some)} of ${count(all)}${some < found && found < all ? `; ${count(found)} match` : ""}`;
}

/** Show a text, and leave it alone if it is there: a status is read out whenever it is set. */
function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

function cells(row, server) {
  const { facts } = row;
  const rates = rowRates(server.before?.rows.get(facts.id), row, server.now.at - (server.before?.at ?? 0));
  return [
    [make("a", { href: link(`source/${encodeURIComponent(facts.id)}`) }, facts.id), " ", make("small", {}, facts.type ?? ""), ...marks(row)],
    make("span", { class: "number" }, perSecond(rates.received)),
    outcomes(row, rates),
    [count(row.pending), make("small", {}, waiting(row))],
    refusals(row),
    limit(facts),
    processor(facts),
  ];
}

/** Return what is unusual about a source. */
export function marks({ facts, silent }) {
  const said = [[facts.paused, "paused"], [silent, "silent"], [!facts.configured, "not configured"], [facts.behind, "waits on disk"]];
  return said.filter(([is]) => is).map(([, text]) => make("span", { class: "mark" }, text));
}

function outcomes(row, rates) {
  const found = Object.entries(row.outcomes).filter(([, value]) => value > 0);
  if (!found.length) return "none yet";
  return make("ul", { class: "plain" }, found.map(([name, value]) => make("li", {},
    outcome(name), ` ${perSecond(rates.outcomes[name])} `, make("small", {}, `${count(value)} in all`), name === "dead" ? deadNow(row) : null)));
}

/** Return how many events of a source are dead now: the outcome counts those too that were given back or discarded. */
function deadNow({ facts, dead }) {
  return dead ? [", ", make("a", { href: link("dead", { source: facts.id }) }, `${count(dead)} now`)] : make("small", {}, ", none now");
}

function waiting(row) {
  const deferred = row.facts.deferred ? `, ${count(row.facts.deferred)} deferred` : "";
  return row.pending && row.oldest !== undefined ? ` oldest ${duration(row.oldest)}${deferred}` : deferred;
}

function refusals({ refused }) {
  const found = Object.entries(refused);
  return found.length ? make("ul", { class: "plain" }, found.map(([code, value]) => make("li", {}, `${code} ${count(value)}`))) : "none";
}

export function limit({ limits }) {
  const each = limits?.rate_limit_events_per_second;
  if (!each) return "none";
  return [`${each}/s`, make("small", {}, ` ${OVER_LIMIT[limits.over_limit]}`)];
}

/** Return whether a source has a processor, how it does, and its last error. */
export function processor({ processor: name, since_start: since, paused }) {
  if (!name) return "none";
  const error = since.last_error;
  const state = paused ? "paused" : error ? `failed ${count(since.processor_failures)}×` : "no failure since the start";
  return [make("span", {}, state), error ? make("small", { class: "error" }, `${error} (${since.last_error_at.slice(0, 19).replace("T", " ")})`) : null];
}
