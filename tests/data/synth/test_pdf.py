"""PDFs into shards: hostile ones cost their own pages alone, everything is counted, the same bytes come out again."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pypdfium2")
pytest.importorskip("pyarrow")

from qwenvl.cli import main
from qwenvl.data.shards import ShardReader
from qwenvl.data.sources.report import DataError
from qwenvl.data.synth import pdf_reader
from qwenvl.data.synth.inputs import Documents, list_documents
from qwenvl.data.synth.pages import PageError
from qwenvl.data.synth.pdf import PdfPages, units
from qwenvl.data.synth.pdf_page import PageLimits
from qwenvl.data.synth.pdf_reader import BEYOND, CRASHED, GIVEN_UP, HUNG, PdfReader, ReaderError
from qwenvl.data.synth.run import Tally, make
from tests.data.synth.pdfs import PdfPage, pdf, text_at
from tests.data.warcs import warc_record

GOOD = PdfPage(text_at(60, 200, "A line of text that is long enough to pass"))
SHORT = PdfPage(text_at(60, 200, "short"))
ENDLESS = PdfPage(b"0 0 m 400 300 l 20 100 300 2 1 5 c S\n" * 1_000_000, compress=True)


@pytest.fixture
def reader() -> Iterator[PdfReader]:
    made = PdfReader(PageLimits(long_side=200, min_height=1), 0.4)
    yield made
    made.close()


def read(reader: PdfReader, content: bytes, most: int = 100) -> list[str]:
    return [found if isinstance(found, str) else "page" for _, found in reader.pages(content, most)]


def test_a_page_that_hangs_loses_itself_alone(reader: PdfReader) -> None:
    assert read(reader, pdf([GOOD, ENDLESS, SHORT, GOOD])) == ["page", HUNG, "too little text", "page"]
    assert read(reader, pdf([GOOD])) == ["page"]


def test_a_document_that_hangs_and_hangs_is_given_up(reader: PdfReader) -> None:
    assert read(reader, pdf([ENDLESS] * 3 + [GOOD] * 2)) == [HUNG] * 3 + [GIVEN_UP] * 2


def test_a_crash_loses_one_page() -> None:
    """The process is killed while it is in the midst of the second page."""
    reader = PdfReader(PageLimits(long_side=200, min_height=1), 60)
    found = []
    for number, page in reader.pages(pdf([GOOD, ENDLESS, GOOD]), 100):
        found.append(page if isinstance(page, str) else "page")
        if number == 0:
            assert reader._process is not None
            reader._process.kill()
    reader.close()
    assert found == ["page", CRASHED, "page"]


def test_documents_that_are_none(reader: PdfReader) -> None:
    for content, why in ((b"", "damaged or no PDF"), (pdf([GOOD])[:400], "damaged or no PDF")):
        with pytest.raises(PageError) as error:
            read(reader, content)
        assert error.value.why == why
    assert read(reader, pdf([GOOD])) == ["page"]


def test_long_documents_end_where_asked(reader: PdfReader) -> None:
    assert read(reader, pdf([GOOD] * 5), most=3) == ["page"] * 3 + [BEYOND]
    assert read(reader, pdf([GOOD] * 3), most=3) == ["page"] * 3


def test_a_reader_that_was_left_in_the_midst_reads_the_next_document(reader: PdfReader) -> None:
    for _ in reader.pages(pdf([GOOD] * 5), 100):
        break
    assert read(reader, pdf([SHORT])) == ["too little text"]


def test_a_fresh_process_after_many_documents(reader: PdfReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_reader, "_DOCUMENTS", 2)
    seen = []
    for _ in range(4):
        assert read(reader, pdf([GOOD])) == ["page"]
        assert reader._process is not None
        seen.append(reader._process.pid)
    assert seen[0] == seen[1] != seen[2] == seen[3]


@pytest.mark.skipif(not shutil.which("false"), reason="no program that fails")
def test_a_process_that_can_not_start_is_told(reader: PdfReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(ReaderError, match="can not be started"):
        read(reader, pdf([GOOD]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sound, encrypted, cut and packed files, and an archive."""
    made = tmp_path / "in"
    (made / "sub").mkdir(parents=True)
    (made / "a.pdf").write_bytes(pdf([GOOD, SHORT, GOOD]))
    (made / "b.PDF").write_bytes(pdf([GOOD])[:300])
    (made / "sub" / "c.pdf.gz").write_bytes(gzip.compress(pdf([GOOD])))
    (made / "sub" / "d.pdf.gz").write_bytes(b"not packed")
    (made / ".hidden.pdf").write_bytes(pdf([GOOD]))
    (made / "notes.txt").write_text("no PDF")
    return made


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_folder_becomes_shards_and_all_is_counted(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = make(PdfPages(), units([str(folder)]), out, workers=1, quiet=True)
    assert made.rows == 3
    assert made.counted == {"documents": 3, "lines": 3, "pages seen": 4}
    assert made.dropped == {"document: damaged or no PDF": 1, "file: damaged": 1, "page: too little text": 1}
    records = list(ShardReader(out).read_shard(0))
    assert [record.id for record in records] == ["in/a.pdf#page=1", "in/a.pdf#page=3", "in/sub/c.pdf.gz#page=1"]
    assert records[1].meta == {"document": "in/a.pdf", "page": 3}
    assert records[0].lines[0].text == "A line of text that is long enough to pass"
    assert records[0].images[0].pil().size == (1000, 750)
    assert (out / "contact.png").exists()


def test_same_bytes_whatever_the_workers(folder: Path, tmp_path: Path) -> None:
    work = list_documents([str(folder)], (".pdf",), each=1)
    assert len(work) == 4
    for workers in (1, 2):
        make(PdfPages(), work, tmp_path / str(workers), workers=workers, quiet=True)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


def test_archives(tmp_path: Path) -> None:
    pytest.importorskip("fastwarc")
    records = [
        warc_record("https://a.example/one.pdf", pdf([GOOD])),
        warc_record("https://a.example/", b"<p>page", "text/html"),
        warc_record("https://a.example/two.pdf", pdf([GOOD, GOOD])),
    ]
    path = tmp_path / "x.warc.gz"
    path.write_bytes(b"".join(map(gzip.compress, records))[:-30])
    tally = Tally()
    (unit,) = units([str(path)])
    found = list(PdfPages().records(unit, tally))
    assert [record.id for record in found] == ["x.warc.gz/0#page=1"]
    assert found[0].meta == {"document": "x.warc.gz/0", "page": 1, "url": "https://a.example/one.pdf"}
    assert tally.dropped == {"archive: other content type": 1, "archive: cut off by the archive's end": 1}


def test_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf([GOOD]))
    (tmp_path / "b.pdf.gz").write_bytes(gzip.compress(bytes(1 << 20)))
    tally = Tally()
    work = units([str(tmp_path)])
    assert list(PdfPages(max_bytes=500).records(work[0], tally)) == []
    assert tally.dropped == {"file: too large": 2}


def test_units_of_an_input(folder: Path) -> None:
    (folder / "sub" / "e.warc").touch()
    own = Documents(str(folder), ("a.pdf", "b.PDF", "sub/c.pdf.gz", "sub/d.pdf.gz"))
    assert units([str(folder)]) == [own, Documents(f"{folder}/sub/e.warc")]
    assert units([f"{folder}/*.pdf"]) == [Documents(str(folder), ("a.pdf",))]
    named = [f"{folder}/{name}" for name in ("a.pdf", "notes.txt", "sub/c.pdf.gz")]
    assert units(named) == [Documents(str(folder), ("a.pdf", "notes.txt")), Documents(f"{folder}/sub", ("c.pdf.gz",))]
    with pytest.raises(DataError, match=r"no file there that ends in \.pdf"):
        units([f"{folder}/*.txt"])
    with pytest.raises(DataError, match="no such file"):
        units([f"{folder}/none.pdf"])


def test_the_verb(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    line = ["synth", "pdf", str(folder), "--out", str(out), "--workers", "1"]
    assert main([*line, "--long-side", "400"]) == 0
    said = capsys.readouterr().out
    assert "3 pages in" in said and "dropped 1: document: damaged or no PDF" in said
    assert main(line) == 2
    assert "long_side: 400 there, 1000 now" in capsys.readouterr().err
