/** The conversation as JSON, and on to the clipboard. */

import { make } from "./dom.js";
import { say } from "./strings.js";

/** @param {import("./conversation.js").Turn} turn @param {import("./pictures.js").Picture[]} pictures of the conversation */
export function turnJson(turn, pictures) {
  const { question, answer } = turn;
  return {
    question: {
      pictures: question.pictures.map((picture) => pictures.indexOf(picture)),
      regions: question.places.map(({ picture, box }) => ({ image: pictures.indexOf(picture), box })),
      text: question.text,
    },
    answer: { content: answer.content, text: answer.text, regions: answer.regions, finish_reason: answer.reason },
  };
}

/** Pictures stand in it by name and size, and by number (from 0) wherever something speaks of them. */
export function conversationJson(conversation, model) {
  const pictures = conversation.pictures();
  return {
    model,
    pictures: pictures.map(({ name, width, height }) => ({ name, width, height })),
    turns: conversation.turns.map((turn) => turnJson(turn, pictures)),
  };
}

/** Copy, or show the text to be copied by hand: browsers allow copying to pages of this machine and over https only. */
export async function copy(value, done) {
  const text = JSON.stringify(value, null, 2);
  try {
    await navigator.clipboard.writeText(text);
    done();
  } catch {
    byHand(text);
  }
}

function byHand(text) {
  const area = make("textarea", { readonly: true, rows: "12", "aria-label": say("copyByHand"), text });
  const close = make("button", { type: "button", class: "plain", text: say("close"), onclick: () => dialog.close() });
  const dialog = make("dialog", { class: "by-hand", onclose: () => dialog.remove() });
  dialog.append(make("p", { text: say("copyByHand") }), area, close);
  document.body.append(dialog);
  dialog.showModal();
  area.select();
}
