/** Puts the parts of the page together. */

import { examples, setKey } from "./api.js";
import { Asking } from "./asking.js";
import { hasCamera, takePhoto } from "./camera.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { conversationJson, copy, turnJson } from "./copying.js";
import { button, make } from "./dom.js";
import { Light } from "./light.js";
import { notice } from "./notices.js";
import { BadPicture, fromBlob, readPicture } from "./pictures.js";
import { Stage } from "./stage.js";
import { Status } from "./status.js";
import { language, say, switchLanguage, translate } from "./strings.js";
import { dropping, pasting, picker } from "./taking.js";
import { Talk } from "./talk.js";

const at = (id) => document.getElementById(id);

const conversation = new Conversation();
const light = new Light();
const status = new Status(at("status"));
const asking = new Asking(conversation, status);
const choose = picker(addFiles);

const composer = new Composer(/** @type {HTMLFormElement} */ (at("composer")), {
  number: (picture) => pictures().indexOf(picture) + 1,
  hasPictures: () => pictures().length > 0,
  busy: () => asking.busy,
  stop: () => asking.stop(),
  show: (picture) => stage.show(picture),
  send,
  choose,
  camera,
});
const stage = new Stage(at("stage"), light, {
  pictures,
  drawnPlaces: (picture) => placesOn(picture),
  mark: (picture, box) => composer.addPlace(picture, box),
});
const talk = new Talk(at("turns"), conversation, light, {
  edit,
  again: (turn) => asking.answer(turn, true),
  retry: (turn) => asking.answer(turn),
  copy: (turn) => copy(turnJson(turn, conversation.pictures()), copied),
  useKey: (key, turn) => (setKey(key), asking.answer(turn)),
  look: (picture, turn) => (light.show(turn), stage.show(picture)),
  editing: () => composer.editing,
});

/** The pictures there are now: of the conversation up to what is edited, then of the question being written. */
function pictures() {
  const { editing, draft } = composer;
  const before = editing ? conversation.turns.indexOf(editing) : undefined;
  return [...conversation.pictures(before), ...draft.pictures];
}

/** Boxes that a person drew: those of the question being written, or else of the question whose answer is shown. */
function placesOn(picture) {
  const { places } = composer.draft.places.length ? composer.draft : (light.turn?.question ?? composer.draft);
  return places.filter((place) => place.picture === picture).map(({ box }) => box);
}

/** Files that are being read, one after the other; a question waits for them. */
let reading = Promise.resolve();

/** @param {File[]} files */
function addFiles(files) {
  for (const file of files) reading = reading.then(() => addFile(file));
  composer.focus();
}

async function addFile(file) {
  try {
    showNew(await readPicture(file));
  } catch (error) {
    if (!(error instanceof BadPicture)) throw error;
    notice(say("notPicture", { name: file.name }));
  }
}

function showNew(picture) {
  composer.addPicture(picture);
  stage.show(picture);
}

async function camera() {
  try {
    const picture = await takePhoto();
    if (picture) showNew(picture);
  } catch (error) {
    notice(say("noCamera", { message: error.message }));
  }
}

async function send() {
  await reading;
  if (!composer.whole || asking.busy) return; // what was read was no picture, or Enter came twice
  const { question, editing } = composer.take();
  if (editing) conversation.cut(editing);
  const turn = conversation.add(question);
  light.show(turn);
  asking.answer(turn);
  at("scroll").scrollTop = at("scroll").scrollHeight;
}

function edit(turn) {
  asking.stop();
  composer.set(turn.question, turn);
  light.show(turn);
  const { places, pictures } = turn.question;
  stage.show(places[0]?.picture ?? pictures[0] ?? stage.picture);
  composer.area.focus();
}

function clear() {
  asking.stop();
  for (const picture of [...conversation.pictures(), ...composer.draft.pictures]) URL.revokeObjectURL(picture.url);
  conversation.turns = [];
  light.show(null);
  composer.set({ pictures: [], places: [], text: "" }, null);
  conversation.changed();
  composer.focus();
}

function copied() {
  notice(say("copied"), true);
}

async function tryExample(example) {
  try {
    const blob = await (await fetch(example.picture)).blob();
    const picture = await fromBlob(blob, example.picture.split("/").at(-1));
    composer.set({ pictures: [picture], places: [], text: example[language()] }, null);
    composer.focus();
    send();
  } catch {
    notice(say("gone"));
  }
}

/** @type {Awaited<ReturnType<typeof examples>>} */
let offered = [];

function renderStart() {
  at("drop").replaceChildren(
    make("p", { text: say("dropTitle") }),
    make(
      "div",
      { class: "line" },
      button("picture", say("choose"), choose, { words: true, class: "plain strong" }),
      composer.hasCamera && button("camera", say("camera"), camera, { words: true, class: "plain" }),
    ),
  );
  at("examples-title").hidden = !offered.length;
  at("examples").replaceChildren(
    ...offered.map((example) =>
      make(
        "li",
        {},
        make(
          "button",
          { type: "button", class: "example", onclick: () => tryExample(example) },
          make("img", { src: example.picture, alt: "", width: "96", height: "96" }),
          make("span", { text: example[language()] }),
        ),
      ),
    ),
  );
}

function renderTools() {
  const talked = conversation.turns.length > 0 || pictures().length > 0;
  const all = () => copy(conversationJson(conversation, status.model), copied);
  at("tools").replaceChildren(
    ...[
      conversation.turns.length > 0 && button("copy", say("copyAll"), all, { class: "quiet round" }),
      talked && button("clear", say("clear"), clear, { words: true, class: "quiet new" }),
      button("language", say("language"), speakOther, { words: true, class: "quiet", lang: language() === "en" ? "zh-CN" : "en" }),
    ].filter(Boolean),
  );
}

function speakOther() {
  switchLanguage();
  renderAll();
  /** @type {HTMLElement} */ (at("tools").lastChild).focus();
}

function renderAll() {
  translate();
  status.render();
  renderStart();
  composer.render();
  stage.render();
  talk.render(true);
  renderView();
}

/** Which of the page's three forms fits: the start, pictures with words, words alone. */
function renderView() {
  const begun = conversation.turns.length > 0;
  const view = pictures().length ? "pictures" : begun ? "words" : "start";
  document.body.dataset.view = view;
  at("start").hidden = begun || view !== "start";
  renderTools();
}

/** Keep the end of the conversation in sight, unless someone scrolled up to read. */
function follow(act) {
  const scroll = at("scroll");
  const low = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  act();
  if (low) scroll.scrollTop = scroll.scrollHeight;
}

composer.addEventListener("draft", () => {
  follow(() => {
    stage.render();
    talk.render();
    renderView();
  });
});

conversation.addEventListener("turns", () => {
  follow(() => {
    renderView();
    talk.render();
    composer.buttons();
    stage.render();
  });
});

/** Tokens may come faster than frames. @type {Set<import("./conversation.js").Turn>} */
const grown = new Set();

conversation.addEventListener("answer", (/** @type {CustomEvent} */ { detail: turn }) => {
  if (!grown.size) requestAnimationFrame(showGrown);
  grown.add(turn);
});

function showGrown() {
  follow(() => {
    for (const turn of grown) {
      talk.grow(turn);
      if (turn !== light.turn) continue;
      // The first place that comes brings its picture to the front.
      const first = turn.answer.regions[0];
      if (first && turn.answer.regions.length === 1 && turn.answer.state === "streaming") {
        stage.show(pictures()[first.image] ?? stage.picture);
      }
      stage.places();
    }
  });
  grown.clear();
  composer.buttons();
}

dropping(at("veil"), addFiles, () => notice(say("noFiles")));
pasting(addFiles);
renderAll();
status.watch();
examples().then(
  (found) => ((offered = found), renderStart()),
  () => {}, // the page works without examples, and the head says when the server is gone
);
hasCamera().then((found) => ((composer.hasCamera = found), composer.render(), renderStart()));
