"""The run that makers share: shards, counts, manifest, contact sheet; going on, and refusing another folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from PIL import Image as PILImage

from qwenvl.data.run_folder import RunError
from qwenvl.data.shards import ShardReader
from qwenvl.data.synth.contact import sheet
from qwenvl.data.synth.run import make
from qwenvl.sample import Image, Quad, Record, TextLine
from tests.data.synth.squares import Span, Squares, spans


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_shards_counts_and_sheet(tmp_path: Path) -> None:
    made = make(Squares(9), spans(20, 8), tmp_path, workers=1, quiet=True)
    assert (made.rows, made.dropped, made.counted) == (14, {"a third": 6}, {"seen": 20})
    reader = ShardReader(tmp_path)
    ids = [record.id for shard in range(3) for record in reader.read_shard(shard)]
    assert ids == [f"square-{number}" for number in range(20) if number % 3 != 2]
    assert reader.meta["settings"] == {"shade": 9}
    with PILImage.open(tmp_path / "contact.png") as picture:
        assert picture.size[0] == 4 * 728


def test_a_unit_without_records_leaves_no_shard(tmp_path: Path) -> None:
    made = make(Squares(9), [Span(0, 2), Span(2, 3), Span(3, 5)], tmp_path, workers=1, quiet=True)
    assert made.rows == 4
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["00000.parquet", "00002.parquet"]
    assert len(ShardReader(tmp_path)) == 4


def test_nothing_at_all_is_a_whole_run(tmp_path: Path) -> None:
    assert make(Squares(9), [Span(2, 3)], tmp_path, workers=1, quiet=True).rows == 0
    assert len(ShardReader(tmp_path)) == 0
    assert not (tmp_path / "contact.png").exists()


def test_same_bytes_whatever_the_workers_and_a_death(tmp_path: Path) -> None:
    make(Squares(9), spans(20, 4), tmp_path / "one", workers=1, quiet=True)
    make(Squares(9, str(tmp_path / "trap")), spans(20, 4), tmp_path / "two", workers=2, quiet=True)
    assert (tmp_path / "trap").exists()
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    make(Squares(9), spans(20, 4), tmp_path / "one", workers=1, quiet=True)
    make(Squares(9), spans(20, 4), tmp_path / "two", workers=1, quiet=True)
    kept = (tmp_path / "two" / "00001.parquet").stat().st_mtime_ns
    for name in ("manifest.json", "contact.png", "stats/00003.json"):
        (tmp_path / "two" / name).unlink()
    (tmp_path / "two" / "00003.parquet").write_bytes(b"half of it")
    (tmp_path / "two" / ".00003.parquet.0123456789ab.draft").touch()
    make(Squares(9), spans(20, 4), tmp_path / "two", workers=1, quiet=True)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert (tmp_path / "two" / "00001.parquet").stat().st_mtime_ns == kept


def test_another_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(Squares(9), spans(8, 4), out, workers=1, quiet=True)
    with pytest.raises(RunError, match=r"another choice of settings \(shade: 9 there, 5 now\)"):
        make(Squares(5), spans(8, 4), out, workers=1, quiet=True)
    with pytest.raises(RunError, match="another input"):
        make(Squares(9), spans(9, 4), out, workers=1, quiet=True)
    make(Squares(5), spans(4, 4), out, workers=1, quiet=True, fresh=True)
    assert len(ShardReader(out)) == 3


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").touch()
    for fresh in (False, True):
        with pytest.raises(RunError, match=r"not empty \(thesis.doc\)"):
            make(Squares(9), spans(8, 4), tmp_path, workers=1, quiet=True, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_the_sheet_draws_the_quads_where_they_are() -> None:
    """A picture twice a cell's size: its lines shrink with it."""
    white = Image(PILImage.new("RGB", (1440, 720), "white"), 1440, 720)
    quad = Quad(((200, 100), (1000, 120), (1000, 320), (200, 300)))
    drawn = sheet([Record("a", "test", (white,), lines=(TextLine("a", quad),))])
    inked = PILImage.eval(drawn.crop((0, 26, 720, 26 + 360)).convert("L"), lambda value: 255 * (value < 250)).getbbox()
    assert inked is not None
    assert all(abs(a - b) <= 1 for a, b in zip(inked, (100, 50, 501, 161), strict=True))
