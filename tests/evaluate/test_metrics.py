"""The metrics on cases worked out by hand, and the intervals against known values."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.evaluate.benchmarks.scenes import HELD_OUT, VOCABULARY, question_kind
from qwenvl.evaluate.metrics import caption, grounding, ocr, stats, vqa
from qwenvl.sample import Box, Quad, Region


def region(phrase: str | None, *boxes: tuple[float, float, float, float]) -> Region:
    return Region(phrase, tuple(Box(*box) for box in boxes))


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (850, 1000, 0.8266, 0.8708)],
)
def test_wilson_interval(hits: int, n: int, low: float, high: float) -> None:
    score = stats.share([True] * hits + [False] * (n - hits))
    assert score.value == hits / n
    assert score.n == n
    assert score.low == pytest.approx(low, abs=1e-3)
    assert score.high == pytest.approx(high, abs=1e-3)


def test_nothing_measured_is_null_in_json() -> None:
    assert stats.share([]).as_dict() == {"value": None, "low": None, "high": None, "n": 0}
    assert stats.mean([]).n == 0
    assert math.isnan(stats.ratio([(0.0, 0.0)]).value)


def test_bootstrap_is_deterministic_and_holds_the_mean() -> None:
    values = [0.0, 1.0, 0.5, 0.25] * 25
    score = stats.mean(values)
    assert score == stats.mean(values)
    assert score.value == pytest.approx(sum(values) / len(values))
    # The normal approximation: 1.96 · sd / sqrt(n)
    half = 1.96 * 0.3698 / 10
    assert score.low == pytest.approx(score.value - half, abs=0.02)
    assert score.high == pytest.approx(score.value + half, abs=0.02)


def test_f1_is_over_the_sums() -> None:
    score = stats.f1([(2, 0, 0), (0, 1, 1), (0, 0, 0)])
    assert score.value == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert score.n == 3


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_intervals_hold_between_zero_and_one(items: list[tuple[int, int, int]]) -> None:
    score = stats.f1(items)
    if not math.isnan(score.value):
        assert 0 <= score.low <= score.high <= 1


@pytest.mark.parametrize(
    ("answer", "truth", "same"),
    [
        ("Red.", "red", True),
        (" the red star", "a red star", True),
        ("two", "2", True),
        ("两个", "2", True),
        ("红色。", "红色", True),
        ("Ｙｅｓ", "yes", True),
        ("三角形", "3角形", False),
        ("三角形", "三角形", True),
        ("red", "dark red", False),
        ("", "", False),
        ("。", "", False),
        ("3.5", "35", False),
    ],
)
def test_vqa_exact_match(answer: str, truth: str, same: bool) -> None:
    assert vqa.exact_match(answer, truth) is same


@given(st.text(max_size=40))
def test_normalise_takes_any_text_and_is_idempotent(text: str) -> None:
    once = vqa.normalise(text)
    assert vqa.normalise(once) == once


def test_referring_counts_the_first_box_only() -> None:
    truth = [Box(0, 0, 10, 10)]
    assert grounding.referring_iou([region(None, (0, 0, 10, 10))], truth) == 1
    assert grounding.referring_iou([region(None, (0, 0, 10, 5))], truth) == pytest.approx(0.5)
    assert grounding.referring_iou([region(None, (50, 50, 60, 60), (0, 0, 10, 10))], truth) == 0
    assert grounding.referring_iou([], truth) == 0
    assert grounding.referring_iou([region("a phrase without a box")], truth) == 0


def test_grounded_counts_need_phrase_and_place() -> None:
    truth = [
        region("a large red star", (0, 0, 10, 10)),
        region("two small blue circles", (20, 0, 30, 10), (40, 0, 50, 10)),
    ]
    same = VOCABULARY.same
    assert grounding.grounded_counts(truth, truth, same) == (3, 0, 0)
    assert grounding.grounded_counts([], truth, same) == (0, 0, 3)
    wrong_colour = [region("a large green star", (0, 0, 10, 10))]
    assert grounding.grounded_counts(wrong_colour, truth, same) == (0, 1, 3)
    other_size = [region("a small red star", (0, 0, 10, 9))]
    assert grounding.grounded_counts(other_size, truth, same) == (1, 0, 2)
    twice = [region("a red star", (0, 0, 10, 10), (0, 0, 10, 10))]
    assert grounding.grounded_counts(twice, truth, same) == (1, 1, 2)
    chinese = [region("一个红色的大星星", (0, 0, 10, 10))]
    assert grounding.grounded_counts(chinese, truth, same) == (1, 0, 2)


def test_grounded_matching_takes_the_best_overlap_first() -> None:
    truth = [region("a red star", (0, 0, 10, 10)), region("a red star", (3, 0, 13, 10))]
    said = [region("a red star", (3, 0, 13, 10)), region("a red star", (0, 0, 10, 10))]
    assert grounding.grounded_counts(said, truth, VOCABULARY.same) == (2, 0, 0)


def test_ocr_lines() -> None:
    quad = Quad(((0, 0), (10, 0), (10, 5), (0, 5)))
    truth = [Region("open", quads=(quad,)), Region("茶馆", quads=(quad,)), Region("open", quads=(quad,))]
    said = [Region("open", quads=(quad,)), Region("茶", quads=(quad,))]
    assert ocr.exact_lines(said, truth) == [True, False, False]
    assert ocr.exact_lines(truth, truth) == [True, True, True]
    assert ocr.exact_lines([Region("Open")], truth[:1]) == [False]
    assert ocr.placed_lines(said, truth) == (1, 1, 2)
    assert ocr.placed_lines([Region("open")], truth[:1]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a small red star and a large striped blue circle.", [("red", "star"), ("blue", "circle")]),
        ("two large red stars, a green cross", [("red", "star"), ("red", "star"), ("green", "cross")]),
        ("一个红色的大条纹星星和两个绿色的数字7。", [("red", "star"), ("green", "digit"), ("green", "digit")]),
        ("一个蓝色的小正方形、一个白色的三角形", [("blue", "square"), ("white", "triangle")]),
        ('a red sign saying "moon"', [("red", "sign")]),
        ("一个写着“红色”的蓝色牌子", [("blue", "sign")]),
        ("the star", [("", "star")]),
        ("red", []),
        ("", []),
    ],
)
def test_pairs_named_in_a_text(text: str, pairs: list[tuple[str, str]]) -> None:
    assert VOCABULARY.pairs(text) == pairs


def test_attribute_recall_counts_mentions() -> None:
    truth = [("red", "star"), ("red", "star"), ("blue", "circle")]
    assert caption.attribute_recall("a red star and a blue circle", truth, VOCABULARY) == (2, 3)
    assert caption.attribute_recall("two red stars and a green circle", truth, VOCABULARY) == (2, 3)
    assert caption.attribute_recall("", truth, VOCABULARY) == (0, 3)


def test_same_phrase_without_attributes_needs_equal_words() -> None:
    assert VOCABULARY.same("A dog", "a  dog")
    assert not VOCABULARY.same("a dog", "a cat")
    assert not VOCABULARY.same("a dog", "a red star")


def test_every_kind_of_question_of_the_scenes_is_known() -> None:
    scenes = pytest.importorskip("qwenvl.data.synth.scenes")
    pytest.importorskip("sklearn")
    found = set()
    for index in range(12):
        for qa in scenes.scene_record(0, index, "test").qas:
            kind = question_kind(qa.question)
            assert kind != "other", qa.question
            found.add(kind)
            assert (kind in ("reading",)) == qa.reads_text, qa.question
    assert len(found) == 10
    assert HELD_OUT
