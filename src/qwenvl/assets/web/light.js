/** Which answer's places are on the picture, and which of them is lit: the one pointed at, else the one chosen. */

/** @typedef {import("./conversation.js").Turn} Turn */

export class Light extends EventTarget {
  /** @type {Turn | null} */
  turn = null;
  /** @type {number | null} */
  pointed = null;
  /** @type {number | null} */
  chosen = null;

  /** The lit region of `turn`, counted from 0, or null. */
  get region() {
    return this.pointed ?? this.chosen;
  }

  /** Show the places of this turn. */
  show(turn) {
    if (turn === this.turn) return;
    this.turn = turn;
    this.pointed = this.chosen = null;
    this.say();
  }

  /** @param {Turn} turn @param {number | null} region null: nothing is pointed at any more */
  point(turn, region) {
    if (region !== null) this.show(turn);
    if (turn !== this.turn || region === this.pointed) return;
    this.pointed = region;
    this.say();
  }

  /** Light a region until another one or the same one is chosen. */
  choose(turn, region) {
    this.show(turn);
    this.chosen = this.chosen === region ? null : region;
    this.say();
  }

  clear() {
    this.pointed = this.chosen = null;
    this.say();
  }

  say() {
    this.dispatchEvent(new Event("light"));
  }
}
