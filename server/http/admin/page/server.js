// What the page knows of the server: the routes that it has, and its numbers, read every two seconds while somebody looks.
import { askJson, askText } from "./ask.js";
import { History } from "./charts.js";
import { point, reading } from "./reading.js";

const EVERY_MILLISECONDS = 2000;
/** How many times as long as a reading took is rested after it, so that a large server is not kept busy. */
const RESTS = 4;
/** But no longer: a machine that slept meanwhile has a clock that jumped. */
const REST_MILLISECONDS_MAX = 30_000;
/** The status with which a server says why it takes no deliveries now. */
const NOT_READY = 503;

/** Tells of each reading by the event `read`, of each failure by `failed`, of what was done by `said`. */
export class Server extends EventTarget {
  routes = new Set();
  now = null;
  before = null;
  history = new History();
  #timer = null;
  #reads = false;
  #closed = false;
  #seen = () => (document.hidden ? this.#pause() : this.#read());

  /** Find out what the server offers. Throws what asking throws. */
  async open() {
    this.routes = new Set(await askJson("/routes"));
    await this.#read();
    document.addEventListener("visibilitychange", this.#seen);
  }

  /** Read no more. */
  close() {
    this.#pause();
    this.#closed = true;
    document.removeEventListener("visibilitychange", this.#seen);
  }

  offers(route) {
    return this.routes.has(route);
  }

  sourceIds() {
    return [...(this.now?.rows.keys() ?? [])];
  }

  say(text) {
    this.dispatchEvent(new CustomEvent("said", { detail: text }));
  }

  #pause() {
    clearTimeout(this.#timer);
  }

  async #read() {
    if (this.#reads || this.#closed) return;
    this.#reads = true;
    clearTimeout(this.#timer);
    const started = performance.now();
    try {
      const asked = [askText("/metrics"), askJson("/sources"), askJson("/readyz", { or: NOT_READY })];
      const [metrics, sources, readiness] = await Promise.all(asked);
      this.#take(reading(metrics, sources, readiness, started / 1000));
    } catch (error) {
      this.dispatchEvent(new CustomEvent("failed", { detail: error }));
    }
    if (this.#closed) return;
    this.#reads = false;
    if (!document.hidden) this.#timer = setTimeout(() => this.#read(), rest(performance.now() - started));
  }

  #take(now) {
    this.before = this.now;
    this.now = now;
    if (this.before) this.history.add(Date.now() / 1000, point(this.before, now));
    this.dispatchEvent(new Event("read"));
  }
}

function rest(took) {
  return Math.min(REST_MILLISECONDS_MAX, Math.max(EVERY_MILLISECONDS, RESTS * took));
}
