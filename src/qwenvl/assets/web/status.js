/** Whether the server is there and ready, in the head of the page. */

import { model, ready } from "./api.js";
import { say } from "./strings.js";

const OFTEN = 1500;
const SELDOM = 15000;

export class Status {
  model = "";
  state = "connecting";

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /** The model's name; rejects with a `Problem` when the server can not say it. */
  async name() {
    this.model ||= await model();
    return this.model;
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
      this.state = { loading: "loading", gone: "gone" }[problem.kind] ?? "ready";
    }
    this.render();
  }

  render() {
    const words = { ready: this.model || say("ready"), loading: say("loading"), gone: say("goneShort") };
    this.root.dataset.state = this.state;
    const shown = words[this.state] ?? say("connecting");
    const label = this.root.querySelector("span");
    // Only a change is read out by screen readers.
    if (label.textContent !== shown) label.textContent = shown;
  }
}
