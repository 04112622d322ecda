/** Pictures come in: chosen, dropped, pasted. */

import { make } from "./dom.js";
import { say } from "./strings.js";

/** @param {(files: File[]) => void} take @returns {() => void} opens the file picker */
export function picker(take) {
  const input = make("input", { type: "file", accept: "image/*", multiple: true, hidden: true, id: "files" });
  input.addEventListener("change", () => {
    take([...input.files]);
    input.value = ""; // the same file may be chosen again
  });
  document.body.append(input);
  return () => input.click();
}

/** @param {HTMLElement} veil shown while files are over the page @param {(files: File[]) => void} take @param {() => void} none */
export function dropping(veil, take, none) {
  let depth = 0; // entering a child comes before leaving its parent
  const bearing = (event) => [...(event.dataTransfer?.types ?? [])].some((type) => type === "Files" || type === "text/uri-list");
  const on = (name, act) => window.addEventListener(name, (event) => bearing(event) && (event.preventDefault(), act(event)));
  const veiled = (delta) => () => {
    depth = Math.max(0, depth + delta);
    veil.hidden = depth === 0;
  };
  on("dragenter", veiled(1));
  on("dragleave", veiled(-1));
  on("dragover", () => {});
  on("drop", (event) => {
    depth = 0;
    veil.hidden = true;
    const files = [...event.dataTransfer.files];
    if (files.length) take(files);
    else none();
  });
}

/** @param {(files: File[]) => void} take */
export function pasting(take) {
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (!files.length) return;
    event.preventDefault();
    take(files.map((file) => (file.name === "image.png" ? new File([file], say("pasted"), { type: file.type }) : file)));
  });
}
