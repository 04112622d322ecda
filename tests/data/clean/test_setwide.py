"""The pass over all ledgers: winners, chains of rules, the same result whatever the order and the threads."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("duckdb")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from qwenvl.data.clean.rule import SetRule  # noqa: E402
from qwenvl.data.clean.rules.exact_duplicates import ExactDuplicates  # noqa: E402
from qwenvl.data.clean.rules.longest_caption import LongestCaption  # noqa: E402
from qwenvl.data.clean.rules.near_duplicates import NearDuplicates, masks  # noqa: E402
from qwenvl.data.clean.setwide import SetRuleError, apply  # noqa: E402

Row = dict[str, Any]


def write_ledgers(folder: Path, rows: Sequence[Row], per_unit: int = 3, group: int = 2) -> list[Path]:
    """Ledgers of `per_unit` rows; ids are "s/<global row>" unless given."""
    paths = []
    for number, begin in enumerate(range(0, max(len(rows), 1), per_unit)):
        part = rows[begin : begin + per_unit]
        columns = {
            "row": pa.array(range(len(part)), pa.int64()),
            "id": pa.array([r.get("id", f"s/{begin + i}") for i, r in enumerate(part)], pa.string()),
            "source": pa.array([r.get("source", "s") for r in part], pa.string()),
            "url": pa.array([r.get("url") for r in part], pa.string()),
            "kept": pa.array([r.get("kept", True) for r in part], pa.bool_()),
            "caption": pa.array([r.get("caption", "") for r in part], pa.string()),
            "characters": pa.array([r.get("characters", len(r.get("caption", ""))) for r in part], pa.int32()),
            "width": pa.array([r.get("width", 100) for r in part], pa.int32()),
            "height": pa.array([r.get("height", 100) for r in part], pa.int32()),
            "digest": pa.array([r["digest"].encode().rjust(16) if r.get("digest") else None for r in part], pa.uuid()),
            "phash": pa.array([r.get("phash") for r in part], pa.uint64()),
        }
        path = folder / f"{number:05d}.ledger.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=group)
        paths.append(path)
    return paths


def dropped(path: Path) -> dict[str, tuple[str, str | None, str | None]]:
    """id → rule, value, winner."""
    ids = [pq.read_table(ledger)["id"].to_pylist() for ledger in sorted(path.parent.glob("*.ledger.parquet"))]
    return {ids[r["unit"]][r["row"]]: (r["rule"], r["value"], r["winner"]) for r in pq.read_table(path).to_pylist()}


def test_the_longest_caption_stays_and_of_equals_the_first(tmp_path: Path) -> None:
    rows = [
        {"digest": "a", "caption": "short"},
        {"digest": "b", "caption": "the only one"},
        {"digest": "a", "caption": "the longest"},
        {"digest": "a", "caption": "as long too"},
        {"digest": "a", "caption": "dropped before, though longest", "kept": False},
        {"digest": None, "url": "", "caption": "unknown image"},
        {"digest": None, "url": "", "caption": "another unknown image"},
        {"digest": "c", "url": "u", "caption": "同じ"},
        {"digest": "d", "url": "u", "caption": "three"},
    ]
    out = apply(write_ledgers(tmp_path, rows), [LongestCaption()], tmp_path / "out.parquet")
    assert dropped(out) == {
        "s/0": ("longest_caption", "5 <= 11", "s/2"),
        "s/3": ("longest_caption", "11 <= 11", "s/2"),
        "s/7": ("longest_caption", "2 <= 5", "s/8"),
    }
    places = pq.read_table(out, columns=["unit", "row"]).to_pylist()
    assert places == [{"unit": 0, "row": 0}, {"unit": 1, "row": 0}, {"unit": 2, "row": 1}]


def test_a_winner_that_goes_later_is_followed_to_the_one_that_stays(tmp_path: Path) -> None:
    rows = [
        {"digest": "a", "url": "u", "caption": "1", "phash": 7},
        {"digest": "a", "url": "v", "caption": "22", "phash": 7},
        {"digest": "b", "url": "v", "caption": "333", "phash": 7},
        {"digest": "c", "url": "w", "caption": "4", "phash": 7, "width": 900},
    ]
    rules = [LongestCaption(), NearDuplicates()]
    found = dropped(apply(write_ledgers(tmp_path, rows), rules, tmp_path / "out.parquet"))
    assert {id: (rule, winner) for id, (rule, _, winner) in found.items()} == {
        "s/0": ("longest_caption", "s/3"),
        "s/1": ("longest_caption", "s/3"),
        "s/2": ("near_duplicates", "s/3"),
    }


def test_of_equal_bytes_the_first_stays(tmp_path: Path) -> None:
    rows = [{"digest": d, "caption": "x" * i} for i, d in enumerate("abcabca")]
    found = dropped(apply(write_ledgers(tmp_path, rows), [ExactDuplicates()], tmp_path / "out.parquet"))
    assert {id: winner for id, (_, _, winner) in found.items()} == {
        "s/3": "s/0", "s/4": "s/1", "s/5": "s/2", "s/6": "s/0",
    }  # fmt: skip


@pytest.mark.parametrize("per_unit", [1, 1000])
def test_no_ledger_no_row_and_nothing_to_drop(tmp_path: Path, per_unit: int) -> None:
    rules = [LongestCaption(), ExactDuplicates(), NearDuplicates()]
    assert dropped(apply([], rules, tmp_path / "none.parquet")) == {}
    assert dropped(apply(write_ledgers(tmp_path, [], per_unit), rules, tmp_path / "empty.parquet")) == {}
    single = write_ledgers(tmp_path, [{"digest": "a", "phash": 1}, {"digest": "b"}], per_unit)
    assert dropped(apply(single, rules, tmp_path / "single.parquet")) == {}


def test_the_file_is_the_same_whatever_the_threads_memory_and_row_groups(tmp_path: Path) -> None:
    rng = random.Random(0)
    rows = [
        {
            "digest": f"{rng.randrange(900)}",
            "url": f"http://host/{rng.randrange(1500)}",
            "characters": rng.randrange(5, 12),
            "phash": rng.getrandbits(10) << 20,
            "kept": rng.random() < 0.9,
        }
        for _ in range(3000)
    ]
    rules = [LongestCaption(), ExactDuplicates(), NearDuplicates(distance=1)]
    contents = set()
    for name, group, options in (
        ("a", 1000, {"threads": 1}),
        ("b", 37, {"threads": 4}),
        ("c", 150, {"memory_mib": 64}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        paths = write_ledgers(folder, rows, per_unit=150, group=group)
        contents.add(apply(paths, rules, folder / "out.parquet", **options).read_bytes())
        assert sorted(p.name for p in folder.iterdir() if "ledger" not in p.name) == ["out.parquet"]
    assert len(contents) == 1
    assert len(dropped(folder / "out.parquet")) > 1000


hashes = st.lists(
    st.tuples(st.sampled_from([0, 0xDEADBEEF12345678, 2**64 - 1]), st.sets(st.integers(0, 63), max_size=4)), max_size=24
)


@settings(max_examples=20, deadline=None)
@given(hashes, st.integers(0, 6), st.data())
def test_near_duplicates_are_those_of_the_greedy_rule(
    tmp_path_factory: Any, made: Any, distance: int, data: Any
) -> None:
    rows = []
    for base, flips in made:
        phash = base
        for bit in flips:
            phash ^= 1 << bit
        rows.append({"phash": phash, "width": data.draw(st.integers(1, 3)), "characters": data.draw(st.integers(0, 2))})
    folder = tmp_path_factory.mktemp("near")
    found = dropped(apply(write_ledgers(folder, rows, 7), [NearDuplicates(distance)], folder / "out.parquet"))
    assert {id: (value, winner) for id, (_, value, winner) in found.items()} == greedy(rows, distance)


def greedy(rows: Sequence[Row], distance: int) -> dict[str, tuple[str, str]]:
    """What the rule promises, comparing all: from the best down, one stays if none that stays is near."""
    order = sorted(range(len(rows)), key=lambda i: (-100 * rows[i]["width"], -rows[i]["characters"], i))
    stays: list[int] = []
    gone = []
    for i in order:
        if any((rows[i]["phash"] ^ rows[j]["phash"]).bit_count() <= distance for j in stays):
            gone.append(i)
        else:
            stays.append(i)
    answer = {}
    for i in gone:
        away, _, winner = min(((rows[i]["phash"] ^ rows[j]["phash"]).bit_count(), order.index(j), j) for j in stays)
        answer[f"s/{i}"] = (str(away), f"s/{winner}")
    return answer


@pytest.mark.parametrize("count", [1, 10**4, 10**7, 10**10])
@pytest.mark.parametrize("distance", range(1, 9))
def test_hashes_within_the_distance_always_meet_under_a_mask(distance: int, count: int) -> None:
    found = list(masks(distance, count))
    rng = random.Random(distance)
    for _ in range(200):
        flips = sum(1 << bit for bit in rng.sample(range(64), distance))
        assert any(flips & mask == 0 for mask in found)
    assert len(found) <= 500


@dataclass(frozen=True)
class Made(SetRule):
    """A rule of a user's own."""

    select: str
    name: ClassVar[str] = "made"

    def drops(self, database: Any) -> Iterable[str]:
        return [self.select]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("SELECT nothing FROM kept", "the rule made: its SELECT does not run"),
        ("SELECT row FROM kept", "the rule made: its SELECT does not run"),
        ("SELECT unnest([0, 0]) AS row, '' AS why, '' AS value, NULL AS winner", "more than once"),
        ("SELECT row, '' AS why, '' AS value, 1 - row AS winner FROM kept", "a winner that it drops as well"),
    ],
)
def test_a_rule_at_fault_is_named_and_nothing_is_written(tmp_path: Path, select: str, message: str) -> None:
    paths = write_ledgers(tmp_path, [{}, {}])
    with pytest.raises(SetRuleError, match=message):
        apply(paths, [Made(select)], tmp_path / "out.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == [p.name for p in paths]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LongestCaption(image=("phash",)), "digest and url"),
        (lambda: LongestCaption(image=()), "digest and url"),
        (lambda: NearDuplicates(distance=9), "0 to 8 bits"),
    ],
)
def test_keys_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
