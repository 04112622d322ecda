/** The question that is being written: its pictures, the places it is about, its words. */

import { button, icon, make } from "./dom.js";
import { say } from "./strings.js";

/** @typedef {import("./conversation.js").Question} Question */
/** @typedef {import("./pictures.js").Picture} Picture */

export class Composer extends EventTarget {
  /** @type {Question} */
  draft = { pictures: [], places: [], text: "" };
  /** @type {import("./conversation.js").Turn | null} */
  editing = null;

  /**
   * @param {HTMLFormElement} form
   * @param {{number: (picture: Picture) => number, busy: () => boolean, send: () => void, stop: () => void,
   *   choose: () => void, camera: () => void, show: (picture: Picture) => void, hasPictures: () => boolean}} around
   */
  constructor(form, around) {
    super();
    this.form = form;
    this.around = around;
    this.hasCamera = false;
    this.top = make("div", { class: "composer-top" });
    this.area = make("textarea", { rows: "1", enterkeyhint: "send" });
    this.left = make("div", { class: "composer-left" });
    this.right = make("div", { class: "composer-right" });
    form.append(this.top, this.area, make("div", { class: "composer-tools" }, this.left, this.right));
    this.area.addEventListener("input", () => {
      this.draft.text = this.area.value;
      this.fit();
      this.buttons();
    });
    // While an input method composes Chinese, Enter takes its suggestion.
    this.area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.submit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
  }

  /** Whether there is something to send. */
  get whole() {
    return Boolean(this.draft.text.trim() || this.draft.places.length || this.draft.pictures.length);
  }

  submit() {
    if (this.around.busy()) return this.around.stop();
    if (this.whole) this.around.send();
  }

  /** Give the question away and begin another one. */
  take() {
    const { draft, editing } = this;
    this.set({ pictures: [], places: [], text: "" }, null);
    return { question: { ...draft, text: draft.text.trim() }, editing };
  }

  /** @param {Question} question @param {import("./conversation.js").Turn | null} editing the turn it is to replace */
  set(question, editing) {
    this.draft = { pictures: [...question.pictures], places: [...question.places], text: question.text };
    this.editing = editing;
    this.area.value = question.text;
    this.fit();
    this.changed();
  }

  /** For whoever has keys; on a phone the keyboard would come up over the picture. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.area.focus({ preventScroll: true });
  }

  /** As high as its text, where the style sheet can not say so yet. */
  fit() {
    if (CSS.supports("field-sizing", "content")) return;
    this.area.style.height = "auto";
    this.area.style.height = `${this.area.scrollHeight}px`;
  }

  addPicture(picture) {
    this.draft.pictures.push(picture);
    this.changed();
  }

  removePicture(picture) {
    this.draft.pictures = this.draft.pictures.filter((other) => other !== picture);
    this.draft.places = this.draft.places.filter((place) => place.picture !== picture);
    this.changed();
  }

  addPlace(picture, box) {
    this.draft.places.push({ picture, box });
    this.changed();
    this.focus();
  }

  removePlace(place) {
    this.draft.places = this.draft.places.filter((other) => other !== place);
    this.changed();
  }

  changed() {
    this.render();
    this.dispatchEvent(new Event("draft"));
  }

  render() {
    const { pictures, places } = this.draft;
    const note =
      this.editing &&
      make(
        "div",
        { class: "editing" },
        icon("edit"),
        make("span", { text: say("editing") }),
        make("button", {
          type: "button",
          class: "plain",
          text: say("cancel"),
          onclick: () => this.set({ pictures: [], places: [], text: "" }, null),
        }),
      );
    const things = [...pictures.map((picture) => this.thumb(picture)), ...places.map((place) => this.chip(place))];
    this.top.replaceChildren(...[note, things.length > 0 && make("div", { class: "things" }, ...things)].filter(Boolean));
    this.buttons();
  }

  thumb(picture) {
    const n = this.around.number(picture);
    return make(
      "div",
      { class: "draft-picture" },
      make(
        "button",
        {
          type: "button",
          class: "show",
          "aria-label": say("showPicture", { n }),
          onclick: () => this.around.show(picture),
        },
        make("img", { src: picture.url, alt: "" }),
      ),
      button("close", say("removePicture", { n }), () => this.removePicture(picture), { class: "remove" }),
    );
  }

  chip(place) {
    const n = this.around.number(place.picture);
    return make(
      "div",
      { class: "chip" },
      icon("mark"),
      make("span", { text: say("place", { n }), title: place.box.join(", ") }),
      button("close", say("removePlace", { n }), () => this.removePlace(place), { class: "remove" }),
    );
  }

  buttons() {
    const busy = this.around.busy();
    const { places } = this.draft;
    const prompt = places.length ? "askPlace" : this.around.hasPictures() ? "ask" : "askAnything";
    this.area.placeholder = say(prompt);
    this.area.setAttribute("aria-label", say("composer"));
    // Buttons that are there already stay, so that the one that was pressed keeps the focus.
    const wanted = `${busy}${this.hasCamera}${document.documentElement.lang}`;
    if (this.made !== wanted) {
      this.made = wanted;
      const focused = this.right.contains(document.activeElement);
      this.left.replaceChildren(
        ...[
          button("picture", say("add"), () => this.around.choose(), { class: "quiet round" }),
          this.hasCamera && button("camera", say("camera"), () => this.around.camera(), { class: "quiet round" }),
        ].filter(Boolean),
      );
      this.go = busy
        ? button("stop", say("stop"), () => this.around.stop(), { class: "go" })
        : button("send", say("send"), () => {}, { class: "go", type: "submit" });
      this.right.replaceChildren(this.go);
      if (focused) this.go.focus();
    }
    this.go.disabled = !busy && !this.whole;
  }
}
