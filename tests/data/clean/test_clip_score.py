"""CLIP score: from a column or a model, in batches, one bad picture costing no other."""

import io
from pathlib import Path

import pytest
from PIL import Image as PILImage

from qwenvl.data.clean.rule import Drop
from qwenvl.data.clean.rules import RULES
from qwenvl.data.clean.rules.bounded import Bounds
from qwenvl.data.clean.rules.clip_score import ClipScore
from qwenvl.data.images import ImageError
from qwenvl.data.pair import Pair
from qwenvl.typed import ConfigError


def jpeg(colour: str) -> bytes:
    buffer = io.BytesIO()
    PILImage.new("RGB", (40, 30), colour).save(buffer, "JPEG")
    return buffer.getvalue()


def pair(caption: str | None, image: bytes = b"", source: str = "web", **meta: object) -> Pair:
    return Pair(f"{source}/0/{caption}", source, image, caption, meta=meta)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    """A CLIP of a few thousand random numbers, as transformers saves one."""
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    letters = sorted(ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: number for number, name in enumerate(names)}
    torch.manual_seed(0)
    layer = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=layer | {"vocab_size": len(names), "max_position_embeddings": 24, "bos_token_id": len(names) - 2,
                             "eos_token_id": len(names) - 1},
        vision_config=layer | {"image_size": 16, "patch_size": 8},
        projection_dim=8,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    CLIPProcessor(pictures, CLIPTokenizer(vocab=vocabulary, merges=[])).save_pretrained(folder)
    return str(folder)


def test_scores_are_the_models(clip: str) -> None:
    import torch
    from transformers import AutoModel, AutoProcessor

    image = jpeg("red")
    rule = ClipScore(model=clip, device="cpu")
    found = rule.measure(pair("a red picture", image))
    processor, model = AutoProcessor.from_pretrained(clip), AutoModel.from_pretrained(clip)
    inputs = processor(text=["a red picture"], images=[PILImage.open(io.BytesIO(image))], return_tensors="pt")
    with torch.inference_mode():
        expected = (model(**inputs).logits_per_image / model.logit_scale.exp()).item()
    assert found == pytest.approx(expected, abs=1e-3)


def test_a_batch_gives_what_single_pairs_give(clip: str) -> None:
    pairs = [
        pair(f"{colour} {'long ' * n}", jpeg(colour)) for n, colour in enumerate(("red", "green", "blue", "white"))
    ]
    whole = ClipScore(model=clip, device="cpu").measure_all(pairs)
    assert len({*whole}) == 4
    assert ClipScore(model=clip, device="cpu", batch=3).measure_all(pairs) == pytest.approx(whole, abs=2e-4)
    assert [ClipScore(model=clip, device="cpu").measure(one) for one in pairs] == pytest.approx(whole, abs=2e-4)


def test_a_broken_picture_costs_no_other(clip: str) -> None:
    good, broken, none = pair("red", jpeg("red")), pair("cut", jpeg("red")[:200]), pair(None, jpeg("red"))
    first, second, third, fourth = ClipScore(model=clip, device="cpu").measure_all([good, broken, none, good])
    assert isinstance(second, ImageError)
    assert third is None
    assert isinstance(first, float) and first == fourth
    assert ClipScore(model=clip, device="cpu").measure_all([broken])[0].__class__ is ImageError


def test_odd_texts_are_scored(clip: str) -> None:
    texts = ["\ud800", "word " * 500, "一只猫 😀", "<|endoftext|>"]
    scores = ClipScore(model=clip, device="cpu").measure_all([pair(text, jpeg("red")) for text in texts])
    assert all(isinstance(score, float) and -1 <= score <= 1 for score in scores)


def test_a_column_is_taken_before_a_model_is_loaded() -> None:
    rule = ClipScore(columns=("similarity", "score"), model="no/such/model", min=0.3)
    kept, dropped, text = pair("a", similarity=0.31), pair("b", score="0.29"), pair("c", similarity=None, score=0.5)
    assert rule.measure_all([kept, dropped, text]) == [0.31, 0.29, 0.5]
    assert [rule.decide(one, rule.measure(one)) for one in (kept, dropped)] == [None, Drop("low CLIP score")]


def test_without_a_score_a_pair_stays() -> None:
    rule = ClipScore(columns=("similarity",), min=0.3)
    for value in (None, "", "high", float("nan"), True, [0.1]):
        this = pair("a", similarity=value)
        assert rule.decide(this, rule.measure(this)) is None


def test_each_source_has_its_bar() -> None:
    rule = RULES["clip_score"](columns=("s",), min=0.2, sources={"laion": Bounds(min=0.3)})
    verdicts = [rule.decide(p, rule.measure(p)) for p in (pair("a", source="laion", s=0.25), pair("a", s=0.25))]
    assert verdicts == [Drop("low CLIP score"), None]


def test_chinese_captions_have_their_own_model(clip: str) -> None:
    english = ClipScore(model=clip, chinese_model="no/such/model", device="cpu")
    assert isinstance(english.measure(pair("a cat", jpeg("red"))), float)
    with pytest.raises(ConfigError, match="no/such/model"):
        english.measure(pair("一只猫", jpeg("red")))
    assert ClipScore(chinese_model=clip, device="cpu").measure(pair("a cat", jpeg("red"))) is None


def test_what_is_no_clip_is_said(clip: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 'columns'"):
        ClipScore()
    with pytest.raises(ConfigError, match="at least 1"):
        ClipScore(model=clip, batch=0)
    with pytest.raises(ConfigError, match="can not be loaded on cpu"):
        ClipScore(model=str(tmp_path), device="cpu").measure(pair("a", jpeg("red")))
    with pytest.raises(ConfigError, match="can not be loaded"):
        ClipScore(model=clip, device="nowhere").measure(pair("a", jpeg("red")))


def test_open_clip(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    open_clip = pytest.importorskip("open_clip")
    import json

    import torch

    tiny = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny-test.json").write_text(json.dumps(tiny), encoding="utf-8")
    open_clip.add_model_config(tmp_path)
    weights = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("tiny-test").state_dict(), weights)
    rule = ClipScore(model=f"open_clip:tiny-test/{weights}", device="cpu")
    scores = rule.measure_all([pair("red", jpeg("red")), pair("blue", jpeg("blue"))])
    assert len(set(scores)) == 2 and all(isinstance(score, float) for score in scores)
    with pytest.raises(ConfigError, match="ARCHITECTURE/WEIGHTS"):
        ClipScore(model="open_clip:tiny-test", device="cpu").measure(pair("a", jpeg("red")))
