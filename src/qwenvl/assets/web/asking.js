/** Gets a turn's answer: streams it, waits while the model loads or the queue is full, and can be stopped. */

import { complete, Problem, ready } from "./api.js";
import { emptyAnswer } from "./conversation.js";

/** @typedef {import("./conversation.js").Turn} Turn */

/** How warm another answer is: the first one is always the likeliest, another should be another. */
const AGAIN = 0.7;
const POLL = 1000;
const PATIENCE = 20;

export class Asking {
  /** @type {AbortController | null} */
  control = null;

  /** @param {import("./conversation.js").Conversation} conversation @param {import("./status.js").Status} status */
  constructor(conversation, status) {
    this.conversation = conversation;
    this.status = status;
  }

  get busy() {
    return this.control !== null;
  }

  stop() {
    this.control?.abort();
  }

  /** @param {Turn} turn the last one @param {boolean} again whether its answer is replaced by another one */
  async answer(turn, again = false) {
    this.stop();
    const control = new AbortController();
    this.control = control;
    const answer = emptyAnswer();
    turn.answer = answer;
    this.conversation.changed();
    const body = {
      messages: this.conversation.messages(turn),
      temperature: again ? AGAIN : 0,
      ...(again ? { seed: Math.floor(Math.random() * 2 ** 31) } : {}),
    };
    try {
      await this.tries(turn, body, control.signal);
    } catch (error) {
      const stopped = error.name === "AbortError";
      if (!stopped) this.status.again();
      answer.state = stopped ? "stopped" : "failed";
      answer.problem = stopped ? null : error instanceof Problem ? error : new Problem("broken", String(error));
    } finally {
      if (this.control === control) this.control = null;
      this.conversation.changed();
      this.conversation.grew(turn);
    }
  }

  /** Ask until something other than "not yet" comes. */
  async tries(turn, body, signal) {
    for (let tried = 1; ; tried++) {
      try {
        return await this.once(turn, body, signal);
      } catch (error) {
        const later = error instanceof Problem && (error.kind === "loading" || error.kind === "busy");
        if (!later || tried > PATIENCE) throw error;
        turn.answer.state = "waiting";
        if (error.kind === "loading") await this.untilReady(turn, error, signal);
        else await this.countDown(turn, error.after || 2, signal);
        turn.answer.state = "asking";
        turn.answer.problem = null;
        this.conversation.grew(turn);
      }
    }
  }

  async untilReady(turn, problem, signal) {
    turn.answer.problem = problem;
    this.conversation.grew(turn);
    for (;;) {
      await pause(POLL, signal);
      try {
        return await ready();
      } catch (error) {
        if (error.kind !== "loading") throw error;
      }
    }
  }

  async countDown(turn, seconds, signal) {
    for (let left = Math.ceil(seconds); left > 0; left--) {
      turn.answer.problem = new Problem("busy", "", left);
      this.conversation.grew(turn);
      await pause(1000, signal);
    }
  }

  async once(turn, body, signal) {
    const begun = performance.now();
    const { answer } = turn;
    const ended = await complete({ model: await this.status.name(), ...body }, signal, (delta) => {
      if (signal.aborted) return;
      answer.state = "streaming";
      answer.content += delta.content ?? "";
      if (delta.regions) answer.regions = delta.regions;
      if (delta.text !== undefined) answer.text = delta.text;
      this.conversation.grew(turn);
    });
    answer.state = "done";
    answer.reason = ended.reason;
    answer.tokens = ended.tokens;
    answer.seconds = (performance.now() - begun) / 1000;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stopped = () => reject(new DOMException("stopped", "AbortError"));
    if (signal.aborted) return stopped();
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), stopped()), { once: true });
  });
}
