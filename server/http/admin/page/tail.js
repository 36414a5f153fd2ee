// What comes, as it comes: the newest on top, so many rows and no more.
import { follow, withQuery } from "./ask.js";
import { choice, failure, field, make, table, tableRow } from "./element.js";
import { EVENT_COLUMNS, eventCells } from "./events.js";
import { link } from "./places.js";
import { count } from "./words.js";

const ROWS_MAX = 200;

export function tailView(main, { values }, server) {
  const given = Object.fromEntries(["source", "type", "id"].map((name) => [name, values.get(name)]));
  const list = table("What comes, the newest on top", EVENT_COLUMNS, []);
  const said = make("p", { role: "status" });
  const toggle = make("button", { type: "button", class: "strong" });
  main.append(make("h1", { tabindex: -1 }, "Tail"), form(given, server), make("div", { class: "bar" }, toggle, said), list);
  const tail = new Tail(withQuery("/tail", given), list.querySelector("tbody"), said, toggle);
  toggle.addEventListener("click", () => (tail.stop ? tail.end() : tail.begin()));
  tail.begin();
  return () => tail.end();
}

function form(given, server) {
  const text = (name) => make("input", { name, value: given[name], autocomplete: "off", spellcheck: "false" });
  const submitted = (event) => {
    event.preventDefault();
    location.hash = link("tail", Object.fromEntries(new FormData(event.target)));
  };
  return make("form", { class: "search", onsubmit: submitted },
    field("Source", choice("source", server.sourceIds(), given.source, "any")), field("Type", text("type")), field("Id begins with", text("id")),
    make("div", { class: "buttons" }, make("button", {}, "Follow these")));
}

class Tail {
  came = 0;
  fresh = [];

  constructor(path, body, said, toggle) {
    Object.assign(this, { path, body, said, toggle });
  }

  async begin() {
    const stop = new AbortController();
    this.stop = stop;
    this.toggle.textContent = "Stop";
    this.said.textContent = "Following. Nothing has come yet.";
    try {
      await follow(this.path, stop.signal, (event) => this.add(event));
      this.end("The server has ended it.");
    } catch (error) {
      if (!stop.signal.aborted) this.end(failure(error));
    }
  }

  end(why = "Stopped.") {
    this.stop?.abort();
    this.stop = null;
    this.toggle.textContent = "Follow";
    this.said.replaceChildren(why);
  }

  /** Take one more. However fast they come, they are drawn once a frame, and only those that stay. */
  add(event) {
    this.came += 1;
    this.fresh.push(event);
    if (this.fresh.length > ROWS_MAX) this.fresh.shift();
    if (this.fresh.length === 1 || !this.waits) {
      this.waits = true;
      requestAnimationFrame(() => this.draw());
    }
  }

  draw() {
    this.waits = false;
    const rows = this.fresh.reverse().map((event) => tableRow(EVENT_COLUMNS, { cells: eventCells(event) }));
    this.fresh = [];
    this.body.prepend(...rows);
    while (this.body.rows.length > ROWS_MAX) this.body.lastElementChild.remove();
    if (this.stop) this.said.textContent = `Following. ${count(this.came)} have come.`;
  }
}
