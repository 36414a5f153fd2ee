// Charts of what was read since the page was opened, drawn by uPlot (vendor/uPlot), which is there as a global.
import { bytes, count, days, duration, perSecond } from "./words.js";
import { make } from "./element.js";

const POINTS_MAX = 900;
const HEIGHT = 130;
const POWERS_OF_2 = Array.from({ length: 50 }, (_, power) => 2 ** power);
const WHOLE = Array.from({ length: 30 }, (_, at) => [1, 2, 5][at % 3] * 10 ** Math.floor(at / 3));
const CHARTS = [
  { title: "Events a second", words: perSecond, series: { received: "received", processed: "processed", other: "duplicate or dropped", dead: "dead" } },
  { title: "Pending", words: count, series: { pending: "pending" }, steps: WHOLE },
  { title: "Oldest pending", words: duration, series: { oldest: "age" } },
  { title: "Disk, a write on average", words: duration, series: { journal: "journal", commit: "commit" } },
  { title: "Store", words: bytes, series: { used: "used" }, steps: POWERS_OF_2, note: (last) => `of ${bytes(last.map)}` },
  { title: "Days left", words: days, series: { days: "days left" }, note: withoutDays },
];

/** The points of all charts, oldest first; bounded. */
export class History {
  times = [];
  points = [];

  add(time, point) {
    this.times.push(time);
    this.points.push(point);
    if (this.times.length > POINTS_MAX) {
      this.times.shift();
      this.points.shift();
    }
  }
}

/** Return the charts of a history; `draw` brings them up to date, `end` lets go of them. */
export function charts(history) {
  const all = CHARTS.map((chart) => new Chart(chart));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const repaint = () => all.forEach((each) => each.plot.redraw(false));
  const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => all.find((each) => each.room === target).fit()));
  dark.addEventListener("change", repaint);
  all.forEach((each) => observer.observe(each.room));
  return {
    element: make("div", { class: "charts" }, all.map((each) => each.element)),
    draw: () => all.forEach((each) => each.draw(history)),
    end: () => {
      observer.disconnect();
      dark.removeEventListener("change", repaint);
      all.forEach((each) => each.plot.destroy());
    },
  };
}

class Chart {
  constructor({ title, words, series, steps, note = () => "" }) {
    Object.assign(this, { title, words, steps, note, keys: Object.keys(series), names: Object.values(series) });
    this.values = this.keys.map(() => make("b", {}, "–"));
    this.said = make("span", { class: "note" });
    this.room = make("div", { class: "plot", role: "img", "aria-label": title });
    const legend = this.names.map((name, at) => make("li", { "data-series": at }, `${name} `, this.values[at]));
    this.element = make("section", { class: "card" }, make("h2", {}, title), make("ul", { class: "legend" }, legend, make("li", {}, this.said)), this.room);
    this.plot = new uPlot(this.options(), [[], ...this.keys.map(() => [])], this.room);
  }

  options() {
    const axis = { stroke: () => colour("--faint"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: 300,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? 1.1 * high : 1] } },
      axes: [{ ...axis, space: 80, size: 24, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 64, incrs: this.steps, values: (_, ticks) => ticks.map(this.words) }],
      series: [{}, ...this.names.map((label, at) => ({ label, stroke: () => colour(`--series-${at}`), width: 2, points: { show: false }, spanGaps: true }))],
    };
  }

  fit() {
    const width = Math.floor(this.room.clientWidth);
    if (width > 0) this.plot.setSize({ width, height: HEIGHT });
  }

  draw({ times, points }) {
    const last = points.at(-1);
    if (!last) return;
    this.plot.setData([times, ...this.keys.map((key) => points.map((each) => each[key]))]);
    this.keys.forEach((key, at) => { this.values[at].textContent = this.words(last[key]); });
    this.said.textContent = this.note(last);
    const said = this.names.map((name, at) => `${name} ${this.values[at].textContent}`).join(", ");
    this.room.setAttribute("aria-label", `${this.title}: ${said} ${this.said.textContent}`.trim());
  }
}

/** Return why there is no number of days left, "" if there is one. */
function withoutDays({ days: left, daysKnown }) {
  if (left !== null) return "";
  return daysKnown ? "never full" : "not known yet";
}

function clock(seconds) {
  return new Date(1000 * seconds).toLocaleTimeString("en-GB");
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
