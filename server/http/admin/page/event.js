// One event: what became of it, its body, its delivery, and all that came with its id.
import { ask, askJson, askText, withQuery } from "./ask.js";
import { facts, failure, make, moment, outcome, table } from "./element.js";
import { eventTable } from "./events.js";
import { shown } from "./json_text.js";
import { deadActions } from "./dead.js";
import { link } from "./places.js";

const SAME_ID_SHOWN = 50;
const FORGOTTEN = "Forgotten: what this event held is gone for good. Its id, its outcome and its times are kept.";

export function eventView(main, { values }, server) {
  const source = values.get("source") ?? "";
  const id = values.get("id") ?? "";
  const [receipt, body, delivery, same] = [0, 1, 2, 3].map(() => make("div", { "aria-live": "polite" }, "Reading…"));
  main.append(
    make("h1", { tabindex: -1 }, `Event ${id}`),
    make("p", {}, "of source ", make("a", { href: link(`source/${encodeURIComponent(source)}`) }, source)),
    make("h2", {}, "What became of it"), receipt, make("h2", {}, "The event"), body,
    make("h2", {}, "Its delivery"), delivery, make("h2", {}, "All with this id"), same);
  const show = (place, made) => made.then((nodes) => place.replaceChildren(...nodes), (error) => place.replaceChildren(failure(error)));
  const again = () => main.isConnected && dispatchEvent(new HashChangeEvent("hashchange"));
  const query = { event_id: id };
  const found = askJson(withQuery(`/receipts/${encodeURIComponent(source)}`, query));
  show(receipt, found.then((value) => receiptNodes(value, server, again)));
  show(body, askText(withQuery(`/events/${encodeURIComponent(source)}`, query)).then((text) => [json(text)], (error) => [gone(error)]));
  show(delivery, found.then((value) => deliveryNodes(value.delivery)));
  show(same, askJson(withQuery("/events", { source, event_id: id, limit: SAME_ID_SHOWN })).then(({ events, next }) => [
    eventTable("Events with this id, the newest first", events), next ? make("p", { class: "note" }, "There are more.") : ""]));
}

function receiptNodes(found, server, again) {
  const { history = [], source_config_id: source, inbound_event_id: id, discarded_at: discarded } = found;
  const nodes = [make("div", { class: "card" }, facts({
    outcome: outcome(found.outcome ?? (found.deferred ? "deferred" : "pending")), "why it waits": found.reason, "tried again at": moment(found.next_attempt_at),
    type: found.event_type, received: moment(found.received_at), finished: moment(found.finished_at), attempts: String(found.attempts),
    error: found.error, "duplicate of": found.duplicate_of, "replay of": found.replay_of && JSON.stringify(found.replay_of), discarded: moment(discarded),
    "the body left": moment(found.archive_expired_at), forgotten: moment(found.forgotten_at),
  }))];
  if (found.forgotten_at) nodes.push(make("p", { class: "notice" }, FORGOTTEN));
  if (history.length) nodes.push(table("History", ["At (UTC)", "Change", "Attempts", "Error"], history.map((turn) => ({
    cells: [moment(turn.at), turn.change, String(turn.attempts ?? ""), turn.error ?? ""] }))));
  if (found.outcome === "dead" && !discarded) nodes.push(deadActions(server, () => [{ source, ids: [id] }], again));
  return nodes;
}

async function deliveryNodes(id) {
  const text = await (await ask(`/deliveries/${encodeURIComponent(id)}`)).text();
  const { received_at: received, remote_addr: address, headers, batch_size: size } = JSON.parse(text);
  return [
    make("div", { class: "card" }, facts({ delivery: id, received: moment(received), from: address, items: String(size) })),
    table("Headers that were kept", ["Name", "Value"], Object.entries(headers).map((cells) => ({ cells }))),
    make("details", {}, make("summary", {}, "The whole delivery"), json(text)),
  ];
}

/** Return why there is no body: as a failure, unless it was to be so. */
function gone(error) {
  return error.code === "forgotten" ? make("p", { class: "notice" }, `${error.words}.`) : failure(error);
}

function json(text) {
  return make("pre", { tabindex: 0, class: "json" }, shown(text));
}
