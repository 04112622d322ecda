/** Making elements. Text only ever goes in as text: what a model or a server says can not become markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [props] attributes; `text` is the text content, a function under `on…` a listener
 * @param {...(Node | null | undefined | false | "")} children those that are not there are left out
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/**
 * The same for the elements of a drawing.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [props]
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function draw(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = String(value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** Lines on a grid of 24, drawn for this page. */
const ICONS = {
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  camera: "M4 8h3l2-3h6l2 3h3v11H4zM12 10a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4",
  send: "M12 20V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M7 7h10v10H7z",
  again: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.4M20 4.5v4.9h-4.9",
  edit: "M5 19l1-4L16 5l3 3L9 18zM13.5 7.5l3 3",
  copy: "M9 9h10v11H9zM15 9V5H5v11h4",
  code: "M8.5 7.5 4 12l4.5 4.5M15.5 7.5 20 12l-4.5 4.5",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  mark: "M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M9 12h6M12 9v6",
  clear: "M12 5v14M5 12h14",
  language: "M4 6h9M8.5 4v2M11.5 6c-.8 4-3.5 7-7 8.5M6 9c1.2 2.6 3.4 4.6 6 5.6M12.5 20l3.8-9.5L20 20M13.8 17h5",
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  return draw("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, draw("path", { d: ICONS[name] }));
}

/**
 * A button with an icon; its label is shown beside it with `words`, and is its accessible name in any case.
 * @param {keyof typeof ICONS} name
 * @param {string} label
 * @param {(event: Event) => void} act
 * @param {Record<string, unknown>} [props]
 */
export function button(name, label, act, { words = false, ...props } = {}) {
  return make(
    "button",
    { type: "button", title: words ? null : label, "aria-label": label, onclick: act, ...props },
    icon(name),
    words && make("span", { text: label }),
  );
}
