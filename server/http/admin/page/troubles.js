// What is wrong, in the words of `/readyz`: above the overview, and there only while something is.
import { make } from "./element.js";
import { count } from "./words.js";

const SHOWN_MAX = 10;

/** Return the elements that say why nothing can be taken and what else is wrong; `draw` brings them up to date. */
export function troubles() {
  const reasons = part({ role: "alert", class: "troubles failure" });
  const warnings = part({ role: "status", class: "troubles notice" });
  return {
    elements: [reasons.element, warnings.element],
    draw: (now) => {
      reasons.draw(now.reasons.map(({ reason, message }) => `Not ready: ${reason}: ${message}`));
      warnings.draw(now.warnings.map(({ warning, message }) => `${warning}: ${message}`));
    },
  };
}

function part(attributes) {
  const list = make("ul", { class: "plain" });
  const element = make("div", { "aria-relevant": "additions", hidden: true, ...attributes }, list);
  let before = "";
  return { element, draw: (all) => {
    const texts = all.length > SHOWN_MAX ? [...all.slice(0, SHOWN_MAX), `${count(all.length - SHOWN_MAX)} more: tidegate status`] : all;
    // Ages go on in the texts that stand there: what is added would be read out again, each time.
    const now = JSON.stringify(texts).replace(/\d+/g, "");
    if (now === before) texts.forEach((text, at) => { list.children[at].firstChild.data = text; });
    else list.replaceChildren(...texts.map((text) => make("li", {}, text)));
    before = now;
    element.hidden = !texts.length;
  } };
}
