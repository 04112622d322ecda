"""Whole documents: the same from (seed, index) whoever makes them, readable, from the user's text; errors in a line."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")
pytest.importorskip("cv2")
pytest.importorskip("fontTools")
pytest.importorskip("brotli")

import random

from PIL import Image as PILImage

from qwenvl.cli import main
from qwenvl.data.shards import ShardReader
from qwenvl.data.synth.documents import Documents, Span, documents, spans
from qwenvl.data.synth.documents_breaking import CLOSING
from qwenvl.data.synth.documents_colour import ENOUGH, of_ink, of_paper, ratio
from qwenvl.data.synth.run import Tally, make
from qwenvl.tasks import ocr

ROOT = Path(__file__).parents[3]
SMALL = ("--no-system-fonts", "--long-side", "224", "300", "--smallest", "10", "--seed", "3")


def small(seed: int = 3, **keys: object) -> Documents:
    return documents(seed, system_fonts=False, long_side=(224, 300), smallest=10, **keys)  # type: ignore[arg-type]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_page_is_the_same_alone_and_after_others() -> None:
    """Caches of inks must not show."""
    maker = small()
    after = [maker.record(index, Tally()) for index in range(12)][-1]
    code = (
        "import hashlib; from qwenvl.data.synth.documents import documents; from qwenvl.data.synth.run import Tally;"
        "r = documents(3, system_fonts=False, long_side=(224, 300), smallest=10).record(11, Tally());"
        "print(hashlib.sha256(r.images[0].source + repr(r.lines).encode()).hexdigest())"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src"}
    alone = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert after is not None and isinstance(after.images[0].source, bytes)
    told = hashlib.sha256(after.images[0].source + repr(after.lines).encode()).hexdigest()
    assert alone.stdout.strip() == told


def test_workers_and_a_kill_change_nothing(tmp_path: Path) -> None:
    make(small(), spans(60), tmp_path / "one", workers=1, quiet=True)
    command = [sys.executable, "-m", "qwenvl", "synth", "documents", str(tmp_path / "two"), "--count", "60", *SMALL]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src"}
    job = subprocess.Popen([*command, "--workers", "2"], env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(tmp_path.glob("two/stats/*.json")) and job.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert main(["synth", "documents", str(tmp_path / "two"), "--count", "60", *SMALL, "--workers", "2"]) == 0
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(ShardReader(tmp_path / "two")) >= 57


def test_records_are_whole_and_make_ocr_samples() -> None:
    maker, tally = small(), Tally()
    found = list(maker.records(Span(0, 60), tally))
    assert {record.meta["language"] for record in found} == {"en", "zh"}
    assert {record.meta["view"] for record in found} == {"flat", "scan", "photo", "over"}
    assert len(found) + tally.dropped["page: no text on it"] == 60
    for record in found:
        picture = record.images[0].pil()
        assert picture.size == (record.images[0].width, record.images[0].height) and max(picture.size) <= 300
        assert record.lines
        for line in record.lines:
            assert line.text == line.text.strip() and "\n" not in line.text
            box = line.quad.box
            assert 0 <= box.x0 < box.x1 <= picture.width and 0 <= box.y0 < box.y1 <= picture.height
            if record.meta["layout"] == "article":
                assert line.text[0] not in CLOSING
    assert len(ocr.samples(found[0], random.Random(0))) == 2


def test_every_character_has_ink_of_its_own_font() -> None:
    """No sign for a missing character is ever drawn: pages set from a face have only what its map has."""
    from qwenvl.data.synth.documents_draw import draw
    from qwenvl.data.synth.documents_fonts import FontFace

    drawn: list[tuple[FontFace, str]] = []
    import qwenvl.data.synth.documents_glyphs as glyphs
    from qwenvl.data.synth.documents import _look

    real = glyphs._drawn

    def watched(face: FontFace, size: int, text: str) -> glyphs.Ink:
        drawn.append((face, text))
        return real(face, size, text)

    patch = pytest.MonkeyPatch()
    patch.setattr(glyphs, "_drawn", watched)
    patch.setattr(glyphs, "_CACHE", glyphs._Cache())
    try:
        for index in range(40):
            draw(_look(small()), 8, index, Counter())
    finally:
        patch.undo()
    assert len(drawn) > 500
    assert all(face.has(text) for face, text in drawn)


def test_the_users_text_is_set_whole(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(40)]
    rng = random.Random(0)
    sentences = [" ".join(rng.choices(words, k=rng.randint(3, 12))).capitalize() + "." for _ in range(900)]
    (tmp_path / "own.txt").write_text("\n".join(sentences), encoding="utf-8")
    maker = small(texts=[tmp_path / "own.txt"])
    assert maker.languages == ("en",)
    known = {*words, *(word.capitalize() for word in words)}
    found = list(maker.records(Span(0, 15), Tally()))
    running = [record for record in found if record.meta["layout"] in ("article", "poster")]
    seen = [word.strip(".") for record in running for line in record.lines for word in line.text.split()]
    assert len(seen) > 100
    # a heading may be the beginning of a sentence, but no word is ever cut
    assert set(seen) <= known


def test_contrast_of_paper_and_ink() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        paper = of_paper(rng)
        assert ratio(of_ink(rng, paper, 0.5), paper) >= ENOUGH


def test_photographs_are_used_and_bad_ones_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    PILImage.new("RGB", (400, 300), (10, 200, 30)).save(tmp_path / "green.jpg")
    maker = small(photo_folders=[tmp_path])
    found = [record for record in maker.records(Span(0, 40), Tally()) if record.meta["view"] == "over"]
    green = sum(
        g > r + 60 and g > b + 60
        for record in found
        for r, g, b in [record.images[0].pil().resize((9, 9)).getpixel((4, 0))]  # type: ignore[misc]
    )
    assert found and green >= 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--text", "nowhere.txt"), "there is no such text file"),
        (("--font-dir", "nowhere"), "there is no such folder of fonts"),
        (("--photos", "nowhere"), "there is no such folder of photographs"),
        (("--smallest", "90"), "expected 6 to 56"),
        (("--long-side", "900", "300"), "the smaller first"),
        (("--ray-address", "auto"), "--ray-address is for --engine ray"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    arguments: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["synth", "documents", str(tmp_path / "out"), "--no-system-fonts", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said and "\n" not in said
    assert not (tmp_path / "out").exists()


def test_text_that_is_none_is_told(tmp_path: Path) -> None:
    for name, content, told in (
        ("latin1.txt", "voilà déjà".encode("latin-1"), "not UTF-8"),
        ("zeros.txt", b"\0\0\0", "holds no text"),
        ("empty.txt", b"", "holds no text"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=told):
            small(texts=[tmp_path / name])
