/** Boxes and quads over a picture. */

import { draw, make } from "./dom.js";
import { tones } from "./marks.js";
import { say } from "./strings.js";

/** @typedef {import("./marks.js").Region} Region */

/** What a region is called. */
export function regionName(region, index) {
  return region.phrase?.trim() || say("unnamed", { n: index + 1 });
}

/**
 * The shapes of an answer's regions on one picture, the largest first so that the small ones can be reached.
 * @param {Region[]} regions all of the answer
 * @param {number} image the number of the picture, from 0
 * @param {{point: (region: number | null) => void, choose: (region: number) => void}} acts
 * @returns {SVGElement[]}
 */
export function shapes(regions, image, acts) {
  const colours = tones(regions.map((region) => region.phrase));
  const found = [];
  regions.forEach((region, index) => {
    if (region.image !== image) return;
    const all = [
      ...region.boxes.map(([x0, y0, x1, y1]) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),
      ...region.quads,
    ];
    for (const points of all) {
      found.push({ size: extent(points), element: shape(points, region, index, colours[index], acts) });
    }
  });
  return found.sort((a, b) => b.size - a.size).map(({ element }) => element);
}

function shape(points, region, index, tone, acts) {
  const around = points.map((point) => point.join(",")).join(" ");
  return draw(
    "g",
    {
      class: `place tone-${tone}`,
      "data-region": index,
      role: "button",
      tabindex: "0",
      "aria-label": regionName(region, index),
      onpointerenter: (event) => event.pointerType !== "touch" && acts.point(index),
      onpointerleave: () => acts.point(null),
      onfocus: () => acts.point(index),
      onblur: () => acts.point(null),
      onclick: () => acts.choose(index),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        acts.choose(index);
      },
    },
    draw("polygon", { class: "halo", points: around }),
    draw("polygon", { class: "line", points: around }),
  );
}

/** The area of the rectangle around some points. */
function extent(points) {
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  return (Math.max(...xs) - Math.min(...xs)) * (Math.max(...ys) - Math.min(...ys));
}

/** A place that a question is about. */
export function asked([x0, y0, x1, y1]) {
  const at = { x: x0, y: y0, width: x1 - x0, height: y1 - y0 };
  return draw("g", { class: "asked" }, draw("rect", { class: "halo", ...at }), draw("rect", { class: "line", ...at }));
}

/** The label beside the first place of a region, inside the picture's frame; `size` is the picture's, in pixels. */
export function label(region, index, tone, [width, height]) {
  const corners = region.boxes.length ? region.boxes[0] : region.quads[0].flat();
  const [xs, ys] = [0, 1].map((axis) => corners.filter((_, at) => at % 2 === axis));
  const [left, top, right] = [Math.min(...xs) / width, Math.min(...ys) / height, Math.max(...xs) / width];
  const tag = make("div", { class: `label tone-${tone}`, "aria-hidden": "true", text: regionName(region, index) });
  // Left of the middle it grows to the right, and the other way round.
  if (left + right < 1) tag.style.left = `${100 * left}%`;
  else tag.style.right = `${100 - 100 * right}%`;
  if (top > 0.12) tag.style.bottom = `${100 - 100 * top}%`;
  else tag.style.top = `${100 * top}%`;
  return tag;
}
