// What the server says of itself at one moment, and what has come between two such readings.
const SAMPLE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const UNUSED = /^(?:#|python_|process_|tidegate_processor_seconds|\w+_bucket)/;

/** Return the samples of a text in Prometheus' format, by name: each with its labels and its value. */
export function samples(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    if (!line || UNUSED.test(line)) continue;
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (!name) continue;
    if (!found.has(name)) found.set(name, []);
    const named = [...labels.matchAll(LABEL)].map(([, key, text]) => [key, unescaped(text)]);
    found.get(name).push({ labels: Object.fromEntries(named), value: Number(value.replace("Inf", "Infinity")) });
  }
  return found;
}

function unescaped(text) {
  return text.replace(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));
}

/** Return one reading of `/metrics`, `/sources` and `/readyz`. `at` is in seconds of a clock that only goes on. */
export function reading(metrics, { sources, capacity }, { reasons, warnings }, at) {
  const found = samples(metrics);
  const one = (name) => found.get(name)?.[0]?.value ?? null;
  const rows = new Map(sources.map((facts) => [facts.id, { facts, outcomes: {}, refused: {} }]));
  const fill = (name, put) => (found.get(name) ?? []).forEach(({ labels, value }) => {
    const row = rows.get(labels.source);
    if (row) put(row, value, labels);
  });
  fill("tidegate_events_received_total", (row, value) => { row.received = value; });
  fill("tidegate_events_total", (row, value, { outcome }) => { row.outcomes[outcome] = value; });
  fill("tidegate_source_refused_total", (row, value, { code }) => { if (value) row.refused[code] = value; });
  fill("tidegate_events_pending", (row, value) => { row.pending = value; });
  fill("tidegate_oldest_pending_seconds", (row, value) => { row.oldest = value; });
  fill("tidegate_events_dead", (row, value) => { row.dead = value; });
  fill("tidegate_source_silent", (row, value) => { row.silent = value === 1; });
  return {
    at,
    rows,
    capacity,
    reasons,
    warnings,
    journal: { sum: one("tidegate_journal_seconds_sum"), count: one("tidegate_journal_seconds_count") },
    commit: { sum: one("tidegate_commit_seconds_sum"), count: one("tidegate_commit_seconds_count") },
    used: one("tidegate_store_used_bytes"),
    map: one("tidegate_store_map_bytes"),
  };
}

/** Return how much a counter went on, a second; null if it began anew. */
export function rate(before, now, seconds) {
  const more = now - before;
  return more >= 0 && seconds > 0 ? more / seconds : null;
}

/** Return what a row did since the one before, a second. */
export function rowRates(before, now, seconds) {
  if (!before) return { received: null, outcomes: {} };
  const outcomes = Object.entries(now.outcomes).map(([name, value]) => [name, rate(before.outcomes[name] ?? 0, value, seconds)]);
  return { received: rate(before.received, now.received, seconds), outcomes: Object.fromEntries(outcomes) };
}

/** Return the mean of a histogram between two readings; null if there was nothing. */
export function mean(before, now) {
  const count = now.count - before.count;
  return count > 0 ? (now.sum - before.sum) / count : null;
}

/** Return what the charts show of two readings, by name. */
export function point(before, now) {
  const seconds = now.at - before.at;
  const rates = [...now.rows].map(([id, row]) => rowRates(before.rows.get(id), row, seconds));
  const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
  const rows = [...now.rows.values()];
  const forecast = now.capacity.measured ?? now.capacity.configured;
  return {
    received: sum(rates.map((each) => each.received)),
    processed: sum(rates.map((each) => each.outcomes.processed)),
    other: sum(rates.flatMap((each) => [each.outcomes.duplicate, each.outcomes.dropped])),
    dead: sum(rates.map((each) => each.outcomes.dead)),
    pending: sum(rows.map((row) => row.pending)),
    oldest: Math.max(0, ...rows.map((row) => row.oldest ?? 0)),
    journal: mean(before.journal, now.journal),
    commit: mean(before.commit, now.commit),
    used: now.used,
    map: now.map,
    days: forecast?.days_left ?? null,
    daysKnown: Boolean(forecast),
  };
}
