/** Drawing a box on a picture, with mouse, finger, pen or keys. */

import { draw } from "./dom.js";

/** @typedef {[number, number]} Point in pixels of the picture */
/** @typedef {[number, number, number, number]} Rectangle left, top, right and bottom in pixels of the picture */

/** A movement shorter than this, in pixels of the screen, is a click. */
const SLACK = 5;

export class Drawing {
  /**
   * @param {HTMLElement} canvas what is drawn on; the picture fills it
   * @param {SVGElement} layer where the box is shown while it is drawn, in pixels of the picture
   * @param {Point} size of the picture
   * @param {(box: Rectangle) => void} done
   * @param {() => void} ended keys were used, and are no more
   */
  constructor(canvas, layer, size, done, ended) {
    this.canvas = canvas;
    this.layer = layer;
    this.size = size;
    this.done = done;
    this.ended = ended;
    /** @type {SVGRectElement | null} */
    this.rect = null;
    /** @type {{at: Point, x: number, y: number} | null} */
    this.start = null;
    /** @type {Rectangle} */
    this.box = [0, 0, 0, 0];
    this.dragged = false;
    this.keyed = false;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.drop());
    // What ends a drag is no click on the box below it.
    canvas.addEventListener("click", (event) => this.dragged && event.stopPropagation(), { capture: true });
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.keyed && this.drop());
  }

  /** Where an event is, kept inside of the picture. @returns {Point} */
  at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const inside = (value, side) => Math.min(Math.max(value, 0), 1) * side;
    return [
      inside((event.clientX - frame.left) / frame.width, this.size[0]),
      inside((event.clientY - frame.top) / frame.height, this.size[1]),
    ];
  }

  down(event) {
    this.dragged = false;
    if (!event.isPrimary) return this.drop(); // a second finger pinches
    if (event.button) return;
    this.drop();
    this.start = { at: this.at(event), x: event.clientX, y: event.clientY };
  }

  move(event) {
    if (!this.start || !event.isPrimary) return;
    if (!this.dragged) {
      if (Math.hypot(event.clientX - this.start.x, event.clientY - this.start.y) < SLACK) return;
      this.dragged = true;
      this.canvas.setPointerCapture(event.pointerId);
      this.canvas.focus({ preventScroll: true });
    }
    this.show(corners(this.start.at, this.at(event)));
  }

  up(event) {
    if (!this.start || !event.isPrimary) return;
    const box = this.dragged ? corners(this.start.at, this.at(event)) : null;
    this.drop();
    if (box) this.finish(box);
  }

  /** Begin with a box in the middle that the arrow keys move. */
  byKeys() {
    const [width, height] = this.size;
    this.keyed = true;
    this.canvas.focus();
    this.show([width * 0.375, height * 0.375, width * 0.625, height * 0.625]);
  }

  key(event) {
    if (event.key === "Escape" && this.rect) {
      this.drop();
    } else if (this.keyed && event.key === "Enter") {
      const { box } = this;
      this.drop();
      this.finish(box);
    } else if (this.keyed && event.key.startsWith("Arrow")) {
      this.nudge(event.key.slice(5), event.shiftKey);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  nudge(direction, resize) {
    const axis = direction === "Left" || direction === "Right" ? 0 : 1;
    const side = this.size[axis];
    const step = (side / 40) * (direction === "Left" || direction === "Up" ? -1 : 1);
    /** @type {Rectangle} */
    const box = [...this.box];
    if (resize) box[axis + 2] = Math.min(Math.max(box[axis + 2] + step, box[axis] + side / 40), side);
    else {
      const moved = Math.min(Math.max(step, -box[axis]), side - box[axis + 2]);
      box[axis] += moved;
      box[axis + 2] += moved;
    }
    this.show(box);
  }

  /** @param {Rectangle} box */
  show(box) {
    this.box = box;
    if (!this.rect) {
      this.rect = draw("rect", { class: "drawn" });
      this.layer.append(this.rect);
    }
    const [x, y, right, bottom] = box;
    for (const [name, value] of Object.entries({ x, y, width: right - x, height: bottom - y })) {
      this.rect.setAttribute(name, String(value));
    }
  }

  drop() {
    this.rect?.remove();
    this.rect = this.start = null;
    if (this.keyed) {
      this.keyed = false;
      this.ended();
    }
  }

  /** Whole pixels around the box; a box of less than a hundredth of a side was not meant. */
  finish([x0, y0, x1, y1]) {
    const [width, height] = this.size;
    if (x1 - x0 < width / 100 || y1 - y0 < height / 100) return;
    this.done([Math.floor(x0), Math.floor(y0), Math.min(Math.ceil(x1), width), Math.min(Math.ceil(y1), height)]);
  }
}

/** @param {Point} a @param {Point} b @returns {Rectangle} */
function corners([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}
