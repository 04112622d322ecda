"""A run looked at afterwards: what explain says, the page of pictures, the sample of a dry run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

from qwenvl.cli import main
from qwenvl.data.clean.dry_run import dry_run, sample
from qwenvl.data.clean.explain import explain
from qwenvl.data.clean.gallery import write_pictures
from qwenvl.data.clean.past import PastError, PastRun, open_run
from qwenvl.data.clean.recipe import load_clean_recipe
from qwenvl.data.clean.run import clean
from qwenvl.data.sources.pairs import Columns, list_units
from tests.data.clean.crawl import SETWIDE, tree, write_recipe, write_tars

OWN = SETWIDE + "  - longest_caption: {}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars of twenty pairs, cleaned."""
    folder = tmp_path_factory.mktemp("explain")
    write_tars(folder / "web", 3, 20)
    recipe = load_clean_recipe(write_recipe(folder, OWN))
    clean(str(folder / "web"), folder / "out", recipe, workers=1, quiet=True)
    return folder


@pytest.fixture
def run(folder: Path) -> PastRun:
    return open_run(folder / "out")


def lines(run: PastRun, key: int) -> dict[str, str]:
    """The first word of each line → the line."""
    text = explain(run, f"web/{key // 20:05d}/{key:06d}")
    return {line.split()[0]: line for line in text.splitlines() if line}


def test_every_rule_is_asked_and_the_one_that_dropped_it_is_marked(run: PastRun) -> None:
    found = lines(run, 15)
    assert "drops: emoji   ← dropped here" in found["emoji"] and "max 0" in found["emoji"]
    assert found["words"].endswith("keeps") and found["decodable"].endswith("keeps")
    assert "not asked" in found["exact_duplicates"]
    assert found["In"] == "In the run: dropped by emoji: emoji (1)"


def test_rules_behind_the_one_that_dropped_it_are_asked_on(run: PastRun) -> None:
    found = lines(run, 5)  # no picture at all
    assert "← dropped here" in found["aspect_ratio"]
    for rule in ("size", "decodable"):
        assert "drops: undecodable" in found[rule] and "←" not in found[rule]
    assert found["words"].endswith("keeps")


def test_a_changed_caption_is_told(run: PastRun) -> None:
    found = lines(run, 33)
    assert "changes the caption to" in found["html"] and "& more" in found["html"]
    assert "changed by html" in found["In"]


def test_a_duplicate_names_the_pair_that_stays_and_that_one_its_duplicate(run: PastRun) -> None:
    found = lines(run, 17)
    assert "web/00000/000016 stays   ← dropped here" in found["exact_duplicates"]
    assert "not asked" in found["longest_caption"]
    winner = explain(run, "web/00000/000016")
    assert "stays in the place of 1" in winner and "web/00000/000017 (exact_duplicates)" in winner


def test_what_could_not_be_read(run: PastRun) -> None:
    text = explain(run, "web/00000/000007")
    assert "can not be read: empty picture" in text and "In the run: could not be read" in text


def test_every_outcome_is_the_runs(run: PastRun) -> None:
    for unit in run.units:
        late = run.set_drops(unit.number)
        for row, entry in enumerate(run.ledger(unit.number).to_pylist()):
            text = explain(run, entry["id"])
            rule = entry["rule"] or late.get(row, {}).get("rule")
            expected = (
                "In the run: kept" if rule is None else f"dropped by {rule}" if rule != "reading" else "not be read"
            )
            assert expected in text
            assert text.count("← dropped here") == (rule not in (None, "reading"))


@pytest.mark.parametrize("id", ["", "nope", "web/00001/nope", "web/00009/000001", "web/00001/000001/x", "\x1b[2J"])
def test_an_id_that_is_not_there_is_said_with_an_example(run: PastRun, id: str) -> None:
    with pytest.raises(PastError, match=r"no pair .*; ids are source/unit/key, such as 'web/0000[01]/0000"):
        explain(run, id)


def test_controls_of_a_crawled_caption_do_not_reach_the_terminal(tmp_path: Path) -> None:
    import json

    from tests.data.clean.crawl import write_jsonl

    write_jsonl(tmp_path / "in", 1)
    row = json.loads((tmp_path / "in" / "rows.jsonl").read_text())
    row["caption"] = "a red cat\x1b[2J\non \x9bthe mat"
    (tmp_path / "in" / "rows.jsonl").write_text(json.dumps(row))
    clean(str(tmp_path / "in"), tmp_path / "out", load_clean_recipe(write_recipe(tmp_path)), workers=1, quiet=True)
    text = explain(open_run(tmp_path / "out"), "in/rows/000000")
    assert "a red cat" in text and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)


def test_an_input_that_changed_is_said(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "web", tmp_path / "web")
    out = tmp_path / "out"
    clean(str(tmp_path / "web"), out, load_clean_recipe(write_recipe(tmp_path, OWN)), workers=1, quiet=True)
    before = tree(out)["pictures.html"]
    assert write_pictures(open_run(out)).read_bytes() == before  # the same run, the same page
    write_tars(tmp_path / "web", 1, 3)
    with pytest.raises(PastError, match="the input changed since the run"):
        explain(open_run(out), "web/00000/000015")
    shutil.rmtree(tmp_path / "web")
    with pytest.raises(OSError, match=r"00000\.tar"):
        explain(open_run(out), "web/00000/000015")
    assert "can not be read any more" in write_pictures(open_run(out)).read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", None, "no cleaning run"),
        ("run.json", "{", "damaged"),
        ("run.json", "[]", "damaged"),
        ("run.json", '{"format": "later"}', "another version"),
        ("units.json", "[{}]", "damaged"),
    ],
)
def test_a_folder_that_holds_no_whole_run_is_said(
    folder: Path, tmp_path: Path, name: str, content: Any, message: str
) -> None:
    for file in ("run.json", "units.json"):
        shutil.copy(folder / "out" / file, tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(PastError, match=message):
        open_run(tmp_path)


def test_the_page_shows_each_rule_and_escapes_what_was_crawled(run: PastRun, folder: Path) -> None:
    text = (folder / "out" / "pictures.html").read_text(encoding="utf-8")
    for rule in ("reading", "emoji", "html", "exact_duplicates", "kept"):
        assert f"<h2>{rule}</h2>" in text
    assert "&amp;amp; more" in text and "<script" not in text
    assert text.count("data:image/jpeg;base64,") > 20
    assert "stays: web/00000/000016" in text


def test_a_dry_run_samples_all_units_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    units = list_units(str(folder / "web"))
    taken = [(unit.number, seen.id) for unit, block in sample(units, Columns(), 48) for seen in block]
    assert len(taken) == 48 and [sum(unit == n for unit, _ in taken) for n in range(3)] == [16, 16, 16]
    assert len([seen for _, block in sample(units, Columns(), 10_000) for seen in block]) == 60
    assert len([seen for _, block in sample(units, Columns(), 1) for seen in block]) == 1
    recipe = load_clean_recipe(write_recipe(tmp_path, OWN))
    before = tree(folder)
    found, examples = dry_run(units, Columns(), recipe, 48)
    assert found.read == 48 and found.kept + found.dropped == 48
    assert {seen.rule for shown in examples.values() for seen in shown} == set(examples)
    assert tree(folder) == before


def test_the_verbs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(write_recipe(tmp_path, OWN))
    command = ["data", "clean", str(folder / "web"), str(tmp_path / "out"), "--recipe", recipe, "--dry-run", "30"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "= 30 read" in told and "not tried, for they need the whole input: exact_duplicates, longest_caption" in told
    assert not (tmp_path / "out").exists()
    assert main(["data", "explain", str(folder / "out"), "web/00000/000015"]) == 0
    assert "dropped by emoji" in capsys.readouterr().out
    assert main(["data", "explain", str(folder / "out"), "web/x"]) == 2
    assert "no pair 'web/x'" in capsys.readouterr().err
