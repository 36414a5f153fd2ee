// Makes elements. What they show goes in as text nodes alone: nothing is ever parsed as HTML.

/** Return an element. Attributes that are null or false are left out; `onclick` and the like are listeners. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return a table. A column is a text; a row is `{ cells, ...attributes }`, a cell a text, a node or a list of them. */
export function table(caption, columns, rows) {
  // Narrow screens show rows as blocks, and a browser then forgets that they are rows: so each has its role.
  const head = columns.map((text) => make("th", { scope: "col", role: "columnheader" }, text));
  return make("table", { role: "table" },
    make("caption", {}, caption),
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, head)),
    make("tbody", { role: "rowgroup" }, rows.map((row) => tableRow(columns, row))));
}

/** Return a row for the body of a table with these columns. */
export function tableRow(columns, { cells, ...attributes }) {
  const made = cells.map((cell, at) => make("td", { role: "cell", "data-column": columns[at] }, cell ?? ""));
  return make("tr", { role: "row", ...attributes }, made);
}

/** Return a list of names and values. A value that is undefined or null is left out with its name. */
export function facts(values) {
  const given = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return make("dl", { class: "facts" }, given.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
}

/** Return a field of a form with its label and, below it, a hint. */
export function field(label, input, hint = "") {
  input.id ||= `field-${input.name}`;
  if (hint) input.setAttribute("aria-describedby", `${input.id}-hint`);
  return make("div", { class: "field" },
    make("label", { for: input.id }, label), input, hint ? make("small", { id: `${input.id}-hint` }, hint) : null);
}

/** Return a choice among these values; "" is the one for all of them. */
export function choice(name, values, chosen, all) {
  const known = chosen && !values.includes(chosen) ? [...values, chosen] : values;
  const options = [["", all], ...known.map((value) => [value, value])];
  return make("select", { name }, options.map(([value, text]) => make("option", { value, selected: value === (chosen ?? "") }, text)));
}

/** Return what went wrong, as a sign that is read out. */
export function failure(error) {
  return make("p", { class: "failure", role: "alert" }, error.message);
}

/** Return an outcome with its colour. */
export function outcome(name) {
  return make("span", { class: "outcome", "data-outcome": name }, name);
}

/** Return a moment as the server writes it, to the second and in UTC. */
export function moment(text) {
  return text ? make("time", { datetime: text, title: text }, text.slice(0, 19).replace("T", " ")) : "";
}
