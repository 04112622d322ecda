"""MME: yes or no about a picture, in chat; two questions a picture (paper, Table 7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qwenvl.data.sources.public.entry import At, Entry
from qwenvl.data.sources.report import DataError, Spot
from qwenvl.evaluate import metrics
from qwenvl.evaluate.benchmarks.benchmark import Answer, Benchmark, Data, Item
from qwenvl.serve.engine import Generation

FORM = "\n{question}"
PERCEPTION = (
    *("existence", "count", "position", "color", "posters"),
    *("celebrity", "scene", "landmark", "artwork", "OCR"),
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
MAX_FILE = 16 << 20


def items(data: Data) -> Iterator[Item]:
    """An item a line of the folder's `<subtask>.txt`: picture, question and "Yes" or "No", with tabs between.

    Raises DataError where there is no such file, or for a line that is not of this form.
    """
    files = [file for name in (*PERCEPTION, *COGNITION) if (file := data.path / f"{name}.txt").is_file()]
    if not files:
        raise DataError(f"{data.path}: no <subtask>.txt of MME in it (expected existence.txt, count.txt, …)")
    for file in files:
        yield from _of_file(file)


def _of_file(file: Path) -> Iterator[Item]:
    if file.stat().st_size > MAX_FILE:
        raise DataError(f"{file}: has more than {MAX_FILE:,} bytes; expected MME's lines")
    for number, line in enumerate(file.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        parts = line.strip().split("\t")
        if len(parts) < 3 or parts[2].strip().lower() not in ("yes", "no"):
            raise DataError(f"{file}:{number}: expected picture, question and Yes or No, with tabs between")
        picture, asked, true = parts[0], parts[1], parts[2].strip()
        names = tuple(f"{folder}{picture}" for folder in (f"{file.stem}/", f"{file.stem}/images/", ""))
        yield Item(
            id=f"{file.stem}-{number}",
            prompt=FORM.format(question=asked),
            entry=Entry(f"{file.stem}-{picture}", names[0], At(str(file), Spot(number)), others=names[1:]),
            answers=(true,),
            answer=true,
            category=file.stem,
            meta={"picture": picture},
        )


def right(answer: Answer) -> float:
    """1 for the true yes or no."""
    return float(metrics.parse_yes_no(answer.text.strip()) in {true.lower() for true in answer.item.answers})


def totals(answers: Sequence[Answer]) -> Mapping[str, float]:
    """Of each subtask acc+ (the share of pictures with all questions right), and the scores of perception and cognition
    as shares of their most (2000 and 800 points: 100 for acc and 100 for acc+ of each subtask).
    """
    rows = [(a.item.category, str(a.item.meta["picture"]), a.item.answers[0], a.text) for a in answers]
    scores = metrics.mme_score(rows)
    found = {f"acc+ {name}": score.acc_plus for name, score in scores.items()}
    for half, names in (("perception", PERCEPTION), ("cognition", COGNITION)):
        if all(name in scores for name in names):
            found[half] = sum(scores[name].score for name in names) / (200 * len(names))
    return found


BENCHMARKS = [
    Benchmark(
        name="mme",
        title="MME",
        split="all",
        table="Table 7",
        file="mme",
        pictures=("mme/images", "mme"),
        where="the text files of eval_tool and the pictures, on request from github.com/BradyFU "
        "(Awesome-Multimodal-Large-Language-Models, branch Evaluation)",
        form="<chat>" + FORM,
        items=items,
        published=2_374,
        kind="chat",
        decoding=Generation(max_new_tokens=512, temperature=1.0, top_p=0.01, seed=0),
        note="the chat model's generation config with top-p 0.01",
        each={"accuracy": right},
        whole={"mme": totals},
    ),
]
