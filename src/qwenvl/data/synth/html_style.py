"""Stylesheets and windows by chance: crawled pages come without, and these let no ink be without text."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from qwenvl.data.synth.documents_colour import Colour, of_ink, of_paper, ratio

VIEW = 1280, 1200
"""The window in CSS pixels; a picture shows the left upper part of it."""

_LATIN = (
    "serif",
    "sans-serif",
    "'DejaVu Serif'",
    "'DejaVu Sans'",
    "'Liberation Serif'",
    "'Liberation Sans'",
    "Georgia, serif",
    "Verdana, sans-serif",
    "'Helvetica Neue', Arial, sans-serif",
    "'Times New Roman', serif",
    "Cambria, 'Noto Serif', serif",
    "'Open Sans', Roboto, 'Noto Sans', sans-serif",
)
_HAN = (
    "'Noto Sans CJK SC', 'Source Han Sans SC', 'Microsoft YaHei', 'PingFang SC'",
    "'Noto Serif CJK SC', 'Source Han Serif SC', SimSun, 'Songti SC'",
    "'WenQuanYi Zen Hei', 'WenQuanYi Micro Hei', 'Noto Sans CJK SC', SimHei",
    "'AR PL UKai CN', KaiTi, 'Kaiti SC', 'Noto Serif CJK SC'",
)

# What has ink but no text: what a form holds, bullets, pictures and their alternative texts, rules, drawings.
_PLAIN = """
*,*::before,*::after{color:inherit!important;background:none!important;border-color:transparent!important}
*::before,*::after,*::marker{content:none!important}
html{overflow:hidden!important;scrollbar-width:none}
body{overflow:visible!important;height:auto!important;box-sizing:border-box}
*{text-shadow:none;hyphens:none!important;list-style:none!important;animation:none!important;outline:none!important}
img,input,select,textarea,svg,math,canvas,video,audio,picture,object,embed,iframe,frame,progress,meter,marquee,map,hr,
rt,rp,template,datalist,dialog,noframes,basefont{display:none!important}
button{all:unset!important;display:inline-block!important}
fieldset{border:none} table{border-color:transparent!important;border-collapse:separate} font{font-size:inherit}
pre,listing,xmp{white-space:pre-wrap;overflow-wrap:anywhere} body{overflow-wrap:break-word}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """How a page is drawn: `width` and `height` in CSS pixels, `scale` picture pixels to one, `part` scrolled down."""

    css: str
    width: int
    height: int
    scale: float
    part: float
    format: Literal["jpeg", "png"]
    quality: int


def look(rng: random.Random) -> Look:
    """A look by chance: fonts, sizes, columns, colours with enough contrast, light and dark, and the window."""
    width = round(rng.triangular(360, VIEW[0], 800))
    height = round(rng.triangular(360, VIEW[1] - 80, 860))
    scale = rng.choice((1.0, 1.0, 1.0, 1.25, 1.5)) if width * height < 500_000 else rng.choice((1.0, 1.0, 0.9))
    size = rng.triangular(13, 24, 16) / min(1.0, scale)
    return Look(
        _PLAIN + _page(rng, width, size) + _colours(rng) + _parts(rng),
        width,
        height,
        scale,
        0.0 if rng.random() < 0.5 else rng.random(),
        "png" if rng.random() < 0.1 else "jpeg",
        rng.randint(60, 95),
    )


def _page(rng: random.Random, width: int, size: float) -> str:
    family = f"{rng.choice(_LATIN)}, {rng.choice(_HAN)}"
    if rng.random() < 0.25:
        family = f"{rng.choice(_HAN)}, sans-serif"
    side = rng.uniform(0.01, 0.12) * width
    columns = 1 if width < 700 or rng.random() < 0.75 else rng.choice((2, 2, 3))
    align = rng.choices(("left", "justify", "center", "right"), (60, 30, 6, 4))[0]
    return (
        f"html{{width:{width}px!important;margin:0}}"
        f"body{{width:auto!important;margin:0!important;padding:{rng.uniform(4, 40):.0f}px {side:.0f}px!important;"
        f"font:{rng.choices((400, 300, 600), (85, 8, 7))[0]} {size:.1f}px/{rng.uniform(1.2, 1.9):.2f} {family};"
        f"letter-spacing:{rng.choices((0, 0.4, 1), (85, 10, 5))[0]}px;text-align:{align}}}"
        + (f"body{{columns:{columns};column-gap:{rng.uniform(1.2, 3) * size:.0f}px}}" if columns > 1 else "")
    )


def _colours(rng: random.Random) -> str:
    paper = of_paper(rng)
    vivid = 0.15
    ink = of_ink(rng, paper, vivid)
    link, head, code = (of_ink(rng, paper, 0.7), of_ink(rng, paper, 0.4), of_ink(rng, paper, 0.2))
    soft = _soft(rng, paper, (ink, link, head, code))
    underline = rng.choice(("underline", "none"))
    return (
        f"html{{background:{_css(paper)}!important}}body{{color:{_css(ink)}!important}}"
        f"a[href],a[href] *{{color:{_css(link)}!important;text-decoration:{underline}}}"
        f"h1,h2,h3,h4,h5,h6,th{{color:{_css(head)}!important}}"
        f"pre,code,kbd,samp,tt{{color:{_css(code)}!important}}"
        f"pre,th,blockquote{{background:{_css(soft)}!important}}"
    )


def _soft(rng: random.Random, paper: Colour, inks: tuple[Colour, ...]) -> Colour:
    """A ground near the paper's colour on which all inks still show; the paper's itself where there is none."""
    blue, green, red = (min(255, max(0, value + rng.randint(-14, 14))) for value in paper)
    found = blue, green, red
    return found if all(ratio(ink, found) >= 0.9 * ratio(ink, paper) for ink in inks) else paper


def _parts(rng: random.Random) -> str:
    grow = rng.uniform(1.05, 1.35)
    heads = "".join(
        f"h{level}{{font-size:{max(1.0, 0.8 + grow ** (5 - level) / 2):.2f}em;line-height:1.25;"
        f"font-weight:{rng.choice((400, 700, 700))}}}"
        for level in range(1, 7)
    )
    mono = rng.choice(("monospace", "'DejaVu Sans Mono', monospace", "'Liberation Mono', monospace"))
    return (
        f"{heads}p{{margin:{rng.uniform(0.2, 1.2):.1f}em 0;text-indent:{rng.choices((0, 2), (85, 15))[0]}em}}"
        f"pre,code,kbd,samp,tt{{font-family:{mono}, {rng.choice(_HAN)};font-size:{rng.uniform(0.85, 1):.2f}em}}"
        f"small,sub,sup{{font-size:max(.75em,11px)}}"
        f"td,th{{padding:{rng.uniform(1, 8):.0f}px {rng.uniform(4, 16):.0f}px;vertical-align:top}}"
        f"pre,blockquote{{padding:{rng.uniform(2, 16):.0f}px}}ul,ol{{padding-left:{rng.uniform(0.5, 2.5):.1f}em}}"
        f"nav li,header li,footer li{{display:inline-block;margin-right:1em}}"
    )


def _css(colour: Colour) -> str:
    blue, green, red = colour
    return f"rgb({red},{green},{blue})"
