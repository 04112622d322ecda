"""Whole cleaning runs: nothing lost, nothing doubled, one bad pair costs one pair, whatever the form of the input."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("duckdb")

from qwenvl.cli import main  # noqa: E402
from qwenvl.data.clean.judge import FAILED  # noqa: E402
from qwenvl.data.clean.layout import RunError  # noqa: E402
from qwenvl.data.clean.recipe import load_clean_recipe  # noqa: E402
from qwenvl.data.clean.run import clean  # noqa: E402
from qwenvl.data.engine import StopRun  # noqa: E402
from qwenvl.data.images import load_image  # noqa: E402
from qwenvl.data.shards import ShardError, ShardReader  # noqa: E402
from tests.data.clean.crawl import (  # noqa: E402
    RECIPE,
    SETWIDE,
    caption,
    rows,
    tree,
    write_jsonl,
    write_parquet,
    write_recipe,
    write_tars,
)

OWN = "name: own\nrules:\n  - tests.data.clean.odd_rules.{}\n"
EXPECTED = {3: "decodable", 5: "aspect_ratio", 7: "reading", 11: "words", 15: "emoji"}
"""By the number within twenty: the rule that drops the pair."""


def run(source: Path, out: Path, recipe: str = RECIPE, **options: Any) -> Any:
    return clean(str(source), out, load_clean_recipe(write_recipe(out.parent, recipe)), quiet=True, **options)


def dropped(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "dropped").iterdir()) for row in pq.read_table(path).to_pylist()]


def kept(out: Path) -> list[Any]:
    reader = ShardReader(out)
    reader.verify()
    return [record for number in range(len(reader.shards)) for record in reader.read_shard(number)]


@pytest.mark.parametrize("form", ["tar", "parquet", "jsonl"])
def test_one_bad_pair_costs_one_pair_and_is_told(tmp_path: Path, form: str) -> None:
    source = tmp_path / "set"
    if form == "tar":
        write_tars(source, 2, 50)
    elif form == "parquet":
        write_parquet(source, 2, 50)
    else:
        write_jsonl(source, 100)
    found = run(source, tmp_path / "out", workers=2)
    records, gone = kept(tmp_path / "out"), dropped(tmp_path / "out")
    number = {row["key"]: int(row["key"]) for row in rows(100)}
    assert {number[row["id"].rpartition("/")[2]]: row["rule"] for row in gone} == {
        n: EXPECTED[n % 20] for n in range(100) if n % 20 in EXPECTED
    }
    assert [number[r.id.rpartition("/")[2]] for r in records] == [n for n in range(100) if n % 20 not in EXPECTED]
    assert all(row["why"] and row["value"] is not None for row in gone if row["rule"] != "words")
    assert (found.read, found.kept, found.dropped) == (100, len(records), len(gone)) == (100, 75, 25)
    for record in records:
        n = number[record.id.rpartition("/")[2]]
        assert record.captions[0].text == caption(n) + (" & more" if n % 20 == 13 else "")
        assert record.images[0].source == rows(1, n)[0]["jpg"]
        assert (record.images[0].width, record.images[0].height) == (48, 40)
    assert found.sources["set"].changed == 5


def test_the_ledger_holds_what_each_rule_measured(tmp_path: Path) -> None:
    run(write_tars(tmp_path / "set", 1, 40), tmp_path / "out", SETWIDE)
    table = pq.read_table(tmp_path / "out" / "pass1" / "00000.ledger.parquet").to_pylist()
    assert [row["row"] for row in table] == list(range(40))
    good, dirty, emoji, bad = table[0], table[13], table[15], table[5]
    assert good["kept"] and good["caption"] == caption(0) and good["original"] is None and good["changed"] == []
    assert (good["width"], good["height"], good["m_size"], good["m_aspect_ratio"]) == (48, 40, 40.0, 1.2)
    assert (good["m_words"], good["w_decodable"], good["url"]) == (len(caption(0).split()), "True", "http://host/0.jpg")
    assert good["digest"] and good["phash"] is None
    assert dirty["original"] == caption(13) + " &amp; more IMG_1234.jpg" and dirty["changed"] == ["html", "patterns"]
    assert (emoji["kept"], emoji["rule"], emoji["value"], emoji["m_words"]) == (False, "emoji", "1", None)
    assert (bad["rule"], bad["why"], bad["width"]) == ("aspect_ratio", "undecodable", None)


def test_rules_on_the_whole_set_take_from_every_unit(tmp_path: Path) -> None:
    # number 8, 17, 26, … has the picture of the one before, also across the border of units
    found = run(write_tars(tmp_path / "set", 4, 18), tmp_path / "out", SETWIDE, workers=2)
    copies = [n for n in range(72) if n % 9 == 8 and n % 20 not in EXPECTED and (n - 1) % 20 not in EXPECTED]
    gone = [row for row in dropped(tmp_path / "out") if row["rule"] == "exact_duplicates"]
    assert [int(row["id"].rpartition("/")[2]) for row in gone] == copies
    assert [int(row["winner"].rpartition("/")[2]) for row in gone] == [n - 1 for n in copies]
    assert all(row["caption"] for row in gone)
    assert found.sources["set"].dropped["exact_duplicates"] == {"same bytes as another image": len(copies)}
    assert not set(copies) & {int(record.id.rpartition("/")[2]) for record in kept(tmp_path / "out")}
    assert found.kept == len(kept(tmp_path / "out")) and found.kept + found.dropped == 72
    assert not list((tmp_path / "out" / "pass1").glob("[0-9]" * 5 + ".parquet"))


def test_the_output_is_the_same_whatever_the_number_of_workers(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "set", 5, 30)
    trees = []
    for workers in (1, 3):
        run(source, tmp_path / str(workers), SETWIDE, workers=workers)
        trees.append(tree(tmp_path / str(workers)))
    assert trees[0] == trees[1]
    assert {name for name in trees[0] if "/" not in name} >= {
        "manifest.json",
        "report.html",
        "run.json",
        "00004.parquet",
    }


def test_a_unit_of_which_nothing_stays_has_its_files(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "set", 2, 5)
    found = run(source, tmp_path / "out", RECIPE.replace("min: 32", "min: 1000"))
    assert (found.read, found.kept) == (10, 0) and len(ShardReader(tmp_path / "out")) == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*.parquet")) == ["00000.parquet", "00001.parquet"]
    assert len(dropped(tmp_path / "out")) == 10


def test_a_truncated_shard_gives_what_is_whole_and_tells_the_rest(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "set", 2, 20)
    whole = (source / "00000.tar").read_bytes()
    (source / "00000.tar").write_bytes(whole[: len(whole) // 2])
    found = run(source, tmp_path / "out")
    assert found.sources["set"].dropped["reading"]["truncated shard"] >= 1
    assert found.kept + found.dropped == found.read and 25 < found.read < 41
    assert len([r for r in kept(tmp_path / "out") if "/00001/" in r.id]) == 15


def test_a_rule_that_trips_over_a_pair_costs_that_pair(tmp_path: Path) -> None:
    source = write_parquet(tmp_path / "set", 1, 60)
    for name in ("Naive", "NaiveBatch"):
        found = run(source, tmp_path / name, OWN.format(name))
        rule = name.lower().replace("batch", "_batch")
        assert found.sources["set"].dropped[rule][FAILED] == 3  # 11, 31, 51 have no caption
        told = [row["value"] for row in dropped(tmp_path / name) if row["why"] == FAILED]
        assert told == ["TypeError: object of type 'NoneType' has no len()"] * 3


def test_a_rule_that_never_works_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(StopRun, match=r"the rule faulty failed on \d+ of \d+ pairs.*no attribute 'sise'"):
        run(write_parquet(tmp_path / "set", 1, 60), tmp_path / "out", OWN.format("Faulty"))
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_odd_numbers_and_changes_are_kept_apart(tmp_path: Path) -> None:
    run(write_parquet(tmp_path / "set", 1, 4), tmp_path / "out", OWN.format("Shouting"))
    (first, *_) = pq.read_table(tmp_path / "out" / "pass1" / "00000.ledger.parquet").to_pylist()
    assert first["m_shouting"] is None and first["caption"] == caption(0).upper() and first["original"] == caption(0)
    assert kept(tmp_path / "out")[0].captions[0].text == caption(0).upper()


def test_the_same_command_again_does_nothing_and_another_one_is_refused(tmp_path: Path) -> None:
    source, out = write_tars(tmp_path / "set", 2, 10), tmp_path / "out"
    run(source, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert run(source, out).read == 20
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(RunError, match=r"another recipe \(rules.1.size.min: 32.0 there, 31.0 now\).*--fresh"):
        run(source, out, RECIPE.replace("min: 32", "min: 31"))
    with pytest.raises(RunError, match="another input"):
        run(write_tars(tmp_path / "other", 1, 10), out)
    assert run(tmp_path / "other", out, fresh=True).read == 10
    assert len(list(out.glob("*.parquet"))) == 1


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "set", 1, 3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for fresh in (False, True):
        with pytest.raises(RunError, match=r"not empty \(thesis.txt\), and no cleaning run"):
            run(source, tmp_path / "mine", fresh=fresh)
    assert tree(tmp_path / "mine") == {"thesis.txt": b"years of work"}
    with pytest.raises(RunError, match="lies within the input"):
        run(source, source / "clean")


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    import fcntl

    source, out = write_tars(tmp_path / "set", 1, 3), tmp_path / "out"
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(RunError, match="another run is at work"):
        run(source, out)
    os.close(handle)
    assert run(source, out).read == 3


def test_the_command_prints_the_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, recipe = write_tars(tmp_path / "set", 2, 20), write_recipe(tmp_path)
    command = ["data", "clean", str(source), str(tmp_path / "out"), "--recipe", str(recipe)]
    assert main([*command, "--workers", "2", "words.min=4", "emoji=null"]) == 0
    told = capsys.readouterr().out
    assert "32 kept + 8 dropped = 40 read" in told and "emoji" not in told
    assert main([*command]) == 2
    assert "holds a run of another recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--recipe", "pretrian"], "did you mean 'pretrain'"),
        (["aspct_ratio.max=3"], "did you mean 'aspect_ratio'"),
        (["--column", "text=TEXT"], "expected one of image, caption, key, url"),
        (["--ray-address", "auto"], "is for --engine ray"),
        (["nowhere.Rule={}"], "there is no rule 'nowhere'"),
    ],
)
def test_what_can_not_be_run_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    source = write_tars(tmp_path / "set", 1, 3)
    assert main(["data", "clean", str(source), str(tmp_path / "out"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_half_and_the_run_goes_on_later(tmp_path: Path) -> None:
    source = write_tars(tmp_path / "set", 3, 60)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can not be mounted here")
    try:
        recipe = load_clean_recipe(write_recipe(tmp_path, SETWIDE))
        with pytest.raises(OSError, match=r"the disk is full.*run the same command again"):
            clean(str(source), small / "out", recipe, workers=1, quiet=True)
        for path in small.rglob("*.parquet"):
            pq.read_metadata(path)
        for path in small.rglob("*.json"):
            json.loads(path.read_text())
        assert not list(small.rglob("*.draft"))
        with pytest.raises(ShardError):
            ShardReader(small / "out")
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        clean(str(source), small / "out", recipe, workers=1, quiet=True)
        clean(str(source), tmp_path / "out", recipe, quiet=True)
        assert tree(small / "out") == tree(tmp_path / "out")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_datasets_reads_the_kept_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    run(write_tars(tmp_path / "set", 2, 20), tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == 30 and found[0]["caption"] == caption(0) and found[0]["images"][0].size == (48, 40)
    assert load_image(rows(1)[0]["jpg"]).width == 48
