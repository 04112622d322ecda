"""Training that starts from a checkpoint in the released form: LoRA and its merging, and all weights."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwenvl import Chat
from qwenvl.config import Recipe
from qwenvl.data.images import load_image
from qwenvl.model.load import Loaded, ModelError, load
from qwenvl.model.lora import has_lora
from qwenvl.model.merge import merge
from qwenvl.serve import Generation
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS
from qwenvl.train.build import start_from
from qwenvl.train.run import train
from qwenvl.typed import ConfigError, from_dict, to_dict
from tests.model.helpers import OFFICIAL
from tests.model.released import official_config, official_state, write
from tests.train.helpers import tiny

SIZE = 256 + len(SPECIAL_TOKENS)
EMBEDDINGS = ("transformer.wte.weight", "lm_head.weight")


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nano-official with a vocabulary: the 256 bytes and the special tokens, more rows than its 320."""
    config, state = official_config(), official_state()
    config |= {"vocab_size": SIZE, "visual": config["visual"] | {"image_start_id": 256 + SPECIAL_TOKENS.index("<img>")}}
    generator = torch.Generator().manual_seed(0)
    for name in EMBEDDINGS:
        more = torch.randn(SIZE - len(state[name]), state[name].shape[1], generator=generator)
        state[name] = torch.cat([state[name], more * state[name].std()])
    folder = write(tmp_path_factory.mktemp("released") / "model", config, state, shards=2)
    lines = (f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
    (folder / "qwen.tiktoken").write_text("".join(lines))
    return folder


def recipe_from(init: Path, **changes: object) -> Recipe:
    """Four steps of all parts, pictures as large as the model's."""
    stage = to_dict(tiny().stages[0]) | {"optimizer": "adamw", "steps": 4, "warmup": 0, "rows": 2, "sequence": 512}
    stage |= {"image_size": 112, "lr": 2e-2}
    data = to_dict(tiny()) | {"model": None, "tokenizer": None, "init": str(init), "stages": [stage]}
    return from_dict(Recipe, data | changes, "released")


def answers(loaded: Loaded) -> list[str]:
    """What is said of two pictures."""
    talk = Chat(loaded.model, loaded.tokenizer, options=Generation(max_new_tokens=12))
    return [talk.ask("Where?", [load_image(OFFICIAL / f"{number}.png")]).raw for number in (0, 1)]


def logits(loaded: Loaded) -> torch.Tensor:
    """What the model says of a picture and some text."""
    config = loaded.model.config
    ids = [config.image_start_id, *[config.image_slot_id] * config.num_queries, config.image_end_id, *b"Where is it?"]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        pixels = torch.randn(1, 3, 112, 112, generator=generator)
        return loaded.model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits


def test_additions_to_a_released_model_and_their_merging(released: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    lora = {"targets": ["decoder", "vision.qkv", "adapter.proj"], "rank": 4, "alpha": 32}
    out = tmp_path / "run"
    train(recipe_from(released, lora=lora), out, quiet=True)
    active, plain = load(out / "model"), load(released)
    assert has_lora(active.model) and not has_lora(plain.model)
    assert merge(out, tmp_path / "whole") == released
    merged = load(tmp_path / "whole")
    assert not has_lora(merged.model)
    assert (logits(active) - logits(plain)).abs().max() > 1e-2, "training changed nothing"
    torch.testing.assert_close(logits(merged), logits(active), atol=1e-4, rtol=1e-4)
    assert answers(merged) == answers(active) != answers(plain)
    assert merged.model.generation_config.to_dict() == plain.model.generation_config.to_dict()


@pytest.mark.slow
def test_all_weights_of_a_released_model_train(released: Path, tmp_path: Path) -> None:
    model, tokenizer = start_from(released)
    assert model.dtype == torch.float32 and tokenizer.vocab_size == SIZE
    folder = train(recipe_from(released), tmp_path / "run", quiet=True)
    trained, plain = load(folder), load(released)
    assert trained.tokenizer.encode("Où?") == plain.tokenizer.encode("Où?")
    before = dict(plain.model.named_parameters())
    still = [name for name, parameter in trained.model.named_parameters() if parameter.equal(before[name])]
    # the norms' weights among them: everything learns
    assert not still


def test_what_does_not_fit_is_said_before_training(released: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(released, folder)
    QwenTokenizer.train_small(["a small world"], 260).save(folder)
    for read, error in ((load, ModelError), (start_from, ConfigError)):
        with pytest.raises(error, match=r"tokenizer\.json: .* in the tokenizer, but .* in the model's"):
            read(folder)
    (folder / "tokenizer.json").unlink()
    shard = folder / "model-00001-of-00002.safetensors"
    state = load_file(shard)
    state.popitem()
    save_file(state, shard)
    for read, error in ((load, ModelError), (start_from, ConfigError)):
        with pytest.raises(error, match=r"model-00001-of-00002|weights lack"):
            read(folder)
