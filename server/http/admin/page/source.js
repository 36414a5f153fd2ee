// One source: its numbers, its settings, the last requests that were refused and why.
import { askJson, command } from "./ask.js";
import { make, facts, failure, moment, table } from "./element.js";
import { limit, marks, processor } from "./overview.js";
import { link } from "./places.js";
import { count } from "./words.js";

const REFUSALS_SHOWN = 50;

export function sourceView(main, { rest: id }, server) {
  const numbers = make("div", { class: "card" });
  const refused = make("div", { "aria-live": "polite" }, "Reading…");
  const said = make("p", { role: "status" });
  const title = make("h1", { tabindex: -1 }, `Source ${id}`);
  main.append(title, links(id), server.offers("POST /retry") ? retry(id, said) : "", said, numbers, refused);
  const draw = () => {
    if (!server.now) return;
    const row = server.now.rows.get(id);
    numbers.replaceChildren(row ? described(row) : make("p", {}, "There is no source of this id."));
  };
  server.addEventListener("read", draw);
  draw();
  askJson(`/refusals/${encodeURIComponent(id)}?limit=${REFUSALS_SHOWN}`).then(
    ({ refusals }) => refused.replaceChildren(refusals.length ? refusalTable(refusals) : make("p", {}, "No refused request is on record.")),
    (error) => refused.replaceChildren(failure(error)),
  );
  return () => server.removeEventListener("read", draw);
}

function links(id) {
  const places = [["Events", link("events", { source: id })], ["Dead", link("dead", { source: id })], ["Tail", link("tail", { source: id })]];
  return make("p", { class: "links" }, places.flatMap(([text, href]) => [make("a", { href }, text), " "]));
}

function retry(id, said) {
  return make("button", { type: "button", onclick: async () => {
    try {
      const done = await command("/retry", { source: id });
      said.textContent = `${count(done.retried)} events are tried now${done.source_waited ? ", and the source makes calls again" : ""}.`;
    } catch (error) {
      said.replaceChildren(failure(error));
    }
  } }, "Try now what waits");
}

function described(row) {
  const { facts: told } = row;
  const totals = Object.fromEntries(Object.entries(told.totals).filter(([name]) => !name.startsWith("expired_")).map(([name, value]) => [name.replaceAll("_", " "), count(value)]));
  return facts({
    type: told.type, state: marks(row).length ? make("span", {}, marks(row)) : "", "processor's name": told.processor,
    processor: make("span", {}, processor(told)), limit: make("span", {}, limit(told)), signed: told.signed === undefined ? "" : String(told.signed),
    pending: count(row.pending), ...totals, "dead now": count(row.dead),
  });
}

function refusalTable(refusals) {
  const rows = refusals.map((each) => ({ cells: [
    moment(each.refused_at), `${each.status} ${each.code}`, each.why, `${each.sender}, ${each.remote_addr}`,
    make("details", {}, make("summary", {}, `${each.method} ${each.path}`), make("pre", { tabindex: 0 }, JSON.stringify(each, null, 2))),
  ] }));
  return table("Last refused requests, the newest first", ["At (UTC)", "Answer", "Why", "Sender", "Request"], rows);
}
