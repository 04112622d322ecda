"""Make the example row of the page: six scenes of the nano world's test split with a question in two languages each.

Needs the extra `data`; the server does not, since what is made here ships with the package:

    PYTHONPATH=src python scripts/make_examples.py src/qwenvl/assets/web
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from qwenvl.data.synth.scenes import scene_record

SEED, SIZE = 9, 320

QUESTIONS = {
    0: ("Describe the picture with boxes.", "描述图片并框出物体。"),
    17: ("Find all objects.", "框出所有物体"),
    22: ("Read the text in the picture.", "读出图中的文字。"),
    23: ("What does the sign say?", "牌子上写着什么？"),
    18: ("Where is the pink ring?", "粉色的圆环在哪里？"),
    37: ("Where is the green digit?", "绿色的数字在哪里？"),
}
"""The scenes' indices, chosen so that shapes, digits and signs in two scripts are there, and what is asked of each."""


def main(target: Path) -> None:
    """Write the pictures to `target`/examples and what is asked to `target`/examples.json."""
    (target / "examples").mkdir(parents=True, exist_ok=True)
    listed = []
    for index, (english, chinese) in QUESTIONS.items():
        name = f"examples/scene-{index}.png"
        scene_record(SEED, index, "test", SIZE).images[0].pil().save(target / name, optimize=True)
        listed.append({"picture": f"web/{name}", "en": english, "zh": chinese})
    text = json.dumps(listed, ensure_ascii=False, indent=1)
    (target / "examples.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
