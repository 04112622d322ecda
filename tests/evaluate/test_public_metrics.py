"""Metrics of public benchmarks against answers worked out by hand, and the traps of the evaluators they follow."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwenvl.evaluate import metrics
from qwenvl.evaluate.metrics.document import levenshtein
from qwenvl.evaluate.metrics.vqa_accuracy import Mode

TEN = ["red"] * 4 + ["blue"] * 6


@pytest.mark.parametrize("mode", ["qwen", "official", "m4c"])
def test_vqa_accuracy_takes_each_annotator_out_in_turn(mode: Mode) -> None:
    assert metrics.vqa_accuracy("red", TEN, mode=mode) == 1
    assert metrics.vqa_accuracy("red", ["red"] * 3 + ["blue"] * 7, mode=mode) == pytest.approx(0.9)
    assert metrics.vqa_accuracy("red", ["red"] + ["blue"] * 9, mode=mode) == pytest.approx(0.3)
    assert metrics.vqa_accuracy("green", TEN, mode=mode) == 0


# answer, annotators, accuracy as: the reference, the site, M4C
VQA_CASES = [
    ("Two.", ["2"] * 4 + ["3"] * 6, (1, 1, 1)),
    ("the dog", ["dog"] * 10, (1, 0, 1)),  # the site compares as it stands where all agree
    ("dog", ["the dog"] * 5 + ["cat"] * 5, (0, 1, 1)),  # the reference leaves articles in annotators' answers
    ("Dog", ["Dog"] * 10, (0, 1, 1)),  # and never lowers their case
    ("yes", ["Yes"] * 5 + ["no"] * 5, (0, 1, 1)),
    ("dont know", ["don't know"] * 5 + ["no"] * 5, (1, 1, 1)),
    ("1,000", ["1000"] * 5 + ["2"] * 5, (1, 1, 1)),
    ("a/b", ["a b"] * 5 + ["c"] * 5, (0, 1, 1)),
    ("3.5", ["3.5"] * 5 + ["4"] * 5, (1, 1, 1)),
    ("end.", ["end"] * 5 + ["stop"] * 5, (1, 1, 1)),
    ("man's hat", ["man 's hat"] * 5 + ["hat"] * 5, (0, 0, 1)),
    ("what?now", ["whatnow"] * 5 + ["no"] * 5, (0, 0, 1)),
    ("red\n", ["red"] * 10, (1, 1, 1)),
    ("none", ["0"] * 10, (1, 0, 1)),
]


@pytest.mark.parametrize(("said", "answers", "wanted"), VQA_CASES)
def test_vqa_accuracy_in_its_three_ways(said: str, answers: list[str], wanted: tuple[int, int, int]) -> None:
    found = [metrics.vqa_accuracy(said, answers, mode=mode) for mode in ("qwen", "official", "m4c")]
    assert found == list(wanted)


def test_vqa_accuracy_needs_answers_and_a_known_mode() -> None:
    with pytest.raises(ValueError, match="none were given"):
        metrics.vqa_accuracy("red", [])
    with pytest.raises(ValueError, match="strict"):
        metrics.vqa_accuracy("red", TEN, mode="strict")  # type: ignore[arg-type]


def test_anls() -> None:
    assert metrics.anls("Hello World", ["hello  world", "x"]) == 1
    assert metrics.anls("ab", ["ax"]) == 0.5  # the threshold itself counts
    assert metrics.anls("abc", ["axy"]) == 0
    # one mistake in a text of five characters, two of them spaces that are no mistakes
    assert metrics.anls("a   b", ["a c"]) == pytest.approx(1 - 1 / 5)
    assert metrics.anls("", [""]) == 1
    with pytest.raises(ValueError, match="none were given"):
        metrics.anls("a", [])


@given(st.text(max_size=12), st.text(max_size=12))
def test_levenshtein_is_a_distance(a: str, b: str) -> None:
    distance = levenshtein(a, b)
    assert distance == levenshtein(b, a)
    assert abs(len(a) - len(b)) <= distance <= max(len(a), len(b))
    assert (distance == 0) == (a == b)


@pytest.mark.parametrize(
    ("said", "true", "right", "compat"),
    [
        ("105", "100", 1, 1),
        ("95", "100", 1, 0),  # 5 % of the target is 5, of the prediction 4.75
        ("105.2", "100", 0, 1),
        ("50%", "0.5", 1, 1),
        ("50%", "50", 0, 0),
        ("0", "0", 1, 1),
        ("0.0", "0", 0, 0),
        ("0", "3", 0, 0),
        ("Yes ", "yes", 1, 1),
        ("1e2", "100", 1, 1),
        ("-95", "-100", 1, 0),
    ],
)
def test_relaxed_accuracy(said: str, true: str, right: int, compat: int) -> None:
    assert metrics.relaxed_accuracy(said, true) == right
    assert metrics.relaxed_accuracy(said, true, qwen_compat=True) == compat
    assert metrics.relaxed_accuracy(said, ["nothing", true]) == right


def test_exact_and_gqa_matches() -> None:
    assert metrics.exact_match(" Red ", ["blue", "red"]) == 1
    assert metrics.exact_match("reddish", "red") == 0
    assert metrics.gqa_match("It is a red car. Really", "red car") == 1
    assert metrics.gqa_match("on the left side of the table", "left side") == 1
    assert metrics.gqa_match("the panda eats", "eats") == 1  # "panda " ends in "a "
    assert metrics.gqa_match("the panda eats", "panda") == 0
    assert metrics.gqa_match("Red", "red") == 1
    assert metrics.gqa_match("Red", "red", official=True) == 0
    assert metrics.gqa_match("red", "red", official=True) == 1


def test_ptb_tokens() -> None:
    tokens = metrics.ptb_tokenize
    assert tokens("A man's dog isn't here, is it?") == ["a", "man", "'s", "dog", "is", "n't", "here", "is", "it"]
    assert tokens("Two black-and-white cats (asleep) ...") == [
        "two",
        "black-and-white",
        "cats",
        "-lrb-",
        "asleep",
        "-rrb-",
    ]
    assert tokens('The sign says "Stop" at 10:30 a.m. on 12th St.') == [
        "the",
        "sign",
        "says",
        "stop",
        "at",
        "10:30",
        "a.m.",
        "on",
        "12th",
        "st.",
    ]
    assert tokens("They’re at the U.S. border..") == ["they", "'re", "at", "the", "u.s.", "border"]
    assert tokens("You cannot") == ["you", "can", "not"]
    assert tokens(" . ") == []


REFERENCES = [["a dog runs on the grass", "the dog is running"], ["two cats sleep", "cats on a sofa"], ["a red car"]]
SAID = ["a dog runs", "two cats sleep on a sofa", "a blue truck"]


def test_cider_of_perfect_and_of_foreign_captions() -> None:
    perfect = metrics.cider_d(
        ["one two three four", "five six seven eight"], [["one two three four"], ["five six seven eight"]]
    )
    assert perfect == pytest.approx(10)
    assert metrics.cider_d(SAID, REFERENCES).each[2] < metrics.cider_d(SAID, REFERENCES).each[0]
    assert metrics.cider_d(["x y z"], [["x y z"]]) == 0  # alone, every n-gram is in every item


def test_cider_by_hand() -> None:
    """Two items; unigrams only, so three of the four n add nothing; "a" is in both and weighs nothing."""
    found = metrics.cider_d(["a", "dog"], [["a"], ["dog a"]], tokenize=str.split)
    # "dog" weighs log 2 on both sides and is all of either's norm; the reference's one pair of words costs exp(-1/72)
    assert found.each == pytest.approx((0.0, 10 / 4 * math.exp(-1 / 72)))
    assert found == pytest.approx(sum(found.each) / 2)


def test_bleu_by_hand() -> None:
    found = metrics.bleu(["the the the cat"], [["the cat sat", "a cat"]], n=1, tokenize=str.split)
    assert found == pytest.approx(2 / 4)  # "the" once, "cat" once; longer than the nearest reference: no penalty
    short = metrics.bleu(["the cat"], [["the cat sat down"]], n=2, tokenize=str.split)
    assert short == pytest.approx(math.exp(1 - 2))
    with pytest.raises(ValueError, match="1 or more"):
        metrics.bleu(SAID, REFERENCES, n=0)


def test_rouge_by_hand() -> None:
    found = metrics.rouge_l(["a b c d"], [["a x b", "c d e f"]], tokenize=str.split)
    precision, recall = 2 / 4, 2 / 3  # each the best over the references
    assert found == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))
    assert metrics.rouge_l([""], [["a"]]) == 0


def test_corpora_by_id_and_wrong_ones() -> None:
    by_id = metrics.cider_d(dict(enumerate(SAID)), {2: REFERENCES[2], 0: REFERENCES[0], 1: REFERENCES[1]})
    assert by_id == metrics.cider_d(SAID, REFERENCES)
    for said, true, message in (
        (SAID[:2], REFERENCES, "2 predictions, but references of 3"),
        ({1: "a"}, {2: ["a"]}, "2 ids"),
        ([], [], "nothing to score"),
        (["a"], [[]], "no reference"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.rouge_l(said, true)  # type: ignore[arg-type]


def test_captions_against_pycocoevalcap() -> None:
    cider = pytest.importorskip("pycocoevalcap.cider.cider")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.rouge.rouge import Rouge

    said, true = {i: [text] for i, text in enumerate(SAID)}, dict(enumerate(REFERENCES))
    whole, each = cider.Cider().compute_score(true, said)
    ours = metrics.cider_d(SAID, REFERENCES, tokenize=str.split)
    assert (ours, *ours.each) == pytest.approx((whole, *each), abs=1e-9)
    whole, each = Bleu(4).compute_score(true, said, verbose=0)
    for n in range(1, 5):
        assert metrics.bleu(SAID, REFERENCES, n, tokenize=str.split) == pytest.approx(whole[n - 1], abs=1e-9)
    whole, each = Rouge().compute_score(true, said)
    assert metrics.rouge_l(SAID, REFERENCES, tokenize=str.split) == pytest.approx(whole, abs=1e-9)


@pytest.mark.skipif(not (find_spec("pycocoevalcap") and shutil.which("java")), reason="no Java or pycocoevalcap")
def test_javas_programs() -> None:
    from qwenvl.evaluate.metrics.java import meteor, ptb_tokenize_all

    texts = ["A man's dog isn't here.", "", "Two cats (asleep)!"]
    assert ptb_tokenize_all(texts) == [metrics.ptb_tokenize(text) for text in texts]
    found = meteor(SAID, REFERENCES)
    assert len(found.each) == 3
    assert 0 < found.each[2] < found.each[1] <= 1


def test_boxes() -> None:
    assert metrics.iou((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert metrics.iou((2, 2, 0, 0), (0, 0, 2, 2)) == 1
    assert metrics.iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
    with pytest.raises(ValueError, match="four numbers"):
        metrics.iou((0, 0, 1), (0, 0, 1, 1))
    targets = [(0, 0, 2, 2)] * 4
    predictions = [(0, 0, 2, 2), (0, 0, 2, 1), (0, 0, 1, 1), None]  # IoU 1, exactly 0.5, 0.25, no box
    assert metrics.grounding_accuracy(predictions, targets) == 0.5
    with pytest.raises(ValueError, match="3 predicted"):
        metrics.grounding_accuracy(predictions[:3], targets)


def test_grounded_captions() -> None:
    true = [[("A dog", [(0, 0, 2, 2), (4, 4, 6, 6)])], [("a hat", [(0, 0, 1, 1)])]]
    said = [[("a  dog", [(0, 0, 2, 2)]), ("a cat", [(4, 4, 6, 6)])], []]
    assert metrics.grounded_caption_f1(said, true) == pytest.approx(2 * 1 / (2 * 1 + 1 + 2))
    assert metrics.grounded_caption_f1(true, true) == 1
    twice = [[("a dog", [(0, 0, 2, 2), (0, 0, 2, 2), (4, 4, 6, 6)])], true[1]]
    assert metrics.grounded_caption_f1(twice, true) == pytest.approx(6 / 7)


def test_mme() -> None:
    rows = [
        ("ocr", "1.jpg", "Yes", "Yes, it is"), ("ocr", "1.jpg", "No", "no"),
        ("ocr", "2.jpg", "Yes", "yes"), ("ocr", "2.jpg", "No", "Maybe"),
        ("count", "1.jpg", "Yes", "No."), ("count", "1.jpg", "No", "No."),
    ]  # fmt: skip
    found = metrics.mme_score(rows)
    assert (found["ocr"].acc, found["ocr"].acc_plus, found["ocr"].score, found["ocr"].others) == (0.75, 0.5, 125, 1)
    assert (found["count"].acc, found["count"].acc_plus) == (0.5, 0)
    assert metrics.parse_yes_no("a no") == "no"
    with pytest.raises(ValueError, match="Yes or No"):
        metrics.mme_score([("ocr", "1.jpg", "perhaps", "yes")])


def test_ranking_goes_by_the_mean() -> None:
    assert metrics.rank_options([[2.0], [1.0, 1.5, 1.0], [3.0]]) == 1
    assert metrics.rank_options({"A": 0.5, "B": 0.4, "C": 0.4}) == "B"
    for wrong in ([], [[]], [[math.nan], [1.0]]):
        with pytest.raises(ValueError, match="option"):
            metrics.rank_options(wrong)


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("8 7.5\nBoth are good.", (8, 7.5)),
        ("Here are my scores:\n\n9, 6\nbecause 3 of 4 …", (9, 6)),
        ("8/10 7/10", (8, 7)),
        ("Assistant 1: 8\nAssistant 2: 9", (8, 9)),
        ("Assistant A scores 7 while Assistant B scores 5.5", (7, 5.5)),
        ("10 10", (10, 10)),
        ("11 3", None),
        ("Both are good.", None),
        ("8", None),
        ("", None),
    ],
)
def test_judges_replies(reply: str, wanted: tuple[float, float] | None) -> None:
    assert metrics.parse_judge(reply) == wanted


@given(st.text(max_size=60))
def test_any_reply_of_a_judge_is_two_scores_or_none(reply: str) -> None:
    found = metrics.parse_judge(reply)
    assert found is None or all(1 <= score <= 10 for score in found)


def test_metrics_need_no_torch() -> None:
    program = "import sys, json; import qwenvl.evaluate.metrics; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
