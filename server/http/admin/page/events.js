// Search: a form of conditions, and a page of the events that meet them.
import { askJson, withQuery } from "./ask.js";
import { choice, failure, field, make, moment, outcome, table } from "./element.js";
import { eventLink, link } from "./places.js";
import { count } from "./words.js";

const OUTCOMES = ["pending", "deferred", "processed", "duplicate", "dropped", "dead"];
const NAMES = ["source", "id", "event_id", "provider_id", "type", "outcome", "since", "until"];
const SHOWN = 50;
const FORGOTTEN = "forgotten";

export function eventsView(main, { values }, server) {
  const given = Object.fromEntries(NAMES.map((name) => [name, values.get(name)]));
  given.where = values.getAll("where");
  const found = make("div", { id: "found", "aria-live": "polite" });
  main.append(make("h1", { tabindex: -1 }, "Events"), form(given, server), found);
  search(found, given, values.get("before"));
}

function form(given, server) {
  const text = (name, attributes) => make("input", { name, value: given[name], autocomplete: "off", spellcheck: "false", ...attributes });
  const where = make("textarea", { name: "where", rows: 2, spellcheck: "false" }, given.where.join("\n"));
  return make("form", { class: "search", onsubmit: submitted },
    field("Source", choice("source", server.sourceIds(), given.source, "any")),
    field("Id begins with", text("id")),
    field("Whole id", text("event_id")),
    field("Provider's id", text("provider_id")),
    field("Type", text("type")),
    field("Outcome", choice("outcome", OUTCOMES, given.outcome, "any")),
    field("Since", text("since"), "24h, 2026-01-31, or 2026-01-31T08:00Z"),
    field("Until", text("until"), "as Since"),
    field("Where", where, "a condition a line: payload.order.id=7"),
    make("div", { class: "buttons" }, make("button", { class: "strong" }, "Search"), make("a", { href: link("events") }, "Clear")));
}

function submitted(event) {
  event.preventDefault();
  const values = Object.fromEntries(new FormData(event.target));
  const where = values.where.split("\n").map((line) => line.trim()).filter(Boolean);
  const href = link("events", { ...values, where });
  if (href === location.hash) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = href;
}

async function search(place, given, before) {
  place.replaceChildren(make("p", { class: "note" }, "Searching…"));
  try {
    const answer = await askJson(withQuery("/events", { ...given, before, limit: SHOWN }));
    place.replaceChildren(...results(answer, given));
  } catch (error) {
    place.replaceChildren(failure(error));
  }
}

function results({ events, next, looked_at: looked }, given) {
  const words = events.length ? `${count(events.length)} events, the newest first` : next ? "None found so far" : "No event meets this";
  const looked_at = `${words}; ${count(looked)} looked at.`;
  const further = next && make("a", { class: "button", href: link("events", { ...given, ...next }) }, events.length ? "Older events" : "Look further");
  return [make("p", { class: "note" }, looked_at), events.length ? eventTable("Events", events) : null, further].filter(Boolean);
}

export const EVENT_COLUMNS = ["Received (UTC)", "Source", "Id", "Type", "Outcome", "Detail"];

/** Return the cells of an event in lists. */
export function eventCells(event) {
  return [
    moment(event.received_at), event.source_config_id, make("a", { href: eventLink(event) }, event.inbound_event_id || "(empty)"),
    event.event_type ?? "", outcome(event.outcome), [detail(event), ...forgottenMark(event)],
  ];
}

export function eventTable(caption, events) {
  return table(caption, EVENT_COLUMNS, events.map((event) => ({ cells: eventCells(event) })));
}

function detail(event) {
  const isForgotten = event.archive === FORGOTTEN;
  const expired = event.archive && !isForgotten && `body ${event.archive}`;
  return [!isForgotten && event.error, event.duplicate_of && `of ${event.duplicate_of}`, event.discarded_at && "discarded", expired].filter(Boolean).join(", ");
}

/** Return a mark for an event whose contents were forgotten; none for another. */
function forgottenMark({ archive, forgotten_at: at }) {
  return archive === FORGOTTEN ? [" ", make("span", { class: "mark", title: at }, FORGOTTEN)] : [];
}
