"""Image–text pairs as crawlers leave them: WebDataset tars, Parquet, JSON lines and a folder, Hugging Face sets."""

from qwenvl.data.sources.pairs.listing import list_units
from qwenvl.data.sources.pairs.read import read_unit
from qwenvl.data.sources.pairs.unit import BadPair, Columns, Unit

__all__ = ["BadPair", "Columns", "Unit", "list_units", "read_unit"]
