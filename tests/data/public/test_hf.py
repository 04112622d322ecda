"""Hugging Face folders by their columns: the hub's usual names, and a mapping."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as PILImage

from qwenvl.data.sources import BadRows, DataError, open_source
from qwenvl.data.sources.public import read_entries
from qwenvl.sample import Box, Quad, Record


def image(color: str = "white") -> dict[str, Any]:
    stream = io.BytesIO()
    PILImage.new("RGB", (100, 80), color).save(stream, "PNG")
    return {"bytes": stream.getvalue(), "path": "a.png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set" / "data").mkdir(parents=True)
    return tmp_path / "set"


def table(folder: Path, *rows: dict[str, Any], name: str = "validation-00000-of-00001") -> Path:
    pq.write_table(
        pa.Table.from_pylist([{"image": image(), **row} for row in rows]), folder / "data" / f"{name}.parquet"
    )
    return folder


def the_record(spec: str) -> Record:
    (record,) = open_source(spec, strict=True)
    return record


@pytest.mark.parametrize(
    ("row", "question", "answer"),
    [
        ({"question": "Who?", "answers": ["a", "b", "b"]}, "Who?", "b"),
        ({"query": "How much?", "label": ["3"]}, "How much?", "3"),
        ({"question": "How much?", "answer": 3.0}, "How much?", "3"),
        (
            {"question": "Who?", "answers": [{"answer": "a", "answer_confidence": c} for c in ("no", "maybe")]},
            "Who?",
            "a",
        ),
        ({"question": "Who?", "options": ["x", "y"], "answer": "1"}, "Question: Who?\nOptions: A. x\nB. y", "B"),
        ({"question": "Who?", "options": ["x", "y"], "answer": "y"}, "Question: Who?\nOptions: A. x\nB. y", "B"),
        ({"question": "Who?", "options": ["x", "y"], "answer": "A"}, "Question: Who?\nOptions: A. x\nB. y", "A"),
        (
            {"question": "Who?", "choices": ["x", "y"], "answer": 0, "hint": "Look."},
            "Context: Look.\nQuestion: Who?\nOptions: A. x\nB. y",
            "A",
        ),
        ({"texts": [{"user": "Who?", "assistant": "I"}]}, "Who?", "I"),
        (
            {"conversations": [{"from": "human", "value": "<image>\nWho?"}, {"from": "gpt", "value": "I"}]},
            "Who?",
            "I",
        ),
    ],
)
def test_the_usual_columns_are_found(folder: Path, row: dict[str, Any], question: str, answer: str) -> None:
    record = the_record(f"hf:{table(folder, row)}?split=validation")
    assert [(qa.question, qa.answer) for qa in record.qas] == [(question, answer)]
    assert (record.images[0].width, record.images[0].height) == (100, 80)


def test_captions_by_a_mapping_even_where_the_usual_column_is_a_list(folder: Path) -> None:
    table(folder, {"caption": ["a dog", "a big dog"], "other": "x"})
    assert [c.text for c in the_record(f"hf:{folder}?caption=caption").captions] == ["a dog", "a big dog"]


def test_phrases_with_boxes(folder: Path) -> None:
    table(folder, {"expression": ["the dog"], "place": [10, 20, 30, 40]})
    (phrase,) = the_record(f"hf:{folder}?phrase=expression&box=place&boxes=xywh").phrases
    assert (phrase.text, phrase.boxes) == ("the dog", (Box(10, 20, 40, 60),))


def test_lines_with_places(folder: Path) -> None:
    table(folder, {"words": ["a", "b"], "places": [[10, 20, 40, 30], [10, 40, 40, 50]]})
    record = the_record(f"hf:{folder}?lines=words&quads=places")
    assert [line.text for line in record.lines] == ["a", "b"]
    assert record.lines[0].quad == Quad(((10, 20), (40, 20), (40, 30), (10, 30)))


def test_a_test_split_is_read_and_makes_no_record(folder: Path) -> None:
    table(folder, {"question": "Who?", "answer": None}, {"question": "Why?", "answer": None}, name="test-0")
    assert [e.questions[0].answers for e in read_entries(f"hf:{folder}")] == [(), ()]


def test_bad_rows_are_counted_and_named(folder: Path) -> None:
    good = {"question": "Who?", "options": ["x", "y"], "answer": "1"}
    table(folder, good, {**good, "answer": "7"}, {**good, "image": {"bytes": None, "path": "b.png"}})
    report = BadRows()
    assert len(list(open_source(f"hf:{folder}", report=report))) == 1
    assert report.count == 2
    assert "(row 2): answer" in report.messages[0] and "(row 3): image" in report.messages[1]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("question=querry", "no column 'querry' for question=; its columns are image, question"),
        ("phrase=question", "name the column of the phrase's box with box="),
        ("image=question", "expected bytes"),
    ],
)
def test_what_is_wrong_with_the_mapping_is_said(folder: Path, query: str, said: str) -> None:
    table(folder, {"question": "Who?"})
    with pytest.raises(DataError) as error:
        list(open_source(f"hf:{folder}?{query}"))
    assert said in str(error.value)


def test_a_row_with_nothing_to_learn_says_what_there_is(folder: Path) -> None:
    table(folder, {"name": "x"})
    with pytest.raises(DataError, match="no column to learn from is named; there are name"):
        list(open_source(f"hf:{folder}"))


def test_a_folder_of_pictures_with_their_rows(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(image()["bytes"])
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "question": "Who?", "answer": "I"}\n')
    assert the_record(f"hf:{tmp_path}").qas[0].answer == "I"


def test_arrow_as_datasets_saves_it(tmp_path: Path) -> None:
    rows = pa.Table.from_pylist([{"image": image(), "question": "Who?", "answer": "I"}])
    with pa.ipc.new_stream(tmp_path / "data-00000-of-00001.arrow", rows.schema) as stream:
        stream.write_table(rows)
    assert the_record(f"hf:{tmp_path}").qas[0].answer == "I"
