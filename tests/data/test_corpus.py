"""A run's corpus: scenes are the same however often their making was interrupted, own files are read once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PILImage

from qwenvl.data.corpus import make_scenes, store_sources
from qwenvl.data.shard_writer import write_shards
from qwenvl.data.shards import ShardReader
from qwenvl.data.sources import DataError
from qwenvl.sample import Record

pytest.importorskip("pyarrow")


def digest(reader: ShardReader) -> object:
    return reader.manifest["digest"]


def test_scenes_are_continued_and_refused_where_others_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr("qwenvl.data.corpus.ROWS_PER_SHARD", 4)
    whole = make_scenes(tmp_path / "whole", 10, 64, quiet=True)
    assert len(whole) == 10
    part = tmp_path / "part"
    make_scenes(part, 10, 64, quiet=True)
    (part / "manifest.json").rename(part / "plan.json")
    (part / "plan.json").write_text('{"scenes": 10, "size": 64, "seed": 0, "split": "train"}')
    (part / "00001.parquet").unlink()
    stamp = (part / "00000.parquet").stat().st_mtime_ns
    assert digest(make_scenes(part, 10, 64, quiet=True)) == digest(whole)
    assert (part / "00000.parquet").stat().st_mtime_ns == stamp
    with pytest.raises(DataError, match="start over with --fresh"):
        make_scenes(part, 10, 64, seed=1, quiet=True)


def test_own_files_are_read_once_with_their_pictures_from_the_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    PILImage.new("RGB", (20, 10)).save(pictures / "a.png")
    data = tmp_path / "my.jsonl"
    data.write_text('{"image": "a.png", "caption": "x"}\n{"text": "y"}\n')
    assert len(store_sources([data], tmp_path / "without", quiet=True)) == 1
    assert "my.jsonl:1" in capsys.readouterr().out
    reader = store_sources([data], tmp_path / "with", strict=True, quiet=True, image_root=pictures)
    assert len(reader) == 2 and reader.read_shard(0)[0].images[0].width == 20
    (pictures / "a.png").unlink()
    assert len(store_sources([data], tmp_path / "with", quiet=True, image_root=pictures)) == 2
    with pytest.raises(DataError, match="start over with --fresh"):
        store_sources([data], tmp_path / "with", quiet=True)


def test_a_folder_of_shards_is_taken_as_it_is(tmp_path: Path) -> None:
    write_shards([Record("a", "s", texts=("words",))], tmp_path / "corpus")
    run = tmp_path / "run" / "corpus"
    for _ in range(2):
        assert store_sources([tmp_path / "corpus"], run, quiet=True).read_shard(0)[0].texts == ("words",)
    assert run.is_symlink() and run.resolve() == (tmp_path / "corpus").resolve()
    write_shards([Record("b", "s", texts=("others",))], tmp_path / "other")
    with pytest.raises(DataError, match=r"was made from other data than .*other.*--fresh"):
        store_sources([tmp_path / "other"], run, quiet=True)
