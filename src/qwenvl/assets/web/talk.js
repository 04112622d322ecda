/** The conversation as it is read: questions, answers with phrases that light their places, and what can be done. */

import { button, icon, make } from "./dom.js";
import { pieces, tones } from "./marks.js";
import { regionName } from "./overlay.js";
import { say } from "./strings.js";

/** @typedef {import("./conversation.js").Turn} Turn */
/**
 * @typedef {object} Acts
 * @property {(turn: Turn) => void} edit
 * @property {(turn: Turn) => void} again
 * @property {(turn: Turn) => void} retry
 * @property {(turn: Turn) => void} copy
 * @property {(key: string, turn: Turn) => void} useKey
 * @property {(picture: import("./pictures.js").Picture, turn: Turn) => void} look
 * @property {() => Turn | null} editing
 */

export class Talk {
  /**
   * @param {HTMLElement} list
   * @param {import("./conversation.js").Conversation} conversation
   * @param {import("./light.js").Light} light
   * @param {Acts} acts
   */
  constructor(list, conversation, light, acts) {
    this.list = list;
    this.conversation = conversation;
    this.light = light;
    this.acts = acts;
    /**
     * @typedef {{item: HTMLElement, said: HTMLElement, words: HTMLElement, foot: HTMLElement, raw: boolean,
     *   asked: import("./api.js").Problem | null}} Shown
     * @type {Map<Turn, Shown>}
     */
    this.shown = new Map();
    light.addEventListener("light", () => this.lit());
  }

  /** Bring the list to the turns there are; with `anew` everything is built again, as for another language. */
  render(anew = false) {
    const { turns } = this.conversation;
    for (const [turn, { item }] of this.shown) {
      if (anew || !turns.includes(turn)) {
        item.remove();
        this.shown.delete(turn);
      }
    }
    for (const turn of turns) {
      if (!this.shown.has(turn)) this.build(turn);
      this.grow(turn);
    }
    const editing = this.acts.editing();
    const from = editing ? turns.indexOf(editing) : turns.length;
    turns.forEach((turn, index) => this.shown.get(turn).item.classList.toggle("replaced", index >= from));
  }

  build(turn) {
    const words = make("div", { class: "words" });
    const foot = make("div", { class: "answer-foot" });
    const said = make("div", { class: "answer", role: "group", "aria-label": say("answer") }, words, foot);
    const item = make("li", { class: "turn" }, this.question(turn), said);
    this.list.append(item);
    this.shown.set(turn, { item, said, words, foot, raw: false, asked: null });
  }

  question(turn) {
    const { pictures, places, text } = turn.question;
    const all = this.conversation.pictures();
    const number = (picture) => all.indexOf(picture) + 1;
    const thumbs = pictures.map((picture) =>
      make(
        "button",
        {
          type: "button",
          class: "asked-picture",
          "aria-label": say("showPicture", { n: number(picture) }),
          onclick: () => this.acts.look(picture, turn),
        },
        make("img", { src: picture.url, alt: "" }),
      ),
    );
    const chips = places.map(({ picture, box }) =>
      make(
        "button",
        { type: "button", class: "chip", title: box.join(", "), onclick: () => this.acts.look(picture, turn) },
        icon("mark"),
        make("span", { text: say("place", { n: number(picture) }) }),
      ),
    );
    return make(
      "div",
      { class: "question", role: "group", "aria-label": say("you") },
      make(
        "div",
        { class: "bubble" },
        thumbs.length > 0 && make("div", { class: "asked-pictures" }, ...thumbs),
        chips.length > 0 && make("div", { class: "chips" }, ...chips),
        text && make("p", { text }),
      ),
      button("edit", say("edit"), () => this.acts.edit(turn), { class: "quiet round" }),
    );
  }

  /** Show an answer as far as it has come. */
  grow(turn) {
    const shown = this.shown.get(turn);
    if (!shown) return;
    const { answer } = turn;
    const coming = answer.state === "streaming" || answer.state === "asking";
    shown.said.setAttribute("aria-busy", String(coming));
    shown.said.classList.toggle("coming", coming);
    shown.words.replaceChildren(...(shown.raw ? [make("pre", { text: answer.content })] : this.words(turn, coming)));
    // The field for the key stays as long as it is asked for: someone may be typing in it.
    const asked = turn === this.conversation.turns.at(-1) && answer.problem?.kind === "needKey" ? answer.problem : null;
    if (!asked || shown.asked !== asked) shown.foot.replaceChildren(...this.foot(turn, shown, coming));
    shown.asked = asked;
    this.lit();
  }

  words(turn, coming) {
    const { answer } = turn;
    if (answer.state === "asking" || (coming && !answer.content)) {
      return [make("p", { class: "faint pulse", text: say("thinking") })];
    }
    if (!answer.content) return answer.state === "done" ? [make("p", { class: "faint", text: say("nothing") })] : [];
    const colours = tones(answer.regions.map((region) => region.phrase));
    const line = make("p");
    let before = false;
    for (const { text, region } of pieces(answer.content, coming)) {
      const known = region === null ? undefined : answer.regions[region];
      if (known && before) line.append(" "); // lines that were read follow each other without one
      before = Boolean(known);
      line.append(known ? this.phrase(turn, region, text || regionName(known, region), colours[region]) : text);
    }
    return [line];
  }

  phrase(turn, region, text, tone) {
    return make("span", {
      class: `phrase tone-${tone}`,
      role: "button",
      tabindex: "0",
      "data-region": region,
      text,
      onpointerenter: (event) => event.pointerType !== "touch" && this.light.point(turn, region),
      onpointerleave: () => this.light.point(turn, null),
      onfocus: (event) => event.target.matches(":focus-visible") && this.light.point(turn, region),
      onblur: () => this.light.point(turn, null),
      onclick: () => this.light.choose(turn, region),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        this.light.choose(turn, region);
      },
    });
  }

  foot(turn, shown, coming) {
    const { answer } = turn;
    if (answer.problem) return [this.problem(turn)];
    if (coming || answer.state === "waiting") return [];
    const raw = button("code", say("raw"), () => this.toggleRaw(turn, shown), {
      class: "quiet round",
      "aria-pressed": String(shown.raw),
    });
    const last = turn === this.conversation.turns.at(-1);
    const notes = [
      answer.state === "stopped" && say("stopped"),
      answer.reason === "length" && say("cut"),
      answer.regions.length > 0 && this.count(answer.regions),
      answer.tokens !== null && say("figures", { seconds: answer.seconds.toFixed(1), tokens: answer.tokens }),
    ];
    return [
      last && button("again", say("again"), () => this.acts.again(turn), { class: "quiet round" }),
      answer.content && raw,
      answer.content && button("copy", say("copyAnswer"), () => this.acts.copy(turn), { class: "quiet round" }),
      make("span", { class: "faint", text: notes.filter(Boolean).join(" · ") }),
    ].filter(Boolean);
  }

  count(regions) {
    const n = regions.reduce((sum, region) => sum + region.boxes.length + region.quads.length, 0);
    return n === 1 ? say("onePlace") : say("places", { n });
  }

  toggleRaw(turn, shown) {
    shown.raw = !shown.raw;
    this.grow(turn);
    shown.foot.querySelector("[aria-pressed]")?.focus();
  }

  problem(turn) {
    const { problem, state } = turn.answer;
    const told = { loading: "waiting", busy: "busy" }[problem.kind] ?? problem.kind;
    const words = make("p", { text: say(told, { message: problem.message, seconds: problem.after }) });
    if (state === "waiting") return make("div", { class: "problem waiting" }, words);
    // What was asked before goes along with the next question anyway.
    if (turn !== this.conversation.turns.at(-1)) return make("div", { class: "problem" }, words);
    const retry = () => this.acts.retry(turn);
    return make(
      "div",
      { class: "problem", role: "alert" },
      words,
      problem.kind === "needKey"
        ? this.askKey(turn)
        : button("again", say("retry"), retry, { words: true, class: "plain" }),
    );
  }

  askKey(turn) {
    const field = make("input", { type: "password", "aria-label": say("key"), placeholder: say("key"), autocomplete: "off" });
    const use = (event) => {
      event.preventDefault();
      this.acts.useKey(field.value, turn);
    };
    return make("form", { class: "key", onsubmit: use }, field, make("button", { class: "plain", text: say("useKey") }));
  }

  lit() {
    for (const [turn, { item, words }] of this.shown) {
      const here = turn === this.light.turn;
      item.classList.toggle("shown", here);
      for (const phrase of words.querySelectorAll(".phrase")) {
        phrase.classList.toggle("lit", here && Number(phrase.getAttribute("data-region")) === this.light.region);
      }
    }
  }
}
