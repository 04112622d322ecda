"""Units of folders, patterns, files and URLs: a fixed order, names of sources, and what is left out."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwenvl.data.pair import Pair
from qwenvl.data.sources.pairs import BadPair, list_units, read_unit
from qwenvl.data.sources.report import DataError
from tests.data.pairs.conftest import members, picture, tar_bytes

pytest.importorskip("pyarrow")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def listed(spec: Path | str, source: str | None = None) -> list[tuple[int, str, str]]:
    return [(unit.number, unit.source, unit.stem) for unit in list_units(str(spec), source)]


def test_img2dataset_output(tmp_path: Path) -> None:
    """Its lists of pairs, statistics and half-written files are no shards."""
    for number in range(2):
        touch(tmp_path, *(f"laion/0000{number}{end}" for end in (".tar", ".parquet", "_stats.json")))
    touch(tmp_path, "laion/_tmp/00003.tar", "laion/.00004.tar", "laion/notes.txt")
    assert listed(tmp_path / "laion") == listed(f"{tmp_path}/laion/") == [(0, "laion", "00000"), (1, "laion", "00001")]


def test_order_and_names_are_those_of_the_files(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.tar", "b/0.tar", "a/1.tar", "c.tar", "b/0.jsonl")
    expected = ["a/1", "b/0", "b/0.tar", "b/1", "c"]
    assert listed(tmp_path, "web") == [(n, "web", stem) for n, stem in enumerate(expected)]


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "data/cc3m/0.tar", "data/cc3m/sub/1.tar", "data/sbu/0.tar", "one.tar")
    every = [("cc3m", "0"), ("sbu", "0")]
    assert [(s, stem) for _, s, stem in listed(tmp_path / "data" / "*" / "*.tar")] == every
    assert [(s, stem) for _, s, stem in listed(tmp_path / "data" / "*/**/*.tar")] == [
        ("cc3m", "0"), ("cc3m", "sub/1"), ("sbu", "0")
    ]  # fmt: skip
    assert {s for _, s, _ in listed(tmp_path / "data" / "**" / "*.tar")} == {"data"}
    assert listed(tmp_path / "data" / "cc3m" / "0.tar") == [(0, "cc3m", "0")]
    assert [stem for _, _, stem in listed(tmp_path / "data" / "*" / "*.tar", "web")] == ["cc3m/0", "sbu/0"]
    monkeypatch.chdir(tmp_path / "data")
    assert [(s, stem) for _, s, stem in listed("*/*.tar")] == every
    assert listed("cc3m/0.tar") == [(0, "cc3m", "0")]
    monkeypatch.chdir(tmp_path / "data" / "sbu")
    assert listed(".") == listed("0.tar") == listed("*.tar") == [(0, "sbu", "0")]


def test_a_name_with_brackets_is_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "set[1]/0.tar")
    assert listed(tmp_path / "set[1]") == [(0, "set[1]", "0")]
    assert listed(tmp_path / "set[1]" / "0.tar") == [(0, "set[1]", "0")]


def test_linked_folders_are_searched_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/0.tar", "set/1.tar")
    (tmp_path / "set" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "self").symlink_to(tmp_path / "set")
    assert [stem for _, _, stem in listed(tmp_path / "set")] == ["1", "more/0"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        list_units(str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"no shards \(expected files ending in .tar, .*$"):
        list_units(str(tmp_path))
    touch(tmp_path, "a.zip", "b.csv")
    with pytest.raises(DataError, match=r"there are 2 files \(a.zip, b.csv\)"):
        list_units(str(tmp_path))
    with pytest.raises(DataError, match="no shards"):
        list_units(str(tmp_path / "a.zip"))


def test_a_file_that_is_gone_is_the_systems_fault(tmp_path: Path) -> None:
    touch(tmp_path, "set/0.tar", "set/0.arrow", "set/0.jsonl")
    units = list_units(str(tmp_path / "set"))
    for unit in units:
        os.remove(unit.path)
        with pytest.raises(OSError):
            list(read_unit(unit))


def fill(open_: object, root: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def put(name: str, content: bytes) -> None:
        with open_(f"{root}/{name}", "wb") as file:  # type: ignore[operator]
            file.write(content)

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"jpg": [picture(7)], "caption": ["table"]}), sink)
    put("00.tar", tar_bytes(members(2)))
    put("01.parquet", sink.getvalue().to_pybytes())
    put("02.jsonl", b'{"image": "sub/x.jpg", "caption": "line"}\n' + b'{"image": "../x.jpg"}\n{"image": "gone.jpg"}\n')
    put("sub/x.jpg", picture(8))
    put("03.tar", tar_bytes(members(2))[:5000])


CAPTIONS = ["caption 0", "caption 1", "table", "line", "caption 0"]
BAD = ["outside the folder", "no picture", "damaged pair", "truncated shard"]


def everything(spec: str) -> tuple[list[Pair], list[BadPair]]:
    found = [pair for unit in list_units(spec) for pair in read_unit(unit)]
    return [p for p in found if isinstance(p, Pair)], [p for p in found if isinstance(p, BadPair)]


def test_memory_urls() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    try:
        fill(memory.open, "/bucket/web")
        for spec in ("memory://bucket/web", "memory:///bucket/web/", "memory://bucket/web/0*"):
            pairs, bad = everything(spec)
            assert [pair.caption for pair in pairs] == CAPTIONS and [b.why for b in bad] == BAD
            assert pairs[0].id == "web/00/000000000" and pairs[3].image == picture(8)
        assert [unit.source for unit in list_units("memory://bucket/*/0*.tar")] == ["web", "web"]
        assert len(everything("memory://bucket/web/00.tar")[0]) == 2
        with pytest.raises(DataError, match="no such file"):
            list_units("memory://bucket/gone")
    finally:
        memory.rm("/bucket", recursive=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web" / "sub").mkdir(parents=True)
    fill(open, str(tmp_path / "web"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_http_urls(server: str) -> None:
    """A server without byte ranges, the least that a server can do."""
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    pairs, bad = everything(f"{server}/web/00.tar?token=secret")
    assert [pair.id for pair in pairs] == ["web/00/000000000", "web/00/000000001"] and not bad
    assert everything(f"{server}/web/03.tar")[1][-1].why == "truncated shard"
    with pytest.raises(DataError, match="no such file"):
        list_units(f"{server}/web/gone.tar")


def test_a_failing_read_is_no_truncation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network swallows is not taken for the end of the shard."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFile

    memory = fsspec.filesystem("memory")
    try:
        fill(memory.open, "/bucket/web")
        units = list_units("memory://bucket/web")
        monkeypatch.setattr(MemoryFile, "read", lambda *_: (_ for _ in ()).throw(TimeoutError("no answer")))
        monkeypatch.setattr(MemoryFile, "readinto", lambda *_: (_ for _ in ()).throw(TimeoutError("no answer")))
        for unit in units:
            with pytest.raises(OSError, match="no answer"):
                list(read_unit(unit))
    finally:
        memory.rm("/bucket", recursive=True)


@pytest.mark.parametrize("spec", ["nosuch://bucket/x", "zip://a::memory://x.zip"])
def test_urls_that_can_not_be_had(spec: str) -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(DataError):
        list_units(spec)
