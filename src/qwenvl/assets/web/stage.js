/** The pictures of the conversation, one of them large, with the places of an answer on it; boxes are drawn here. */

import { button, draw, make } from "./dom.js";
import { Drawing } from "./drawing.js";
import { tones } from "./marks.js";
import { asked, label, shapes } from "./overlay.js";
import { language, say } from "./strings.js";

/** @typedef {import("./pictures.js").Picture} Picture */

export class Stage {
  /** @type {Picture | null} */
  picture = null;

  /**
   * @param {HTMLElement} root
   * @param {import("./light.js").Light} light
   * @param {{pictures: () => Picture[], drawnPlaces: (picture: Picture) => [number, number, number, number][],
   *   mark: (picture: Picture, box: [number, number, number, number]) => void}} around
   */
  constructor(root, light, around) {
    this.root = root;
    this.light = light;
    this.around = around;
    light.addEventListener("light", () => this.lit());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) light.clear();
    });
  }

  /** Put a picture in front. */
  show(picture) {
    if (picture === this.picture) return;
    this.picture = picture;
    this.render();
  }

  /** Show what there is now; the picture is only built anew where it, its number or the language changed. */
  render() {
    const pictures = this.around.pictures();
    if (!pictures.includes(this.picture)) this.picture = pictures.at(-1) ?? null;
    this.root.hidden = !this.picture;
    const built = [language(), this.picture, ...pictures];
    if (built.length === this.built?.length && built.every((part, at) => part === this.built[at])) return this.places();
    this.built = built;
    this.root.replaceChildren();
    if (!this.picture) return;
    const number = pictures.indexOf(this.picture);
    this.root.append(this.frame(this.picture, number), this.foot(pictures, number));
    this.places();
  }

  frame(picture, number) {
    const { width, height, name } = picture;
    const view = { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", class: "overlay" };
    this.layer = draw("g");
    const sketch = draw("g");
    this.labels = make("div", { class: "labels" });
    this.canvas = make(
      "div",
      { class: "canvas", tabindex: "-1", role: "group", "aria-label": say("markHint") },
      make("img", {
        src: picture.url,
        draggable: "false",
        alt: say("pictureAlt", { n: number + 1, name, width, height }),
      }),
      draw("svg", view, this.layer, sketch),
      this.labels,
    );
    this.root.style.setProperty("--ratio", String(width / height));
    this.drawing = new Drawing(
      this.canvas,
      sketch,
      [width, height],
      (box) => this.around.mark(picture, box),
      () => this.tell("markHint"),
    );
    return make("div", { class: "frame" }, make("div", { class: "fit" }, this.canvas));
  }

  foot(pictures, number) {
    this.hint = make("p", { class: "hint", role: "status", text: say("markHint") });
    const { picture } = this;
    const byKeys = () => {
      this.tell("markKeys");
      this.drawing.byKeys();
    };
    return make(
      "div",
      { class: "foot" },
      pictures.length > 1 && this.strip(pictures, number),
      make("div", { class: "line" }, button("mark", say("mark"), byKeys, { words: true, class: "quiet" }), this.hint),
      picture.before &&
        make("p", {
          class: "hint",
          text: say("reduced", {
            width: picture.before[0],
            height: picture.before[1],
            w: picture.width,
            h: picture.height,
          }),
        }),
    );
  }

  strip(pictures, number) {
    const thumbs = pictures.map((picture, index) =>
      make(
        "button",
        {
          type: "button",
          class: "thumb",
          "aria-label": say("showPicture", { n: index + 1 }),
          "aria-pressed": String(index === number),
          onclick: () => {
            this.show(picture);
            /** @type {HTMLElement} */ (this.root.querySelectorAll(".thumb")[index]).focus();
          },
        },
        make("img", { src: picture.url, alt: "" }),
        make("span", { text: String(index + 1) }),
      ),
    );
    return make("div", { class: "strip" }, ...thumbs);
  }

  tell(key) {
    this.hint.textContent = say(key);
  }

  /** The places of the shown turn, and those that the question is about. */
  places() {
    if (!this.picture) return;
    const number = this.around.pictures().indexOf(this.picture);
    const { turn } = this.light;
    const regions = turn?.answer.regions ?? [];
    const acts = {
      point: (region) => this.light.point(turn, region),
      choose: (region) => this.light.choose(turn, region),
    };
    // What is drawn again loses the focus; whoever goes through the boxes by keys shall keep it.
    const { activeElement } = document;
    const focused = this.layer.contains(activeElement) ? activeElement.getAttribute("data-region") : null;
    const meant = this.around.drawnPlaces(this.picture);
    this.layer.replaceChildren(...shapes(regions, number, acts), ...meant.map((box) => asked(box)));
    if (focused !== null) {
      const again = /** @type {SVGElement | null} */ (this.layer.querySelector(`[data-region="${focused}"]`));
      again?.focus();
    }
    this.lit();
  }

  lit() {
    const { region, turn } = this.light;
    if (turn && region !== null) {
      const found = turn.answer.regions[region];
      const home = found && this.around.pictures()[found.image];
      if (home && home !== this.picture) return this.show(home);
    }
    if (!this.picture) return;
    if (this.drawnTurn !== turn) {
      this.drawnTurn = turn;
      return this.places();
    }
    this.canvas.classList.toggle("dimmed", region !== null);
    for (const place of this.layer.querySelectorAll(".place")) {
      place.classList.toggle("lit", Number(place.getAttribute("data-region")) === region);
    }
    const regions = turn?.answer.regions ?? [];
    const shown = region === null ? null : regions[region];
    const colours = tones(regions.map(({ phrase }) => phrase));
    const { width, height } = this.picture;
    this.labels.replaceChildren(...(shown ? [label(shown, region, colours[region], [width, height])] : []));
  }
}
