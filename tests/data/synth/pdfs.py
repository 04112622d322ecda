"""Makes PDFs for tests, byte by byte: text at known places, and files that are broken or hostile."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HELVETICA = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"


@dataclass(frozen=True)
class PdfPage:
    """A page: its content operators, its boxes in points, the quarters it is turned by (in degrees), more entries."""

    content: str | bytes
    media: Sequence[float] = (0, 0, 400, 300)
    crop: Sequence[float] | None = None
    rotate: int = 0
    more: str = ""
    fonts: Mapping[str, str] = field(default_factory=lambda: {"F1": HELVETICA})
    compress: bool = False


def text_at(x: float, y: float, text: str, size: float = 14, matrix: str = "1 0 0 1", more: str = "") -> str:
    """Operators that set a line of text with its baseline at (x, y)."""
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /F1 {size} Tf {more} {matrix} {x} {y} Tm ({escaped}) Tj ET\n"


def pdf(pages: Sequence[PdfPage], objects: Sequence[bytes] = (), trailer: str = "") -> bytes:
    """A PDF of these pages. `objects` follow those of the pages: with p pages they are numbered from 3 + 2·p on."""
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    bodies = [b"<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode()]
    for number, page in enumerate(pages):
        crop = f"/CropBox [{_numbers(page.crop)}]" if page.crop else ""
        fonts = " ".join(f"/{name} {font}" for name, font in page.fonts.items())
        bodies.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [{_numbers(page.media)}] {crop} /Rotate {page.rotate} "
            f"/Resources << /Font << {fonts} >> {page.more} >> /Contents {4 + 2 * number} 0 R >>".encode()
        )
        content = page.content.encode("cp1252") if isinstance(page.content, str) else page.content
        packed = zlib.compress(content) if page.compress else content
        bodies.append(stream(packed, "/Filter /FlateDecode" if page.compress else ""))
    return assemble([*bodies, *objects], trailer)


def stream(content: bytes, entries: str = "") -> bytes:
    """A stream object."""
    return f"<< /Length {len(content)} {entries} >>\nstream\n".encode() + content + b"\nendstream"


def assemble(bodies: Sequence[bytes], trailer: str = "") -> bytes:
    """A file of objects 1, 2, …, of which the first is the catalogue."""
    made = b"%PDF-1.7\n"
    places = []
    for number, body in enumerate(bodies, 1):
        places.append(len(made))
        made += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(bodies) + 1
    return (
        made
        + (
            f"xref\n0 {size}\n0000000000 65535 f \n{table}"
            f"trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{len(made)}\n%%EOF\n"
        ).encode()
    )


def _numbers(values: Sequence[float] | None) -> str:
    return " ".join(map(str, values or ()))
