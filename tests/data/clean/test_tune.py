"""Bars from ledgers: the wanted share is what the proposed bar keeps, counted by hand."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwenvl.cli import main
from qwenvl.data.clean.rules import RULES
from qwenvl.data.clean.tune import TuneError, tune
from qwenvl.typed import from_dict

pa = pytest.importorskip("pyarrow")

Row = tuple[str, bool, str | None, float | None]


def write(folder: Path, rows: list[Row], parts: int = 1, rule: str = "clip_score") -> list[Path]:
    import pyarrow.parquet as pq

    (folder / "pass1").mkdir(parents=True, exist_ok=True)
    paths = []
    for part in range(parts):
        source, kept, by, value = zip(*rows[part::parts], strict=True)
        table = pa.table(
            {
                "source": source,
                "kept": kept,
                "rule": pa.array(by, pa.string()),
                f"m_{rule}": pa.array(value, pa.float64()),
            }
            | {"m_words": ["a"] * len(kept)}
        )
        paths.append(folder / "pass1" / f"{part:05d}.ledger.parquet")
        pq.write_table(table, paths[-1])
    return paths


def scores(source: str, count: int) -> list[Row]:
    return [(source, True, None, n / count) for n in range(count)]


def test_each_source_gets_its_bar(tmp_path: Path) -> None:
    ledgers = write(tmp_path, scores("a", 1000) + scores("b", 500), parts=3)
    first, second = tune(ledgers, "clip_score", {"": 0.21, "b": 0.5})
    assert (first.source, first.bar, first.kept, first.read) == ("a", 0.79, 210, 1000)
    assert (second.source, second.bar, second.kept, second.read) == ("b", 0.5, 250, 500)
    assert [bar.source for bar in tune(ledgers, "clip_score", {"b": 0.5})] == ["b"]


def test_what_other_rules_dropped_does_not_come_back(tmp_path: Path) -> None:
    rows: list[Row] = [("a", n % 2 == 0, None if n % 2 == 0 else "emoji", n / 100) for n in range(100)]
    (bar,) = tune(write(tmp_path, rows), "clip_score", {"": 0.2})
    assert (bar.reach, bar.bar, bar.kept) == (50, 0.6, 20)


def test_what_the_rule_itself_dropped_comes_back(tmp_path: Path) -> None:
    rows: list[Row] = [("a", n >= 80, None if n >= 80 else "clip_score", n / 100) for n in range(100)]
    (bar,) = tune(write(tmp_path, rows), "clip_score", {"": 0.4})
    assert (bar.bar, bar.kept, bar.unjudged) == (0.6, 40, 80)


def test_pairs_without_a_number_stay(tmp_path: Path) -> None:
    rows = scores("a", 80) + [("a", True, None, None), ("a", True, None, float("nan"))] * 10
    (bar,) = tune(write(tmp_path, rows), "clip_score", {"": 0.5})
    assert (bar.unmeasured, bar.kept) == (20, 50)
    (none,) = tune(write(tmp_path, rows), "clip_score", {"": 0.1})
    assert (none.bar, none.kept) == (None, 100)


def test_a_share_that_can_not_be_had(tmp_path: Path) -> None:
    rows: list[Row] = [*scores("a", 10), *[("a", False, "emoji", None)] * 10]
    (bar,) = tune(write(tmp_path, rows), "clip_score", {"": 0.9})
    assert (bar.bar, bar.kept) == (None, 10)


def test_a_largest_number(tmp_path: Path) -> None:
    rows: list[Row] = [("a", True, None, 1 + n / 7) for n in range(100)]
    ledgers = write(tmp_path, rows, rule="aspect_ratio")
    (bar,) = tune(ledgers, "aspect_ratio", {"": 0.25})
    assert bar.side == "max" and bar.kept == 25
    (low,) = tune(ledgers, "aspect_ratio", {"": 0.25}, "min")
    assert low.side == "min" and low.kept == 25


@settings(max_examples=150, deadline=None)
@given(
    numbers=st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.3, 0.29, -0.1, 7.0])), min_size=1, max_size=40
    ),
    share=st.floats(0, 1),
    side=st.sampled_from(["min", "max"]),
)
def test_the_count_is_what_the_rule_keeps(tmp_path_factory, numbers: list[float], share: float, side: str) -> None:
    folder = tmp_path_factory.mktemp("run")
    ledgers = write(folder, [("a", True, None, number) for number in numbers])
    (bar,) = tune(ledgers, "clip_score", {"": share}, side)
    if bar.bar is None:
        assert bar.kept == len(numbers) <= share * len(numbers)
        return
    rule = RULES["size"](**{side: bar.bar})
    assert bar.kept == sum(rule.decide(None, number) is None for number in numbers)
    apart = {f"{number:.3g}" for number in numbers if number == 0 or abs(number) > 1e-3}
    if len(apart) == len(numbers):
        assert abs(bar.kept - share * len(numbers)) <= 1


def test_the_command_prints_a_line_for_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, scores("a", 100) + scores("laion-en", 100))
    assert main(["data", "tune", str(tmp_path), "--keep", "21%", "--keep", "laion-en=0.14"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == '- clip_score: {sources: {"a": {min: 0.79}, "laion-en": {min: 0.86}}}'
    import yaml

    (found,) = yaml.safe_load(line)
    rule = from_dict(RULES["clip_score"], found["clip_score"] | {"columns": ["s"]}, "recipe")
    assert rule.thresholds("laion-en") == {"min": 0.86}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--keep", "2"], "expected a share such as"),
        (["--keep", "x=much"], "expected a share such as"),
        (["--keep", "b=0.5"], "no pairs of b in the run; its sources are a"),
        (["--keep", "0.5", "--rule", "sice"], "measured nothing in this run; rules that did: clip_score, words"),
        (["--keep", "0.5", "--rule", "words"], "measures words"),
    ],
)
def test_what_can_not_be_tuned_is_said(tmp_path: Path, capsys, arguments: list[str], said: str) -> None:
    write(tmp_path, scores("a", 10))
    assert main(["data", "tune", str(tmp_path), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(TuneError, match="there are no ledgers"):
        tune([], "clip_score", {"": 0.5})
