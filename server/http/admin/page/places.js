// Places in the page, behind the # of its address: a view, and what it is asked. The server is never told of them.

/** Return the address of a view: `link("events", { type: "a" })`. A list is given again and again. */
export function link(view, values = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") query.append(name, each);
  }
  return `#/${view}${query.size ? `?${query}` : ""}`;
}

/** Return the view and the values of the present address. */
export function place() {
  const [path, query = ""] = cut(location.hash.slice(2), "?");
  const [view, rest = ""] = cut(path, "/");
  return { view, rest: decoded(rest), values: new URLSearchParams(query) };
}

export function eventLink(event) {
  return link("event", { source: event.source_config_id, id: event.inbound_event_id, number: event.number });
}

function cut(text, mark) {
  const at = text.indexOf(mark);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
