"""The text lines of a page in a browser: a script that measures pieces of text, and how pieces become lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import category

from qwenvl.sample import Quad, TextLine

_GAP = 1.2
"""Pieces of a row further apart than this many heights are lines of their own."""

_EDGE = 0.5
"""Pixels by which a piece may pass an edge: browsers place text at fractions of pixels."""

# Only a text node that takes several lines is looked at by character, and there the places of the breaks are halved
# in: a call for each character of a page would take longer than drawing it.
MEASURE = """
((width, height, part, most) => {
  const empty = {pieces: [], y: 0, height: 0, letters: 0, full: false};
  if (!document.body) return empty;
  const total = document.documentElement.scrollHeight;
  window.scrollTo(0, Math.round(part * Math.max(0, total - height)));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  const blocks = new Map(), shown = new Map(), pieces = [];
  let letters = 0, full = false;
  const block = node => {
    const chain = [];
    while (!blocks.has(node) && node !== document.body && getComputedStyle(node).display.startsWith('inline')) {
      chain.push(node); node = node.parentElement;
    }
    if (!blocks.has(node)) blocks.set(node, blocks.size);
    for (const one of chain) blocks.set(one, blocks.get(node));
    return blocks.get(node);
  };
  const folded = node => {
    for (let box = node.closest('details:not([open])'); box; box = box.parentElement.closest('details:not([open])'))
      if (!box.querySelector(':scope > summary')?.contains(node)) return true;
    return false;
  };
  const visible = node => {
    if (!shown.has(node)) shown.set(node, node.checkVisibility({visibilityProperty: true}) && !folded(node));
    return shown.get(node);
  };
  const inside = r => r.width > 0 && r.bottom > 0 && r.top < height && r.right > 0 && r.left < width;
  const put = (text, r, node) => {
    if (!/\\S/.test(text)) { pieces.push([0, 0, 0, 0, ' ', block(node)]); return; }
    if (pieces.length >= most) { full = true; return; }
    pieces.push([r.left, r.top, r.right, r.bottom, text, block(node)]);
  };
  const at = (text, i) => {
    range.setStart(text, i); range.setEnd(text, i + 1);
    for (const r of range.getClientRects()) if (r.width > 0) return r;
    return null;
  };
  const same = (r, line) => Math.min(r.bottom, line.bottom) - Math.max(r.top, line.top) > 0.5 * r.height
    && r.left >= line.left - 1 && r.right <= line.right + 1;
  while (walker.nextNode()) {
    const text = walker.currentNode, data = text.data, node = text.parentElement;
    if (!/\\S/.test(data)) { if (pieces.length) put(' ', null, node); continue; }
    letters += data.length;
    range.selectNodeContents(text);
    const found = Array.from(range.getClientRects()).filter(r => r.width > 0);
    if (!found.some(inside) || !visible(node)) continue;
    const lines = [];
    for (const r of found) {
      const last = lines[lines.length - 1];
      if (last && Math.abs(r.top - last.top) < 1 && r.left >= last.left && r.left - last.right < 2)
        last.right = Math.max(last.right, r.right);
      else lines.push({left: r.left, right: r.right, top: r.top, bottom: r.bottom, width: 1});
    }
    let begin = 0;
    for (let number = 0; number < lines.length; number++) {
      let end = data.length;
      if (number + 1 < lines.length) {
        let low = begin, high = data.length;
        while (low < high) {
          const middle = (low + high) >> 1;
          let i = middle, r = null;
          while (i < high && !(r = at(text, i))) i++;
          const later = r !== null && !same(r, lines[number]);
          if (r === null || later) high = middle; else low = i + 1;
        }
        end = low;
      }
      const line = lines[number];
      if (inside(line)) {
        let a = begin, b = end, left = line.left, right = line.right;
        if (right > width + 0.5) {
          right = left;
          for (let i = begin; i < end; i++) {
            const r = at(text, i);
            if (r && r.right > width) { b = i; break; }
            if (r) right = r.right;
          }
        }
        if (b > a && right > left) put(data.slice(a, b), {left, right, top: line.top, bottom: line.bottom}, node);
      }
      begin = end;
    }
  }
  return {pieces, y: window.scrollY, height: total - window.scrollY, letters, full};
})
"""

# The code points compared with are unassigned in Unicode: what stands for them stands for all that is missing.
UNKNOWN = """
(characters => {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 32;
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  pen.font = '20px sans-serif';
  const drawn = one => {
    pen.clearRect(0, 0, 32, 32);
    pen.fillText(one, 4, 24);
    return pen.getImageData(0, 0, 32, 32).data.join();
  };
  const none = [drawn('\\u2fe0'), drawn('\\u{1fff0}')];
  return Array.from(characters).filter(one => none.includes(drawn(one)));
})
"""


@dataclass(slots=True)
class Piece:
    """A run of text in one line box, in CSS pixels of the window; `block` counts what it belongs to, such as a cell."""

    x0: float
    y0: float
    x1: float
    y1: float
    text: str
    block: int


def pieces(found: Mapping[str, Any]) -> list[Piece]:
    """What the script gave; a piece of no size is a space between others."""
    return [Piece(*row) for row in found["pieces"]]


def lines(found: Iterable[Piece]) -> list[Piece]:
    """Pieces that follow each other in a block and a row become one line, with the spaces between them."""
    made: list[Piece] = []
    space = False
    for piece in found:
        if not piece.text.strip():
            space = True
            continue
        last = made[-1] if made else None
        if last is not None and _follows(last, piece):
            last.text += (" " if space else "") + piece.text
            last.x0, last.x1 = min(last.x0, piece.x0), max(last.x1, piece.x1)
            last.y0, last.y1 = min(last.y0, piece.y0), max(last.y1, piece.y1)
        else:
            made.append(Piece(piece.x0, piece.y0, piece.x1, piece.y1, piece.text, piece.block))
        space = False
    for line in made:
        # a soft hyphen, a joiner or a mark of direction is not seen
        line.text = " ".join("".join(c for c in line.text if category(c) != "Cf").split())
    return made


def _follows(last: Piece, piece: Piece) -> bool:
    low = min(last.y1 - last.y0, piece.y1 - piece.y0)
    if last.block != piece.block or min(last.y1, piece.y1) - max(last.y0, piece.y0) < 0.4 * low:
        return False
    return -0.3 * low <= piece.x0 - last.x1 <= _GAP * low


def window(found: Sequence[Piece], height: float, scrolled: bool) -> tuple[float, float]:
    """The top and bottom of the largest part of `height` pixels whose edges cut no line.

    Without `scrolled` the part begins at 0. Gives (0, 0) where there is none.
    """
    edges = sorted({0.0, *(line.y1 for line in found if line.y1 > 0)}) if scrolled else [0.0]
    top = next((edge for edge in edges if not _cuts(found, edge)), height)
    if not _cuts(found, height):
        return (top, height) if top < height else (0.0, 0.0)
    above = sorted((line.y0 for line in found if top < line.y0 < height), reverse=True)
    return (top, next((edge for edge in above if not _cuts(found, edge)), top))


def _cuts(found: Sequence[Piece], edge: float) -> bool:
    return any(line.y0 + _EDGE < edge < line.y1 - _EDGE for line in found)


def text_lines(found: Sequence[Piece], top: float, bottom: float, width: float, scale: float) -> tuple[TextLine, ...]:
    """The lines between `top` and `bottom`, in pixels of a picture that begins there and is `scale` times as large."""
    made = []
    for line in found:
        if line.y0 < top - _EDGE or line.y1 > bottom + _EDGE or not line.text:
            continue
        x0, x1 = max(0.0, line.x0) * scale, min(width, line.x1) * scale
        y0, y1 = max(0.0, line.y0 - top) * scale, (min(bottom, line.y1) - top) * scale
        made.append(TextLine(line.text, Quad(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))))
    return tuple(made)
