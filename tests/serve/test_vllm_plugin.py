"""What vLLM's transformers backend asks of the model, and, where vLLM is installed, that it says what we say."""

from __future__ import annotations

import copy
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.sample import Image, Text, Turn
from qwenvl.serve import Generation, Loaded, generate, load
from qwenvl.text.chatml import dialogue_sample
from qwenvl.text.render import Example, render

ROOT = Path(__file__).parents[2]
TRAINED = 16
"""The length that the tiny model is made for: NTK and log-n begin after it."""


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> QwenVLForConditionalGeneration:
    model = QwenVLForConditionalGeneration.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    model.config.text_config.seq_length = TRAINED
    return model


def test_the_declared_entry_point_registers_the_architecture_that_checkpoints_name(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    registered: dict[str, str] = {}
    fake = ModuleType("vllm")
    fake.ModelRegistry = SimpleNamespace(register_model=registered.__setitem__)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", fake)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, function = project["entry-points"]["vllm.general_plugins"]["qwenvl"].split(":")
    for _ in range(2):  # vLLM may call it more than once
        getattr(import_module(module), function)()
    architecture = QwenVLConfig.from_pretrained(tiny_folder).architectures[0]
    assert registered[architecture].endswith(":TransformersMultiModalForCausalLM")


def test_the_backend_finds_its_parts(tiny: QwenVLForConditionalGeneration) -> None:
    model = tiny.model
    assert model.get_decoder() is model.language_model
    assert model.get_encoder(modality="image") is model.vision_tower
    assert [layer.attn.layer_idx for layer in model.language_model.layers] == [0, 1]
    side, queries = tiny.config.vision_config.image_size, tiny.config.num_queries
    features = model.get_image_features(torch.zeros(2, 3, side, side), return_dict=True).pooler_output
    assert features.shape == (2, queries, tiny.config.text_config.hidden_size)


def causal_by_prompt(lengths: list[int], scaling: float) -> Any:
    """vLLM's attention as a plain function: one row of many prompts, each causal and blind to the others."""

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, None]:
        assert mask is None and kwargs["scaling"] == scaling
        parts = zip(*(x.split(lengths, dim=2) for x in (query, key, value)), strict=True)
        mixed = [functional.scaled_dot_product_attention(*part, is_causal=True, scale=scaling) for part in parts]
        return torch.cat(mixed, dim=2).transpose(1, 2).flatten(2)[0], None

    return attend


def test_many_short_prompts_in_one_row_are_no_long_prompt(
    tiny: QwenVLForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = copy.deepcopy(tiny.model.language_model)
    lengths = [TRAINED, 5, TRAINED - 1]
    rows = [torch.randint(0, 300, (1, n), generator=torch.Generator().manual_seed(n)) for n in lengths]
    with torch.inference_mode():
        alone = [decoder(input_ids=row, use_cache=False).last_hidden_state for row in rows]
        scaling = decoder.layers[0].attn.scaling
        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "vllm", causal_by_prompt(lengths, scaling))
        decoder.config._attn_implementation = "vllm"
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        together = decoder(input_ids=torch.cat(rows, 1), position_ids=positions, use_cache=False).last_hidden_state
    assert (together - torch.cat(alone, 1)).abs().max() < 1e-5


class _Called(nn.Module):
    """An engine's layer: it can be called, but its weight is somewhere else."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._held = [layer]

    def forward(self, x: Tensor) -> Tensor:
        return self._held[0](x)  # type: ignore[no-any-return]


def test_linear_layers_are_called_and_their_weights_not_read(tiny: QwenVLForConditionalGeneration) -> None:
    side = tiny.config.vision_config.image_size
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    ids = torch.arange(8)[None]
    other = copy.deepcopy(tiny)
    replaced = [(m, name, c) for m in other.modules() for name, c in m.named_children() if isinstance(c, nn.Linear)]
    assert len(replaced) > 10
    for module, name, layer in replaced:
        setattr(module, name, _Called(layer))
    with torch.inference_mode():
        for a, b in ((tiny, other),):
            assert torch.equal(a.get_image_features(pixels).pooler_output, b.get_image_features(pixels).pooler_output)
            assert torch.equal(a(input_ids=ids).logits, b(input_ids=ids).logits)


def conversations(loaded: Loaded) -> list[Example]:
    """Twenty questions about drawn scenes: one picture or two, short and long."""
    from qwenvl.data.synth.scenes import scene_record

    pictures = [scene_record(11, index, "test").images[0] for index in range(20)]
    long = "There is a red star, a blue circle and a green sign. " * 40
    asked: list[tuple[Image | Text, ...]] = []
    for index, picture in enumerate(pictures):
        forms: tuple[tuple[Image | Text, ...], ...] = (
            (picture, Text("What color is the digit?")),
            (picture, Text("Draw a box around every object.")),
            (picture, pictures[index - 1], Text("哪张图片里有星星？")),
            (picture, Text(long + "How many objects are there?")),
        )
        asked.append(forms[index % 4])
    queries = loaded.model.config.num_queries
    samples = [dialogue_sample([Turn("user", parts)], reply=True) for parts in asked]
    return [render(sample, loaded.tokenizer, queries) for sample in samples]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllm_says_what_we_say_to_twenty_pictures_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from vllm import LLM, SamplingParams

    loaded = load("nano")
    examples = conversations(loaded)
    # Together longer than the model was trained for, which must not matter.
    assert sum(len(example.ids) for example in examples) > 2048
    ours = generate(loaded.model, loaded.tokenizer, examples, Generation(max_new_tokens=32))
    messages = [_message(loaded, example) for example in examples]
    engine = LLM(
        str(loaded.folder),
        dtype="float32",
        enforce_eager=True,
        max_num_batched_tokens=8192,
        gpu_memory_utilization=0.3,  # of a CPU: its memory, which others use too
        limit_mm_per_prompt={"image": 2},
    )
    assert engine.llm_engine.model_config.max_model_len == loaded.model.config.text_config.seq_length
    stop = [loaded.tokenizer.eos_id, loaded.tokenizer.im_end_id]
    found = engine.chat(messages, SamplingParams(temperature=0, max_tokens=32, stop_token_ids=stop), use_tqdm=False)
    for example, expected, output in zip(examples, ours, found, strict=True):
        assert list(output.prompt_token_ids) == example.ids
        said = list(output.outputs[0].token_ids)
        assert said[: len(said) - (said[-1] in stop)] == expected
    assert len({tuple(answer) for answer in ours}) > 5


def _message(loaded: Loaded, example: Example) -> list[dict[str, Any]]:
    """The example's question in vLLM's words: its pictures, then the text after the last one."""
    words = loaded.tokenizer.decode(example.ids[example.slots[-1].start + example.slots[-1].length + 1 :])
    question = words.removeprefix("\n").split("<|im_end|>")[0]
    shown = [{"type": "image_pil", "image_pil": slot.image.pil()} for slot in example.slots]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": question}]}]
