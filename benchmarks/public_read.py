"""VQAv2's training annotation: this project's reader, which streams, beside json.load of both files; time and memory.

    python benchmarks/public_read.py [--questions 443757] [--repeats 3]

Both files are made up, of the published size by default (443,757 questions of ten answers, 380 MB). Each way runs in a
process of its own, in turns: CPU seconds and peak memory, median of the repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json")
OURS = """
from qwenvl.data.sources.public import read_entries
count = sum(len(entry.questions) for entry in read_entries(f"vqav2:{questions}"))
"""
PEER = """
import json
asked = json.load(open(questions))["questions"]
answers = {row["question_id"]: row for row in json.load(open(annotations))["annotations"]}
count = sum(1 for row in asked if max(answers[row["question_id"]]["answers"], key=lambda a: a["answer_confidence"]))
"""
# the peak is read from the process's own account: getrusage's would begin with the parent's
MEASURE = """
import resource
usage = resource.getrusage(resource.RUSAGE_SELF)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(count, usage.ru_utime + usage.ru_stime, int(peak) / 1024)
"""


def make(folder: Path, count: int) -> None:
    """Questions and annotations in VQAv2's form, written row by row."""
    answers = [{"answer": "net", "answer_confidence": "maybe", "answer_id": number} for number in range(1, 11)]
    with (folder / NAMES[0]).open("w") as file:
        file.write('{"info": {}, "data_subtype": "train2014", "questions": [')
        for n in range(count):
            row = {"image_id": n // 5, "question": f"What is the colour of thing {n}?", "question_id": n}
            file.write((", " if n else "") + json.dumps(row))
        file.write("]}")
    with (folder / NAMES[1]).open("w") as file:
        file.write('{"info": {}, "annotations": [')
        for n in range(count):
            row = {"question_type": "what is the", "multiple_choice_answer": "net", "answers": answers}
            row |= {"image_id": n // 5, "answer_type": "other", "question_id": n}
            file.write((", " if n else "") + json.dumps(row))
        file.write("]}")


def run(code: str, folder: Path) -> tuple[int, float, float]:
    """Questions, CPU seconds and peak megabytes of one way."""
    files = f"questions, annotations = {str(folder / NAMES[0])!r}, {str(folder / NAMES[1])!r}\n"
    found = subprocess.run([sys.executable, "-c", files + code + MEASURE], capture_output=True, text=True, check=True)
    count, seconds, peak = found.stdout.split()
    return int(count), float(seconds), float(peak)


def main() -> None:
    """Make the files, run both ways in turns, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=443_757)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), args.questions)
        runs: dict[str, list[tuple[int, float, float]]] = {"qwenvl": [], "json.load": []}
        for _ in range(args.repeats):
            runs["qwenvl"].append(run(OURS, Path(name)))
            runs["json.load"].append(run(PEER, Path(name)))
    for way, found in runs.items():
        seconds, peak = (statistics.median(one[at] for one in found) for at in (1, 2))
        print(f"{way:<10} {found[0][0]:,} questions  {seconds:6.1f} CPU-s  {peak:7,.0f} MB at most")


if __name__ == "__main__":
    main()
