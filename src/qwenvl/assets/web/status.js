/** Whether the server is there and ready, in the head of the page. */

import { model, ready } from "./api.js";
import { say } from "./strings.js";

const OFTEN = 1500;
const SELDOM = 6000;

export class Status {
  model = "";
  state = "connecting";
  message = "";

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /** The model's name; rejects with a `Problem` when the server can not say it. */
  async name() {
    this.model ||= await model();
    return this.model;
  }

  /** Something went wrong: the server may be gone, or another one be here with another model. */
  again() {
    this.model = "";
    this.look();
  }

  /** Look once, and go on looking: often until the server is ready, seldom afterwards. */
  async watch() {
    await this.look();
    setTimeout(() => this.watch(), this.state === "ready" ? SELDOM : OFTEN);
  }

  async look() {
    try {
      await ready();
      this.state = "ready";
      await this.name();
    } catch (problem) {
      // A server that wants a key is there; the key is asked for with the first question.
      this.state = { loading: "loading", gone: "gone", failed: "failed" }[problem.kind] ?? "ready";
      this.message = problem.message;
    }
    this.render();
  }

  render() {
    const words = { ready: this.model || say("ready"), loading: say("loading"), gone: say("goneShort"), failed: this.message };
    this.root.dataset.state = this.state;
    const shown = words[this.state] ?? say("connecting");
    const label = this.root.querySelector("span");
    // Only a change is read out by screen readers.
    if (label.textContent !== shown) label.textContent = shown;
  }
}
