// Dead events: counted by kind where the server does that, listed, given back to the processor or discarded.
import { askJson, command, firstLines, withQuery } from "./ask.js";
import { confirmed } from "./confirm.js";
import { choice, failure, field, make, moment, table } from "./element.js";
import { eventLink, link } from "./places.js";
import { count } from "./words.js";

const SHOWN = 200;
const IDS_MAX = 2500;
const DOINGS = [
  { path: "/requeue", verb: "Requeue", done: "requeued", words: "The processor gets them again." },
  { path: "/discard", verb: "Discard", done: "discarded", words: "They stay dead, and can never be given back." },
];

export function deadView(main, { values }, server) {
  const source = values.get("source") ?? "";
  const limit = Number(values.get("show")) || SHOWN;
  const again = () => main.isConnected && dispatchEvent(new HashChangeEvent("hashchange"));
  const [kinds, listed] = [0, 1].map(() => make("div", { "aria-live": "polite" }));
  const pick = choice("source", server.sourceIds(), source, "all");
  pick.addEventListener("change", () => { location.hash = link("dead", { source: pick.value }); });
  main.append(make("h1", { tabindex: -1 }, "Dead events"), field("Source", pick), deadNow(server, source), kinds, listed);
  if (server.offers("POST /discard")) showKinds(kinds, source, server, again);
  showList(listed, source, limit, server, again);
}

function deadNow(server, source) {
  const rows = [...(server.now?.rows.values() ?? [])].filter((row) => !source || row.facts.id === source);
  const known = rows.filter((row) => row.dead !== undefined);
  return known.length ? make("p", { class: "note" }, `${count(known.reduce((sum, row) => sum + row.dead, 0))} are dead now.`) : "";
}

async function showKinds(place, source, server, again) {
  try {
    const { kinds } = await askJson(withQuery("/dead", { group: "kind", source }));
    if (!kinds.length) return;
    const rows = kinds.map((kind) => ({ cells: [
      kind.source_config_id, kind.kind, count(kind.events), moment(kind.first_died_at), moment(kind.last_died_at),
      deadActions(server, () => [{ source: kind.source_config_id, all: true, error: kind.kind, count: kind.events }], again),
    ] }));
    place.replaceChildren(table("By kind of error", ["Source", "Kind", "Events", "First died (UTC)", "Last died (UTC)", "Do"], rows));
  } catch (error) {
    place.replaceChildren(failure(error));
  }
}

async function showList(place, source, limit, server, again) {
  place.replaceChildren(make("p", { class: "note" }, "Reading…"));
  try {
    const { found, more } = await firstLines(withQuery("/dead", { source }), limit);
    place.replaceChildren(...(found.length ? listNodes(found, more, { source, limit, server, again }) : [make("p", {}, "No event is dead.")]));
  } catch (error) {
    place.replaceChildren(failure(error));
  }
}

function listNodes(events, more, { source, limit, server, again }) {
  const boxes = events.map((event) => make("input", { type: "checkbox", "aria-label": `Choose ${event.inbound_event_id}` }));
  const every = make("input", { type: "checkbox", id: "choose-all" });
  every.addEventListener("change", () => boxes.forEach((box) => { box.checked = every.checked; }));
  const chosen = () => bySource(events.filter((_, at) => boxes[at].checked));
  const rows = events.map((event, at) => ({ cells: [
    boxes[at], event.source_config_id, make("a", { href: eventLink(event) }, event.inbound_event_id || "(empty)"), event.event_type ?? "",
    moment(event.finished_at), String(event.attempts), make("span", { class: "error" }, event.error ?? ""),
  ] }));
  const columns = ["Choose", "Source", "Id", "Type", "Died (UTC)", "Attempts", "Error"];
  return [
    make("div", { class: "bar" }, make("span", {}, every, " ", make("label", { for: "choose-all" }, "Choose all that are shown")), deadActions(server, chosen, again, "chosen"),
      source ? deadActions(server, () => [{ source, all: true }], again, `all of ${source}`) : null),
    table(`Dead events, in the order they came${more ? `: the first ${count(limit)}` : ""}`, columns, rows),
    more ? make("a", { class: "button", href: link("dead", { source, show: limit + SHOWN }) }, "Show more") : "",
  ];
}

function bySource(events) {
  const found = Map.groupBy(events, (event) => event.source_config_id);
  return [...found].map(([source, each]) => ({ source, ids: each.map((event) => event.inbound_event_id) }));
}

/** Return the buttons for dead events, as far as the server can do what they say. `wanted` gives, when one is clicked,
 * what of each source: its `ids`, or `all` of it, perhaps with a text in their `error`. */
export function deadActions(server, wanted, again, what = "") {
  const said = make("span", { role: "status" });
  const click = (doing) => async () => {
    const parts = wanted();
    if (!parts.length) return said.replaceChildren("None is chosen.");
    if (!(await confirmed(`${doing.verb} dead events?`, `${parts.map(described).join("; ")}. ${doing.words}`, doing.verb))) return undefined;
    try {
      server.say(summary(doing, await doAll(doing, parts)));
      return again();
    } catch (error) {
      return said.replaceChildren(failure(error));
    }
  };
  const offered = DOINGS.filter(({ path }) => server.offers(`POST ${path}`));
  const buttons = offered.map((doing) => make("button", { type: "button", onclick: click(doing) }, `${doing.verb} ${what}`.trim()));
  return make("span", { class: "buttons" }, buttons, said);
}

function described({ source, ids, error, count: events }) {
  if (ids) return `${ids.length === 1 ? `“${ids[0]}”` : `${count(ids.length)} events`} of ${source}`;
  if (error) return `every dead event of ${source} with “${error}” in its error (${count(events)} were counted)`;
  return `every dead event of ${source}`;
}

/** Have it done, so many ids at a time as the server takes; return what was done, and how much was not dead any more. */
async function doAll({ path, done }, parts) {
  const totals = { done: 0, unknown: 0 };
  for (const { source, ids, error } of parts) {
    for (const some of ids ? pieces(ids) : [null]) {
      const asked = some ? { source, event_ids: some } : { source, all: true, ...(error ? { error } : {}) };
      const answer = await command(path, asked);
      totals.done += answer[done];
      totals.unknown += answer.unknown.length;
    }
  }
  return totals;
}

function pieces(ids) {
  return Array.from({ length: Math.ceil(ids.length / IDS_MAX) }, (_, at) => ids.slice(at * IDS_MAX, (at + 1) * IDS_MAX));
}

function summary({ done }, totals) {
  const rest = totals.unknown ? `; ${count(totals.unknown)} were not dead any more` : "";
  return `${count(totals.done)} ${done}${rest}.`;
}
