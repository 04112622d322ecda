"""A page of a PDF: boxes around the ink however it is turned, lines as a reader sees them, filters by reason."""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess
import unicodedata
from html import unescape
from pathlib import Path
from re import findall, search

import numpy as np
import pytest

pytest.importorskip("pypdfium2")

from PIL import Image as PILImage

from qwenvl.data.synth.pages import PageError
from qwenvl.data.synth.pdf_page import Page, PageLimits, open_pdf, read_page
from qwenvl.data.synth.pdf_text import normal
from tests.data.synth.pdfs import HELVETICA, PdfPage, pdf, stream, text_at

GOOD = text_at(60, 200, "A line of text that is long enough to pass")
ANY = PageLimits(long_side=800, min_text=1)


def read(*pages: PdfPage, limits: PageLimits = ANY) -> Page:
    return read_page(open_pdf(pdf(pages)), 0, limits)


def texts(content: str) -> list[str]:
    return [line.text for line in read(PdfPage(content)).lines]


def picture(page: Page) -> PILImage.Image:
    return PILImage.open(io.BytesIO(page.jpeg)).convert("L")


def ink(image: PILImage.Image) -> tuple[int, int, int, int]:
    found = image.point(lambda value: 255 * (value < 128)).getbbox()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rotate", "crop", "media"),
    [
        *itertools.product((0, 90, 180, 270), (None, (30, 40, 380, 290)), ((0, 0, 400, 300),)),
        (90, None, (-50, -20, 350, 280)),
        (270, (0, 0, 5000, 260), (0, 0, 400, 300)),
    ],
)
def test_boxes_fit_the_ink(rotate: int, crop: tuple[int, ...] | None, media: tuple[int, ...]) -> None:
    page = read(PdfPage(text_at(60, 200, "Hxpqfl", 40), media, crop, rotate))
    assert max(page.width, page.height) == 800
    (line,) = page.lines
    xs, ys = zip(*line.quad.points, strict=True)
    around = (min(xs), min(ys), max(xs), max(ys))
    assert all(abs(a - b) <= 1.5 for a, b in zip(around, ink(picture(page)), strict=True))


def upright(page: Page, size: tuple[int, int]) -> np.ndarray:
    """What stands in the only line's quad, warped so that its first corner is the top left."""
    (line,) = page.lines
    a, _, c, d = [np.array(corner) for corner in line.quad.points]
    b = np.array(line.quad.points[1])
    assert np.allclose(b - a, c - d, atol=0.1)
    across, down = (b - a) / size[0], (d - a) / size[1]
    affine = (across[0], down[0], a[0], across[1], down[1], a[1])
    return np.asarray(picture(page).transform(size, PILImage.Transform.AFFINE, affine, PILImage.Resampling.BILINEAR))


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
@pytest.mark.parametrize("matrix", ["1 0 0 1", "0 1 -1 0", "-1 0 0 -1", "0 -1 1 0"])
def test_quads_read_the_line_back(rotate: int, matrix: str) -> None:
    """The quad begins at the text's own top left, on turned pages and for turned text."""
    plain = upright(read(PdfPage(text_at(200, 150, "Fly 7L", 30))), (240, 60)).astype(float)
    turned = upright(read(PdfPage(text_at(200, 150, "Fly 7L", 30, matrix), rotate=rotate)), (240, 60)).astype(float)
    assert np.corrcoef(plain.ravel(), turned.ravel())[0, 1] > 0.9


def test_parts_that_are_far_apart_are_lines_of_their_own() -> None:
    row = text_at(40, 200, "Name") + text_at(180, 200, "Weight") + text_at(300, 200, "42.5 kg")
    assert texts(row) == ["Name", "Weight", "42.5 kg"]


def test_a_row_that_was_set_in_parts_is_one_line() -> None:
    """Within a line the second part goes back to the left for PDFium: an index with links."""
    assert texts("BT /F1 12 Tf 40 200 Td (newcommand) Tj ET 1 0 0 rg " + text_at(105, 200, ", 95", 12)) == [
        "newcommand, 95"
    ]


def test_a_broken_word_is_two_lines() -> None:
    content = text_at(40, 200, "this is an exam-") + text_at(40, 184, "ple of a broken word")
    assert texts(content) == ["this is an exam-", "ple of a broken word"]


def test_leaders_are_left_out() -> None:
    found = texts(text_at(40, 200, "Contents of it . . . . . . . . . . . 76") + text_at(40, 180, "and so on...... 7"))
    assert found == ["Contents of it", "76", "and so on", "7"]
    assert texts(text_at(40, 200, "well... this stays")) == ["well... this stays"]


def test_text_as_one_would_type_it() -> None:
    assert normal("ﬁnd ﬂoors，ＡＢ１２。") == "find floors，AB12。"
    assert normal("⽂⼈ e\u0301  x") == "文人 é x"
    assert normal("\ud835\udf00") == "\U0001d700"


SONG = (
    "<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light /Encoding /UniGB-UCS2-H /DescendantFonts [<< /Type /Font "
    "/Subtype /CIDFontType0 /BaseFont /STSong-Light /CIDSystemInfo << /Registry (Adobe) /Ordering (GB1) /Supplement 2 "
    ">> /FontDescriptor << /Type /FontDescriptor /FontName /STSong-Light /Flags 4 /FontBBox [-25 -254 1000 880] "
    "/ItalicAngle 0 /Ascent 880 /Descent -120 /CapHeight 880 /StemV 93 >> >>] >>"
)
CHINESE = "中文".encode("utf-16-be").hex()


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (PdfPage(GOOD, (0, 0, 100, 301)), "too long a page"),
        (PdfPage(GOOD, (0, 0, 2e6, 2e6)), "page without a size"),
        (PdfPage(text_at(60, 200, "short")), "too little text"),
        (PdfPage("0 0 0 rg 0 0 400 300 re f " + GOOD), "too little text"),
        (
            PdfPage("".join(text_at(10, 10 + 3 * row, f"{row:03d} " + "x" * 50, 3) for row in range(90))),
            "too much text",
        ),
        (
            PdfPage("".join(text_at(10, 10 + 3 * row, f"{row:03d} " + "x" * 99, 2) for row in range(90))),
            "too much text",
        ),
        (PdfPage(text_at(60, 200, "all of this is too small for anybody to read", 1)), "text too small to read"),
        (
            PdfPage(text_at(300, 200, "this text goes on behind the edge of the page")),
            "text cut off by the page's edge",
        ),
        (PdfPage(text_at(60, 100, "this text climbs over the page", matrix="0.9 0.3 -0.3 0.9")), "slanted text"),
        (PdfPage(text_at(60, 200, "this text was read by a scanner", more="3 Tr")), "hidden text, as of a scan"),
        (
            PdfPage(GOOD + f"BT /F2 14 Tf 60 100 Td <{CHINESE}> Tj ET", fonts={"F1": HELVETICA, "F2": SONG}),
            "Chinese in a font that is not embedded",
        ),
    ],
)
def test_filters_say_why(page: PdfPage, why: str) -> None:
    limits = PageLimits(max_text=4000)
    with pytest.raises(PageError) as error:
        read(page, limits=limits)
    assert error.value.why == why
    assert len(read(PdfPage(GOOD), limits=limits).lines) == 1


@pytest.mark.parametrize(
    ("character", "why"),
    [
        ("0159", "Latin Extended-A or -B"),
        ("E005", "private-use characters"),
        ("DBC0DC01", "private-use characters"),
        ("0007", "characters without a meaning"),
        ("FFFD", "characters without a meaning"),
        ("D835", "characters without a meaning"),
    ],
)
def test_characters_that_drop_a_page(character: str, why: str) -> None:
    """The document says which character its letter A is."""
    meaning = f"begincmap 1 begincodespacerange <00> <FF> endcodespacerange 1 beginbfchar <41> <{character}> endbfchar"
    font = HELVETICA.replace(">>", "/ToUnicode 5 0 R >>")
    page = PdfPage(GOOD + "BT /F2 14 Tf 60 100 Td (A) Tj ET", fonts={"F1": HELVETICA, "F2": font})
    with pytest.raises(PageError) as error:
        read_page(open_pdf(pdf([page], [stream(meaning.encode())])), 0, PageLimits())
    assert error.value.why == why


def test_covered_text_is_no_line() -> None:
    covered = text_at(60, 100, "nobody sees this") + "1 1 1 rg 40 80 200 40 re f 0 0 0 rg "
    assert texts(covered + GOOD) == ["A line of text that is long enough to pass"]
    yellow = "1 1 0 rg " + GOOD
    assert texts(yellow) == ["A line of text that is long enough to pass"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "damaged or no PDF"),
        (b"%PDF-1.7 and nothing else", "damaged or no PDF"),
        (pdf([PdfPage(GOOD)])[:300], "damaged or no PDF"),
        (
            pdf(
                [PdfPage(GOOD)],
                [b"<< /Filter /Standard /V 1 /R 2 /O <" + b"41" * 32 + b"> /U <" + b"42" * 32 + b"> /P -4 >>"],
                "/Encrypt 5 0 R /ID [<41> <41>]",
            ),
            "encrypted",
        ),
    ],
)
def test_documents_that_can_not_be_read_say_why(content: bytes, why: str) -> None:
    with pytest.raises(PageError) as error:
        open_pdf(content)
    assert error.value.why == why


def test_a_form_is_read_as_the_page_is() -> None:
    form = stream(
        GOOD.encode(), f"/Type /XObject /Subtype /Form /BBox [0 0 400 300] /Resources << /Font << /F1 {HELVETICA} >> >>"
    )
    content = pdf([PdfPage("q 0.5 0 0 0.5 20 30 cm /X Do Q", more="/XObject << /X 5 0 R >>")], [form])
    page = read_page(open_pdf(content), 0, ANY)
    xs, ys = zip(*page.lines[0].quad.points, strict=True)
    assert all(abs(a - b) <= 1.5 for a, b in zip((min(xs), min(ys), max(xs), max(ys)), ink(picture(page)), strict=True))


REAL = [
    path for folder in ("/usr/share/doc", "/usr/share/debian-reference") for path in sorted(Path(folder).rglob("*.pdf"))
]


@pytest.mark.skipif(not REAL, reason="no PDF documentation installed")
@pytest.mark.skipif(not shutil.which("pdftotext"), reason="poppler-utils is not installed")
@pytest.mark.parametrize("path", REAL[:4], ids=lambda path: path.name)
def test_agrees_with_another_reader(path: Path) -> None:
    """The words of poppler stand in the lines whose boxes hold their middles."""
    document = open_pdf(str(path))
    total = right = 0
    for number in range(1, len(document), max(1, len(document) // 4)):
        try:
            page = read_page(document, number, PageLimits())
        except PageError:
            continue
        command = ["pdftotext", "-bbox", "-f", str(number + 1), "-l", str(number + 1), str(path), "-"]
        out = subprocess.run(command, capture_output=True, check=True).stdout.decode(errors="replace")
        size = search(r'<page width="([\d.]+)" height="([\d.]+)"', out)
        assert size is not None
        across, down = page.width / float(size[1]), page.height / float(size[2])
        pattern = r'<word xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*?)</word>'
        for x0, y0, x1, y1, word in findall(pattern, out):
            plain = _plain(unescape(word))
            if not plain.strip(".·"):
                continue
            x, y = (float(x0) + float(x1)) / 2 * across, (float(y0) + float(y1)) / 2 * down
            total += 1
            right += any(plain in _plain(line.text) for line in page.lines if _holds(line.quad.points, x, y))
    assert total == 0 or right / total > 0.97


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).split())


def _holds(points: tuple[tuple[float, float], ...], x: float, y: float) -> bool:
    xs, ys = zip(*points, strict=True)
    return min(xs) - 1 <= x <= max(xs) + 1 and min(ys) - 2 <= y <= max(ys) + 2
