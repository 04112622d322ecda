"""Tiny parts of other makers for the tests of joining: decoders with tokenizers, towers, an OpenCLIP, a Qwen."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from qwenvl.model import QwenVLForConditionalGeneration
from qwenvl.model.convert.official import released_config, released_state_dict
from tests.conftest import TEXTS
from tests.model.helpers import small_config

_SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "initializer_range": 0.3}
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
_VIT = {**_SIZES, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
_WORDS = {**_SIZES, "num_attention_heads": 2, "vocab_size": 50}


def tokenizer(folder: Path, *specials: str, bos: str | None = None, eos: str) -> int:
    """A byte-level tokenizer trained on a few words, saved by transformers; gives the number of its ids."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = list(dict.fromkeys([*([bos] if bos else []), eos, *specials]))
    trainer = trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, special_tokens=names, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, made.token_to_id(bos))]
        )
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token=bos, eos_token=eos).save_pretrained(folder)
    return made.get_vocab_size()


def llama(folder: Path) -> Path:
    """Untied, every text begins with a token, no ChatML, as many rows as ids."""
    size = tokenizer(folder, bos="<|begin_of_text|>", eos="<|end_of_text|>")
    config = transformers.LlamaConfig(vocab_size=size, max_position_embeddings=512, **_SIZES, **_HEADS)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def qwen3(folder: Path) -> Path:
    """Tied, with ChatML's tokens, more rows than ids."""
    tokenizer(folder, "<|im_start|>", "<|im_end|>", eos="<|endoftext|>")
    config = transformers.Qwen3Config(
        vocab_size=420, max_position_embeddings=512, tie_word_embeddings=True, **_SIZES, **_HEADS
    )
    transformers.Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


def decoder(folder: Path, name: str, **settings: object) -> Path:
    """Any decoder of transformers by the name of its classes, with Llama's tokenizer."""
    size = tokenizer(folder, bos="<|begin_of_text|>", eos="<|end_of_text|>")
    config = getattr(transformers, f"{name}Config")(vocab_size=size, **settings)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """A whole SigLIP, with its own normalisation of pictures beside it."""
    config = transformers.SiglipConfig(vision_config=dict(_VIT), text_config=dict(_WORDS))
    transformers.SiglipModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    return folder


def siglip2(folder: Path) -> Path:
    """SigLIP 2's vision tower of free aspect, which takes patches."""
    vision = {key: value for key, value in _VIT.items() if key != "image_size"} | {"num_patches": 16}
    config = transformers.Siglip2Config(vision_config=vision, text_config=dict(_WORDS))
    transformers.Siglip2Model(config).save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    """A whole CLIP; its tower has a class token."""
    config = transformers.CLIPConfig(vision_config=dict(_VIT), text_config=dict(_WORDS), projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    return folder


def dinov3(folder: Path) -> Path:
    """A class token and four registers, rotary positions."""
    transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**_VIT, num_register_tokens=4)).save_pretrained(folder)
    return folder


def openclip(folder: Path) -> Path:
    """A random state dict with an OpenCLIP ViT's names: width 12, 2 heads, 2 layers, patches of 8 on a grid of 4."""
    folder.mkdir()
    state = {
        "visual.class_embedding": torch.randn(12),
        "visual.positional_embedding": torch.randn(17, 12),
        "visual.conv1.weight": torch.randn(12, 3, 8, 8) * 0.1,
        "visual.proj": torch.randn(12, 8),
        "token_embedding.weight": torch.randn(9, 8),
    }
    shapes = {"ln_1": (12,), "ln_2": (12,), "attn.out_proj": (12, 12), "mlp.c_fc": (20, 12), "mlp.c_proj": (12, 20)}
    for block in range(2):
        name = f"visual.transformer.resblocks.{block}."
        state |= {f"{name}attn.in_proj_weight": torch.randn(36, 12) * 0.3, f"{name}attn.in_proj_bias": torch.randn(36)}
        for part, shape in shapes.items():
            state[f"{name}{part}.weight"], state[f"{name}{part}.bias"] = torch.randn(shape) * 0.3, torch.randn(shape[0])
    for norm in ("ln_pre", "ln_post"):
        state |= {f"visual.{norm}.weight": torch.randn(12), f"visual.{norm}.bias": torch.randn(12)}
    save_file(state, folder / "open_clip_model.safetensors")
    config = {"model_cfg": {"vision_cfg": {"head_width": 6}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def qwen(folder: Path) -> QwenVLForConditionalGeneration:
    """A text-only Qwen in the released form, in two shards, with a vocabulary of the 256 bytes; gives its weights."""
    folder.mkdir()
    source = QwenVLForConditionalGeneration(small_config(text={"vocab_size": 480}, adapter_heads=1))
    config = source.config
    state = released_state_dict(source.state_dict(), config)
    state = {name: tensor.clone() for name, tensor in state.items() if not name.startswith("transformer.visual")}
    names = sorted(state)
    index = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: state[name] for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config.vision_config.position_grid, config.image_end_id, config.image_slot_id = 16, 81, 82
    released = released_config(config)
    del released["visual"]
    (folder / "config.json").write_text(json.dumps(released))
    lines = [base64.b64encode(bytes([byte])).decode() + f" {byte}\n" for byte in range(256)]
    (folder / "qwen.tiktoken").write_text("".join(lines))
    return source
