"""What each cleaning rule costs: CPU-microseconds a pair, on captions as the web has them.

    python benchmarks/clean_rules.py [--pairs 20000] [--repeats 5]

Captions are made from words, four fifths English and one fifth Chinese; one in ten has something that a rule takes out.
Each rule measures and decides every pair (one in the chain sees the caption as the rules before it left it); the median
of the repeats is printed, and the sum of the whole chain of text and header rules.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence

from qwenvl.data.clean.rule import Change, Rule
from qwenvl.data.clean.rules import RULES
from qwenvl.data.pair import Pair

CHAIN = {
    "aspect_ratio": {"max": 3.0},
    "size": {"min": 200.0},
    "nsfw": {"max": 0.5},
    "watermark": {"max": 0.8},
    "blocked_domains": {"domains": ("blocked.example", "ads.example")},
    "html": {},
    "patterns": {},
    "special_tags": {},
    "emoji": {"max": 0.0},
    "language": {"max": 0.0},
    "accents": {"max": 0.15},
    "words": {"min": 3.0, "max": 60.0},
    "characters": {"min": 5.0, "max": 120.0},
}
WORDS = """
the a of in on with and for red blue old wooden vintage modern white black beautiful small large house car dog cat
woman man beach lake sunset city street table chair dress shoes kitchen garden flower mountain snow forest 2019
design portrait wall art print set new home bedroom living room café Zürich women's men's high-quality T-shirt
"""
HAN = "美丽的风景照片中国北京上海城市夜景花园猫狗女孩男孩红色蓝色白色连衣裙客厅卧室装修效果图海边日落山水画"
ODD = (
    " &amp; ", " <b>new</b> ", " IMG_1234.jpg", " (click to enlarge)", " | Etsy", "!!!", " http://a.example/b?c=1",
    " 😀", " <PERSON>", " 点击查看大图",
)  # fmt: skip
HOSTILE = (
    "<", "<a ", '<a b="', "<a b='x' ", "&amp;", "amp;", "<script>", "<!--", " x=1", "<b>", "1<b>2 ", "&#", "a:", "a.",
    "a-", "a_1", "_", "#x", "@a", "a@b.", "www.", "IMG_", "IMG_123-", "1x", "123x", "(", "é", "猫", "!", "a1",
    "image 1 ", "com a.", "photo 123 -", "图源 ", "第1张", "[b", "jpg 1a", "1234567890", "deadbeef", "| etsy",
    "click to ", "ぁ", "👍🏽", "\u200d❤", "© ", " ", "a ",
)  # fmt: skip


def captions(count: int, seed: int = 0) -> list[str]:
    """Made-up captions, the same for the same seed."""
    draw = random.Random(seed)
    found, words = [], WORDS.split()
    for _ in range(count):
        if draw.random() < 0.2:
            text = "".join(draw.choices(HAN, k=draw.randint(6, 30)))
        else:
            text = " ".join(draw.choices(words, k=draw.randint(4, 16))).capitalize()
        found.append(text + draw.choice(ODD) if draw.random() < 0.1 else text)
    return found


def pairs(texts: Sequence[str]) -> list[Pair]:
    """Pairs whose header was read; what that costs is the readers' business."""
    made = []
    for number, text in enumerate(texts):
        meta = {"url": f"https://img{number % 100}.host{number % 977}.example/a/{number}.jpg", "punsafe": 0.01,
                "pwatermark": 0.2}  # fmt: skip
        pair = Pair(f"s/{number}", "s", b"", text, meta=meta)
        pair.size = (640, 480 - number % 100)
        made.append(pair)
    return made


def run(rule: Rule, these: Sequence[Pair]) -> float:
    """CPU-seconds to measure and decide; captions change as the rule says."""
    begin = time.process_time()
    for pair in these:
        verdict = rule.decide(pair, rule.measure(pair))
        if type(verdict) is Change:
            pair.caption = verdict.caption
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    texts = captions(options.pairs)
    rules = {name: RULES[name](**fields) for name, fields in CHAIN.items()}
    took: dict[str, list[float]] = {name: [] for name in rules}
    for _ in range(options.repeats):
        these = pairs(texts)
        for name, rule in rules.items():
            took[name].append(run(rule, these) / len(these) * 1e6)
    medians = {name: statistics.median(values) for name, values in took.items()}
    for name, median in medians.items():
        print(f"{name:16s} {median:6.2f} us   ({min(took[name]):.2f} to {max(took[name]):.2f})")
    total = sum(medians.values())
    print(f"{'the chain':16s} {total:6.2f} us a pair, {1e6 / total:,.0f} pairs a CPU-second")
    print("the most CPU-milliseconds for one hostile caption of 10,000 characters:")
    for name in ("html", "patterns", "special_tags", "emoji", "language", "accents", "words", "characters"):
        rule = rules[name]
        worst = max((run(rule, [Pair("s", "s", b"", unit * (9990 // len(unit)))]) * 1e3, unit) for unit in HOSTILE)
        print(f"{name:16s} {worst[0]:6.1f} ms   ({worst[1]!r} repeated)")


if __name__ == "__main__":
    main()
