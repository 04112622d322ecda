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
const NUMBER = /[-−－]?\d+(?:[.．]\d+)?/g;
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
  const tags = [...text.matchAll(TAG)];
  let at = 0;
  tags.forEach((tag, index) => {
    if (tag.index < at) return; // closes what an earlier tag took
    reader.words(text.slice(at, tag.index));
    at = tag.index + tag[0].length;
    if (tag[1]) return;
    const next = tags[index + 1];
    const name = tag[2].toLowerCase();
    const closed = next !== undefined && next[1] === "/" && next[2].toLowerCase() === name;
    let inside = text.slice(at, next?.index);
    if (name === "img") {
      if (!closed) return; // its words are read on as text
      reader.leave();
    } else if (name === "ref") {
      reader.mention(inside);
    } else {
      // A place that is not closed ends at the last character that can be part of coordinates.
      if (!closed && (next || !coming)) inside = inside.match(COORDINATES)[0].trimEnd();
      reader.place(name, inside);
    }
    at = closed ? next.index + next[0].length : at + inside.length;
  });
  reader.words(text.slice(at));
  return reader.out;
}

/** Keeps places with the phrase before them, by the same rules as the server's reader. */
class Reader {
  /** @type {Piece[]} */
  out = [];
  regions = 0;
  /** @type {Piece | null} */
  phrase = null;
  /** What the last place was, if nothing came between. */
  last = "";

  leave() {
    this.phrase = null;
    this.last = "";
  }

  words(text) {
    if (!text) return;
    // White space alone does not part a place from its phrase.
    if (text.trim()) this.leave();
    this.out.push({ text, region: null });
  }

  mention(text) {
    this.leave();
    this.phrase = { text, region: null };
    this.out.push(this.phrase);
  }

  place(name, coordinates) {
    if ((coordinates.match(NUMBER) ?? []).length < 4) return;
    // Boxes are written first, so a box after a quad is a region of its own.
    const apart = this.last === "quad" && name === "box";
    if (apart) this.phrase = null;
    if (apart || !this.last) {
      if (this.phrase) this.phrase.region = this.regions;
      else this.out.push({ text: "", region: this.regions });
      this.regions += 1;
    }
    this.last = name;
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
