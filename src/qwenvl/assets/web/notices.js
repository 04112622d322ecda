/** Short messages that go away: something could not be used, something was done. */

import { button, make } from "./dom.js";
import { say } from "./strings.js";

const SHOWN = 8000;

/** @param {string} text @param {boolean} [good] */
export function notice(text, good = false) {
  const box = make("div", { class: good ? "notice good" : "notice" }, make("p", { text }));
  box.append(button("close", say("close"), () => box.remove(), { class: "quiet round" }));
  const all = document.getElementById("notices");
  all.append(box);
  while (all.children.length > 3) all.firstChild.remove();
  setTimeout(() => box.remove(), good ? SHOWN / 4 : SHOWN);
}
