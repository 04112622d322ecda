"""Joining trained parts: the paper's own pair, other decoders and towers, and what can't be joined."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image as PILImage
from transformers import AutoModel, AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from qwenvl import Chat, cli
from qwenvl.config import Recipe
from qwenvl.model import QwenVLForConditionalGeneration
from qwenvl.model.init import init
from qwenvl.model.load import Loaded, load
from qwenvl.model.parts import ForeignTower
from qwenvl.model.parts_read import InitError, read_vision
from qwenvl.model.pixels import CLIP_MEAN, CLIP_STD
from qwenvl.model.processor import QwenVLProcessor
from qwenvl.serve.engine import Generation
from qwenvl.text.vocabulary import VISION_TOKENS
from qwenvl.train.build import check_packing
from qwenvl.train.parallel import Ranks
from qwenvl.train.run import prepare, run_stages
from qwenvl.typed import ConfigError, from_dict
from tests.model import parts

QUERIES = 4
PAIRS = [
    (parts.siglip, parts.llama),
    (parts.dinov3, parts.qwen3),
    (parts.clip, parts.qwen3),
    (parts.siglip2, parts.llama),
]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: "-".join(part.__name__ for part in pair))
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parts of other makers (`vision`, `language`) and the model joined from them (`model`)."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    vision, language = request.param
    init(vision(folder / "vision"), language(folder / "language"), folder / "model", queries=QUERIES)
    return folder


def batch(loaded: Loaded, *texts: str) -> dict[str, torch.Tensor]:
    """Texts as a left-padded batch, a random picture for each `<img></img>`."""
    processor = QwenVLProcessor(loaded.tokenizer, loaded.model.config)
    generator = torch.Generator().manual_seed(0)
    pixels = [
        PILImage.fromarray(torch.randint(256, (40, 30, 3), dtype=torch.uint8, generator=generator).numpy())
        for text in texts
        for _ in range(text.count("<img>"))
    ]
    return dict(processor(list(texts), images=pixels))


def test_the_papers_pair(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = parts.qwen(tmp_path / "qwen")
    made = init(parts.openclip(tmp_path / "clip"), tmp_path / "qwen", tmp_path / "out", image_size=64, queries=QUERIES)
    loaded = load(tmp_path / "out")
    assert loaded.model.config.vision_config.position_grid == 4
    assert (loaded.model.config.image_start_id, loaded.model.config.image_slot_id) == (470, 472)
    state, wanted = loaded.model.state_dict(), source.state_dict()
    assert all(tensor.equal(made.state_dict()[name]) for name, tensor in state.items())
    words = [name for name in state if "language_model" in name or "lm_head" in name]
    assert len(words) == 17 and all(state[name].equal(wanted[name]) for name in words)
    adapter = loaded.model.model.adapter
    assert adapter.q_proj.weight.std() > 0.01 and adapter.norm_q.weight.eq(1).all()
    row = batch(loaded, "Picture 1: <img></img>\nWhat is it?")
    assert row["pixel_values"].shape[-1] == 64
    loaded.model(**row, labels=row["input_ids"]).loss.backward()
    assert loaded.model.model.vision_tower.patch_embed.weight.grad.abs().sum() > 0


def test_parts_are_taken_as_they_are(joined: Path) -> None:
    model = load(joined / "model").model
    language = AutoModelForCausalLM.from_pretrained(joined / "language", dtype=torch.float32)
    known = len(json.loads((joined / "language" / "tokenizer.json").read_text())["model"]["vocab"])
    for name, tensor in language.base_model.state_dict().items():
        ours = model.model.language_model.model.state_dict()[name]
        assert ours[: tensor.shape[0]][:known].equal(tensor[:known]) if "embed" in name else ours.equal(tensor), name
    assert model.lm_head.weight[:known].equal(language.lm_head.weight[:known])
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == language.config.tie_word_embeddings


def test_only_missing_tokens_are_added_and_their_rows_are_quiet(joined: Path) -> None:
    loaded = load(joined / "model")
    own = json.loads((joined / "language" / "tokenizer.json").read_text())
    count = len(own["model"]["vocab"])
    chatml = {token["content"] for token in own["added_tokens"]} >= {"<|im_start|>", "<|im_end|>"}
    assert loaded.tokenizer.vocab_size == count + len(VISION_TOKENS) + (0 if chatml else 2)
    assert loaded.model.config.text_config.vocab_size == max(loaded.tokenizer.vocab_size, 420 if chatml else 0)
    rows = loaded.model.get_input_embeddings().weight[count : loaded.tokenizer.vocab_size]
    assert rows.std() < 0.1 and rows.unique(dim=0).shape[0] == rows.shape[0]


def test_pictures_reach_the_answer_and_the_loss_reaches_the_tower(joined: Path) -> None:
    loaded = load(joined / "model")
    model = loaded.model
    row = batch(loaded, "Picture 1: <img></img>\nWhat is it?")
    output = model(**row, labels=row["input_ids"])
    output.loss.backward()
    tower = [parameter for parameter in model.model.vision_tower.parameters() if parameter.grad is not None]
    assert len(tower) > 10 and all(parameter.grad.isfinite().all() for parameter in tower)
    assert sum(float(parameter.grad.abs().sum()) for parameter in tower) > 0
    with torch.no_grad():
        plain = model(**row).logits
        other = model(**{**row, "pixel_values": -row["pixel_values"]}).logits
    end = int((row["input_ids"][0] == loaded.tokenizer.img_start_id).nonzero()[0])
    assert torch.allclose(plain[:, :end], other[:, :end]) and not torch.allclose(
        plain[:, end + 1 :], other[:, end + 1 :]
    )


def test_answers_do_not_depend_on_cache_or_padding(joined: Path) -> None:
    loaded = load(joined / "model")
    texts = ("Picture 1: <img></img>\nWhat is it?", "Where is the red star? Picture 1: <img></img> a large blue circle")
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": loaded.tokenizer.eos_id}
    together = batch(loaded, *texts)
    found = loaded.model.generate(**together, **options)[:, together["input_ids"].shape[1] :]
    for number in range(2):
        alone = batch(loaded, texts[number])
        alone["pixel_values"] = together["pixel_values"][number : number + 1]
        for cache in (True, False):
            answer = loaded.model.generate(**alone, **options, use_cache=cache)[:, alone["input_ids"].shape[1] :]
            assert answer[0].tolist() == found[number].tolist()


def test_chat_and_saving_again(joined: Path, picture: Path, tmp_path: Path) -> None:
    loaded = load(joined / "model")
    chat = Chat(loaded.model, loaded.tokenizer, options=Generation(max_new_tokens=5))
    reply = chat.ask("Where is <img> the <|im_end|> red star?", [picture])
    assert "".join(chat.stream("Draw it.")) == chat.reply.raw
    with pytest.raises(ValueError, match="own tower and decoder only"):
        loaded.model.save_pretrained(tmp_path / "released", form="released")
    loaded.model.save_pretrained(tmp_path / "again")
    loaded.tokenizer.save(tmp_path / "again")
    again = load(tmp_path / "again")
    second = Chat(again.model, again.tokenizer, options=Generation(max_new_tokens=5))
    assert second.ask("Where is <img> the <|im_end|> red star?", [picture]).raw == reply.raw


def test_it_trains_in_packed_rows(joined: Path, tmp_path: Path) -> None:
    recipe = {
        "name": "parts",
        "init": str(joined / "model"),
        "corpus": {"scenes": 6, "size": 64},
        "precision": "float32",
        "log_every": 1,
        "stages": [
            {
                "name": "stage2",
                "trains": ["vision", "adapter", "decoder"],
                "tasks": {"vqa": {"questions": 3}, "dialogue": {}},
                "steps": 2,
                "image_size": 48,
                "sequence": 400,
                "rows": 2,
                "isolate": True,
                "lr": 1e-3,
                "layer_decay": 0.9,
            }
        ],
    }
    before = load(joined / "model").model.state_dict()
    prepare(from_dict(Recipe, recipe, "parts"), tmp_path / "run", quiet=True)
    run_stages(Ranks(), from_dict(Recipe, recipe, "parts"), tmp_path / "run", quiet=True)
    after = load(tmp_path / "run" / "model").model.state_dict()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 2
    changed = {name for name, tensor in after.items() if not tensor.equal(before[name])}
    for part in ("vision_tower", "adapter", "language_model"):
        assert any(part in name for name in changed), part


def test_packed_samples_are_computed_as_if_alone(joined: Path) -> None:
    decoder = load(joined / "model").model.model.language_model
    assert decoder.isolates()
    with pytest.raises(ValueError, match="sdpa or eager"):
        decoder.config._attn_implementation = "flash_attention_2"
        decoder(attention_mask=torch.ones(1, 1, 2, 2, dtype=torch.bool), inputs_embeds=torch.zeros(1, 2, 32))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_both_kinds_of_attention_isolate(joined: Path, attention: str) -> None:
    model = QwenVLForConditionalGeneration.from_pretrained(joined / "model", attn_implementation=attention)
    assert model.model.language_model.isolates()


def test_a_decoder_that_runs_on_through_the_row_must_not_isolate(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    layers = {"num_key_value_heads": 2, "layer_types": ["conv", "full_attention"], "initializer_range": 0.3}
    folder = parts.decoder(tmp_path / "lfm2", "Lfm2", **sizes, **layers)
    model = init(parts.clip(tmp_path / "clip"), folder, tmp_path / "out", queries=QUERIES)
    stage = {"name": "s", "trains": ["adapter"], "tasks": {"vqa": {}}, "steps": 1}
    recipe = from_dict(Recipe, {"name": "r", "init": "x", "stages": [{**stage, "isolate": True}]}, "r")
    with pytest.raises(ConfigError, match=r"lfm2.*isolate=false"):
        check_packing(model, recipe.stages)
    check_packing(model, from_dict(Recipe, {"name": "r", "init": "x", "stages": [stage]}, "r").stages)


@pytest.mark.parametrize("size", [None, 64])
@pytest.mark.parametrize("maker", [parts.siglip, parts.siglip2, parts.clip, parts.dinov3])
def test_a_tower_gives_its_own_patch_features(maker: Callable[[Path], Path], size: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    read = read_vision(maker(tmp_path / "tower"), size)
    tower = ForeignTower(read.config, read.mean, read.std)
    tower.model = read.tower
    assert (read.mean == [0.5] * 3) == (maker is parts.siglip)
    side = size or 32
    pixels = torch.rand(2, 3, side, side)
    mean, std = (torch.tensor(v)[:, None, None] for v in (read.mean or CLIP_MEAN, read.std or CLIP_STD))
    with torch.no_grad():
        clips = (pixels - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]
        found = tower(clips).last_hidden_state
        if maker is parts.siglip2:
            from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

            patches = [torch.from_numpy(convert_image_to_patches(p.numpy(), 8)) for p in (pixels - mean) / std]
            count = torch.ones(2, (side // 8) ** 2, dtype=torch.long)
            shapes = torch.full((2, 2), side // 8)
            expected = read.tower(torch.stack(patches), count, shapes).last_hidden_state
        else:
            original = AutoModel.from_pretrained(tmp_path / "tower")
            original = getattr(original, "vision_model", original)
            more = {"interpolate_pos_encoding": True} if size and maker is not parts.dinov3 else {}
            expected = original((pixels - mean) / std, **more).last_hidden_state
    assert found.shape == (2, (side // 8) ** 2, 32)
    expected = expected[:, -found.shape[1] :]
    # a resized table of positions is rounded once more
    assert torch.allclose(found, expected, atol=1e-4), (found - expected).abs().max()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vision, language = parts.siglip(tmp_path / "siglip"), parts.llama(tmp_path / "llama")
    arguments = ["init", "--vision", str(vision), "--language", str(language), str(tmp_path / "out"), "--queries", "4"]
    assert cli.main([*arguments, "--dtype", "bfloat16"]) == cli.OK
    assert "adapter" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()
    assert cli.main(arguments) == cli.USAGE
    assert "not empty" in capsys.readouterr().err


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return parts.siglip(tmp_path / "siglip"), parts.llama(tmp_path / "llama")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("siglip/config.json", r"needs its config\.json"),
        ("siglip/model.safetensors", "could not be read"),
        ("llama/config.json", r"--language .*no config\.json"),
        ("llama/model.safetensors", r"no file named model\.safetensors"),
        ("llama/tokenizer.json", r"no tokenizer\.json.*save_pretrained"),
    ],
)
def test_a_missing_file_is_named(pair: tuple[Path, Path], file: str, said: str) -> None:
    (pair[0].parent / file).unlink()
    if file.startswith("siglip/model"):
        (pair[0].parent / file).write_bytes(b"cut")
    with pytest.raises(InitError, match=said):
        init(*pair, pair[0].parent / "out")
    assert not list(pair[0].parent.glob("*out*")), "nothing may be left behind"


def test_what_can_not_be_joined(pair: tuple[Path, Path], tmp_path: Path, tiny_folder: Path) -> None:
    vision, language = pair
    out = tmp_path / "out"
    with pytest.raises(InitError, match=r"--vision .* does not exist"):
        init(tmp_path / "nothing", language, out)
    with pytest.raises(InitError, match="whole Qwen-VL"):
        init(vision, tiny_folder, out)
    with pytest.raises(InitError, match="not a square number"):
        init(vision, language, out, queries=5)
    with pytest.raises(InitError, match="no multiple of the tower's patch, 8"):
        init(vision, language, out, image_size=30)
    (language / "config.json").write_text("{")
    with pytest.raises(InitError, match=r"config\.json is not readable as JSON"):
        init(vision, language, out)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2}
    whole = parts.llama(tmp_path / "whole")
    text = {**sizes, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    tower = {**sizes, "intermediate_size": 48, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    both = Gemma3Config(text_config={**text, "vocab_size": 400}, vision_config=tower, mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(both).save_pretrained(whole)
    with pytest.raises(InitError, match="other towers beside the text's"):
        init(vision, whole, out)
    mamba = parts.decoder(tmp_path / "mamba", "Mamba", **sizes, state_size=8)
    with pytest.raises(InitError, match="mamba can't be the decoder"):
        init(vision, mamba, out)
    phi = parts.decoder(tmp_path / "phi", "Phi", **sizes, intermediate_size=48, num_attention_heads=4)
    with pytest.raises(InitError, match="a bias"):
        init(vision, phi, out)
    narrow = parts.decoder(tmp_path / "narrow", "Llama", **{**sizes, "hidden_size": 30}, num_attention_heads=5)
    with pytest.raises(InitError, match="do not fit: The decoder's width 30"):
        init(vision, narrow, out)


def test_a_capped_head_stays_capped(pair: tuple[Path, Path], tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    folder = parts.decoder(
        tmp_path / "gemma2", "Gemma2", **sizes, num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.2
    )
    init(pair[0], folder, tmp_path / "out", queries=QUERIES)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        found = load(tmp_path / "out").model(ids).logits
    assert torch.allclose(found[..., : expected.shape[-1]], expected, atol=1e-5) and found.abs().max() < 0.2


def test_a_released_qwen_that_is_not_whole(tmp_path: Path) -> None:
    parts.qwen(tmp_path / "qwen")
    vision = parts.openclip(tmp_path / "clip")

    def broken(name: str, change: Callable[[Path], object], said: str) -> None:
        folder = Path(shutil.copytree(tmp_path / "qwen", tmp_path / name))
        change(folder)
        with pytest.raises(InitError, match=said):
            init(vision, folder, tmp_path / "out", image_size=64, queries=QUERIES)

    broken("a", lambda f: (f / "qwen.tiktoken").unlink(), r"no qwen\.tiktoken")
    broken("b", lambda f: (f / "qwen.tiktoken").write_text("x"), r"qwen\.tiktoken, line 1")
    broken("c", lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "model-00002-of-00002")
    index = "model.safetensors.index.json"

    def forget(folder: Path) -> None:
        found = json.loads((folder / index).read_text())
        file = found["weight_map"].pop("lm_head.weight")
        from safetensors.torch import load_file, save_file

        state = load_file(folder / file)
        del state["lm_head.weight"]
        save_file(state, folder / file, metadata={"format": "pt"})
        (folder / index).write_text(json.dumps(found))

    broken("d", forget, r"lack lm_head\.weight")

    def quantise(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))

    broken("e", quantise, "quantised")
