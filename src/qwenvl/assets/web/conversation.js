/** What was asked and answered. Knows nothing of the page; says "turns" when turns come or go, "answer" when one grows. */

/** @typedef {import("./pictures.js").Picture} Picture */
/** @typedef {import("./marks.js").Region} Region */
/** @typedef {{picture: Picture, box: [number, number, number, number]}} Place in pixels of the picture as sent */
/** @typedef {{pictures: Picture[], places: Place[], text: string}} Question */
/** @typedef {"asking" | "waiting" | "streaming" | "done" | "stopped" | "failed"} State */
/**
 * @typedef {object} Answer
 * @property {State} state
 * @property {string} content as generated, with markup
 * @property {string | null} text its plain words, once it is whole
 * @property {Region[]} regions
 * @property {string} reason why it ended, in the API's word
 * @property {import("./api.js").Problem | null} problem
 * @property {number | null} seconds
 * @property {number | null} tokens
 */
/** @typedef {{question: Question, answer: Answer}} Turn */

/** @returns {Answer} */
export function emptyAnswer() {
  return {
    state: "asking",
    content: "",
    text: null,
    regions: [],
    reason: "",
    problem: null,
    seconds: null,
    tokens: null,
  };
}

export class Conversation extends EventTarget {
  /** @type {Turn[]} */
  turns = [];

  /** All pictures before a turn (default: of all turns), in the order sent: the first one is "Picture 1". */
  pictures(before = this.turns.length) {
    return this.turns.slice(0, before).flatMap((turn) => turn.question.pictures);
  }

  /** @param {Question} question @returns {Turn} */
  add(question) {
    const turn = { question, answer: emptyAnswer() };
    this.turns.push(turn);
    this.changed();
    return turn;
  }

  /** Forget a turn and what follows it. */
  cut(turn) {
    const index = this.turns.indexOf(turn);
    if (index >= 0) this.turns.length = index;
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("turns"));
  }

  /** @param {Turn} turn */
  grew(turn) {
    this.dispatchEvent(new CustomEvent("answer", { detail: turn }));
  }

  /**
   * The messages that ask for a turn's answer, in the API's form. A question that was never answered is asked together
   * with the next one, so that its pictures stay and keep their numbers.
   * @param {Turn} last
   */
  messages(last) {
    const pictures = this.pictures();
    const messages = [];
    let content = [];
    for (const turn of this.turns) {
      if (content.length) content.push({ type: "text", text: "\n" });
      content.push(...parts(turn.question, pictures));
      if (turn === last) break;
      if (!turn.answer.content) continue;
      messages.push({ role: "user", content }, { role: "assistant", content: turn.answer.content });
      content = [];
    }
    messages.push({ role: "user", content });
    return messages;
  }
}

/** @param {Question} question @param {Picture[]} pictures of the conversation */
function parts(question, pictures) {
  return [
    ...question.pictures.map((picture) => ({ type: "image_url", image_url: { url: picture.data } })),
    ...question.places.map((place) => ({ type: "region", box: place.box, image: pictures.indexOf(place.picture) })),
    // The place is read as part of the sentence: "<ref>This</ref><box>…</box> is", as in training.
    ...(question.text ? [{ type: "text", text: question.places.length ? ` ${question.text}` : question.text }] : []),
  ];
}
