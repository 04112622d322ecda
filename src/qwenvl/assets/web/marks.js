/**
 * The words of an answer and the phrases in them that stand for places.
 *
 * Places come from the server in pixels (`regions`). Here the markup is only read so far as to show an answer without
 * it, while it is still coming, and to know which of its phrases is which region.
 */

/** @typedef {{phrase: string | null, image: number, boxes: number[][], quads: number[][][]}} Region */
/** @typedef {{text: string, region: number | null}} Piece `region` counts regions from 0; null for plain words */

const TAG = /[<＜]\s*(\/?)\s*(ref|box|quad|img)\s*[>＞]/gi;
const CONTROL = /<\|(?:endoftext|im_start|im_end|extra_\d{1,3})\|>|<imgpad>/g;
const COORDINATES = /^[\s\d()（）\[\]【】,，、;；.．\-－−]*/;
/** What may be the beginning of a tag whose rest has not come yet. */
const BEGUN = /[<＜]\s*\/?\s*[a-z|_]{0,12}$/i;

/** How many colours there are; see `.tone-0` and following in stage.css. */
export const TONES = 10;

/**
 * @param {string} content an answer as generated so far
 * @param {boolean} coming whether more will follow
 * @returns {Piece[]}
 */
export function pieces(content, coming) {
  let text = content.replace(CONTROL, "");
  if (coming) text = text.replace(BEGUN, "");
  const reader = new Reader();
  let at = 0;
  for (const tag of text.matchAll(TAG)) {
    reader.take(text.slice(at, tag.index));
    reader.inside = tag[1] ? "" : tag[2].toLowerCase();
    if (reader.inside === "ref") reader.leave();
    at = tag.index + tag[0].length;
  }
  reader.take(text.slice(at));
  return reader.out;
}

/** Keeps places with the phrase before them, by the same rules as the server's reader. */
class Reader {
  /** @type {Piece[]} */
  out = [];
  inside = "";
  regions = 0;
  /** @type {Piece | null} */
  phrase = null;
  /** What the last place was, if nothing came between. */
  last = "";

  leave() {
    this.phrase = null;
    this.last = "";
  }

  /** @param {string} text what stands before the next tag */
  take(text) {
    if (this.inside === "box" || this.inside === "quad") this.place(text);
    else if (this.inside === "ref") {
      this.phrase = { text, region: null };
      this.out.push(this.phrase);
    } else if (this.inside !== "img") this.words(text);
  }

  words(text) {
    if (!text) return;
    // White space alone does not part a place from its phrase.
    if (text.trim()) this.leave();
    this.out.push({ text, region: null });
  }

  place(text) {
    const coordinates = text.match(COORDINATES)[0].trimEnd();
    if ((coordinates.match(/\d+/g) ?? []).length >= 4) {
      // boxes are written first, so a box after a quad is a region of its own
      if (this.last === "quad" && this.inside === "box") this.phrase = null;
      if (!this.last || (this.last === "quad" && this.inside === "box")) {
        if (this.phrase) this.phrase.region = this.regions;
        else this.out.push({ text: "", region: this.regions });
        this.regions += 1;
      }
      this.last = this.inside;
    }
    // A tag that is not closed ends at the last character that can be part of coordinates.
    this.inside = "";
    this.words(text.slice(coordinates.length));
  }
}

/**
 * A colour's number for each region; regions of one phrase share theirs.
 * @param {(string | null)[]} phrases
 * @returns {number[]}
 */
export function tones(phrases) {
  /** @type {(string | symbol)[]} */
  const seen = [];
  return phrases.map((phrase) => {
    let found = phrase === null ? -1 : seen.indexOf(phrase);
    if (found < 0) found = seen.push(phrase ?? Symbol("unnamed")) - 1;
    return found % TONES;
  });
}
