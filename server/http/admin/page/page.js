// Begins: asks for the token if the server wants one, then shows the view that the address names.
import { askJson, onUnauthorized, useToken } from "./ask.js";
import { deadView } from "./dead.js";
import { failure, field, make } from "./element.js";
import { eventView } from "./event.js";
import { eventsView } from "./events.js";
import { overview } from "./overview.js";
import { place } from "./places.js";
import { Server } from "./server.js";
import { sourceView } from "./source.js";
import { tailView } from "./tail.js";

const VIEWS = { "": overview, source: sourceView, events: eventsView, event: eventView, dead: deadView, tail: tailView };

const main = document.getElementById("main");
const nav = document.querySelector("nav");
const state = document.getElementById("state");
const said = document.getElementById("said");
const leaveButton = document.getElementById("leave");
let server = null;
let leave = null;

function show() {
  const { view, rest, values } = place();
  if (!server || !(view in VIEWS)) return;
  leave?.();
  main.replaceChildren();
  leave = VIEWS[view](main, { rest, values }, server) ?? null;
  settle();
  for (const link of nav.children) {
    if (link.getAttribute("href") === `#/${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Say where one is: in the title, and to who hears the page by moving the focus. */
function settle() {
  const title = main.querySelector("h1");
  document.title = `${title.textContent.slice(0, 80)} – Tidegate`;
  title.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function logIn(words) {
  leave?.();
  server?.close();
  leave = server = null;
  nav.hidden = leaveButton.hidden = true;
  useToken("");
  const token = make("input", { name: "token", type: "password", autocomplete: "off", required: true });
  const submitted = (event) => {
    event.preventDefault();
    useToken(token.value);
    begin(true);
  };
  main.replaceChildren(make("form", { class: "login card", onsubmit: submitted },
    make("h1", { tabindex: -1 }, "Tidegate"), words ? make("p", { role: "alert", class: "failure" }, words) : "",
    field("Admin token", token, "server.admin_token. It is kept in this page alone, until it is closed."),
    make("div", { class: "buttons" }, make("button", { class: "strong" }, "Log in"))));
  token.focus();
}

async function begin(hasToken = false) {
  onUnauthorized(() => {});
  const opened = new Server();
  try {
    await askJson("/routes");
    onUnauthorized(() => server && logIn("The token is not the right one any more."));
    opened.addEventListener("read", () => { state.textContent = ""; });
    opened.addEventListener("said", ({ detail }) => { said.textContent = detail; });
    opened.addEventListener("failed", ({ detail }) => { state.textContent = `No answer: ${detail.message}`; });
    await opened.open();
  } catch (error) {
    if (error.status === 401) return logIn(hasToken ? "This is not the token." : "");
    return main.replaceChildren(make("h1", {}, "Tidegate"), failure(error), make("button", { type: "button", onclick: () => begin() }, "Try again"));
  }
  server = opened;
  nav.hidden = false;
  leaveButton.hidden = !hasToken;
  return show();
}

addEventListener("hashchange", ({ oldURL, newURL }) => {
  if (oldURL !== newURL) said.textContent = "";
  show();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
leaveButton.addEventListener("click", () => location.reload());
begin();
