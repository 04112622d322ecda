"""docs/cleaning.md does what it says: the rule of one's own, the SQL over the ledgers, the files of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

duckdb = pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from qwenvl.data.clean.recipe import load_clean_recipe  # noqa: E402
from qwenvl.data.clean.run import clean  # noqa: E402
from tests.data.clean.crawl import tree, write_tars  # noqa: E402

PAGE = Path(__file__).parents[3] / "docs" / "cleaning.md"


def block(language: str) -> str:
    """The page's piece of code in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(block("python"))
    (tmp_path / "mine.yaml").write_text(block("yaml").replace("{min: 200}", "{min: 20}"))
    monkeypatch.syspath_prepend(tmp_path)
    write_tars(tmp_path / "web", 1, 20)
    recipe = load_clean_recipe(tmp_path / "mine.yaml", ["my_rules.Shouting.max=-1"])
    clean(str(tmp_path / "web"), tmp_path / "out", recipe, workers=1, quiet=True)
    monkeypatch.chdir(tmp_path)
    query = block("sql").replace("clip_score", "shouting").replace("0.27", "0")
    assert duckdb.sql(query).fetchall() == [("web", 1.0)]
    named = set(re.findall(r"`((?:\w+/)?[\w.]+\.(?:parquet|json|html))`", PAGE.read_text(encoding="utf-8")))
    made = {name for name in tree(tmp_path / "out") if not name.startswith("pass1/0") or "ledger" in name}
    assert named == made - {"README.md"}
