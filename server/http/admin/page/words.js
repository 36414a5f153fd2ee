// Numbers as people read them.

export function count(value) {
  return value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");
}

export function perSecond(value) {
  if (value === null || value === undefined) return "–";
  return `${value === 0 || value >= 10 ? count(value) : Number(value.toPrecision(2))}/s`;
}

/** Return a duration in its largest fitting unit. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return `${count(seconds * 1e6)} µs`;
  if (seconds < 1) return `${seconds < 0.01 ? (seconds * 1000).toPrecision(2) : count(seconds * 1000)} ms`;
  const [unit, length] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, each]) => seconds >= each);
  const value = seconds / length;
  return `${value < 10 ? Number(value.toFixed(1)) : count(value)} ${unit}`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)));
  const scaled = value / 1024 ** power;
  return `${power && scaled < 100 ? Number(scaled.toFixed(1)) : count(scaled)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

export function days(value) {
  return value === null || value === undefined ? "–" : `${value < 10 ? Number(value.toFixed(1)) : count(value)} d`;
}
