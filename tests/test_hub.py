"""Names on the Hub: what is missing is said once and at once, and what the cache has is taken where nobody answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import errors

from qwenvl.hub import local_folder, no_folder

Ask = Callable[[Exception | None], list[str]]


class _Response:
    """As much of an answer of the Hub as its library's errors look at."""

    headers: dict[str, str]
    status_code = 404
    request = None

    def __init__(self) -> None:
        self.headers = {}


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Lets the Hub answer with an error (None: it has the file); gives the addresses that are then asked."""

    def answer(error: Exception | None) -> list[str]:
        asked: list[str] = []

        def metadata(url: str, token: object = None) -> None:
            asked.append(url)
            if error is not None:
                raise error

        monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", metadata)
        return asked

    return answer


def http(kind: type[errors.HfHubHTTPError], text: str = "no") -> Exception:
    return kind(text, response=_Response())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("[Errno -2] Name or service not known"), "could not be fetched: [Errno -2] Name"),
        (TimeoutError(), "could not be fetched: TimeoutError"),
        (errors.OfflineModeIsEnabled("x"), "HF_HUB_OFFLINE forbids"),
        (http(errors.GatedRepoError), "accept its terms (https://huggingface.co/our/model)"),
        (http(errors.RepositoryNotFoundError), "has no model of that name"),
        (http(errors.RevisionNotFoundError), "no revision v2"),
        (errors.EntryNotFoundError("no"), "has no config.json there"),
        (http(errors.HfHubHTTPError, "500 Server Error\nmore"), "could not be fetched: 500 Server Error"),
        (errors.HFValidationError("Cannot have -- or .. in repo_id"), "can't be one: Cannot have"),
    ],
)
def test_a_refusal_is_one_message(ask: Ask, tmp_path: Path, error: Exception, said: str) -> None:
    asked = ask(error)
    with pytest.raises(OSError) as raised:
        local_folder("our/model", cache_dir=tmp_path, revision="v2")
    message = str(raised.value)
    assert message.startswith("there is no folder our/model. As a name on the Hugging Face Hub it is not in the local")
    assert said in message and "\n" not in message
    assert asked == ["https://huggingface.co/our/model/resolve/v2/config.json"]


def test_what_the_cache_has_is_taken_where_nobody_answers(ask: Ask, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--our--model" / "snapshots" / ("b" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({}))
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("b" * 40)
    asked = ask(OSError("down"))
    # of the files that are missing too, nobody asks again
    assert local_folder("our/model", cache_dir=tmp_path) == snapshot
    assert len(asked) == 1
    assert local_folder("our/model", cache_dir=tmp_path, local_files_only=True) == snapshot
    assert len(asked) == 1
    with pytest.raises(OSError, match="local_files_only forbids"):
        local_folder("our/other", cache_dir=tmp_path, local_files_only=True)


def test_a_missing_folder_is_told_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "quickstart" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("runs/quikstart/model", "runs/quikstart", str(tmp_path / "runs/quikstart/x")):
        assert no_folder(name) == f"there is no folder {name} (did you mean 'quickstart'?)"
    assert no_folder("run/x") == "there is no folder run/x (did you mean 'runs'?)"
    for name in ("a/b", "nothing", "", "/no/such"):
        assert re.fullmatch(f"there is no folder {name}( \\(did you mean .*)?", no_folder(name))
    (tmp_path / "runs" / "a.txt").touch()
    assert no_folder("runs/a.tx") == "there is no folder runs/a.tx"
