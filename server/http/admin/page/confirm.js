// Asks before something is done that cannot be undone by a click.

/** Return whether the operator says yes. The button that does nothing has the focus. */
export function confirmed(title, words, yes) {
  const part = (name) => document.getElementById(`confirm${name}`);
  const dialog = part("");
  part("-title").textContent = title;
  part("-words").textContent = words;
  part("-yes").textContent = yes;
  return new Promise((resolve) => {
    dialog.returnValue = "";
    part("-yes").onclick = () => dialog.close("yes");
    part("-no").onclick = () => dialog.close("");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.showModal();
  });
}
