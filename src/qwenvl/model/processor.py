"""What stands before the model: pictures to normalised pixels, text with `<img></img>` to ids with image slots."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import BatchFeature
from transformers.processing_utils import MultiModalData, ProcessorMixin
from transformers.utils.chat_template_utils import render_jinja_template

from qwenvl.data.images import load_image
from qwenvl.hub import hub_options, local_folder
from qwenvl.model.configuration import QwenVLConfig
from qwenvl.model.convert.tokenizer_files import check_tokenizer
from qwenvl.model.pixels import CLIP_MEAN, CLIP_STD, QwenVLImageProcessor, as_pictures, pixel_values
from qwenvl.sample import Image, Part, Sample, Special, Text
from qwenvl.text.chatml import CHAT_TEMPLATE, dialogue_sample
from qwenvl.text.messages import tagged_parts, turns_of
from qwenvl.text.render import Example, render
from qwenvl.text.tokenizer import QwenTokenizer
from qwenvl.text.vocabulary import SPECIAL_TOKENS

_PICTURE = re.compile(r"<img>.*?</img>", re.DOTALL)
_FILE = "processor_config.json"

Padding = bool | Literal["longest", "do_not_pad"]


class QwenVLProcessor(ProcessorMixin):  # type: ignore[misc]
    """Text and pictures to the model's inputs; a thin hand on the renderer, which decides every id."""

    image_token = "<img></img>"
    """What stands for a picture in a text."""

    chat_template = CHAT_TEMPLATE

    def __init__(self, tokenizer: QwenTokenizer, config: QwenVLConfig) -> None:
        """`config` says the side that pictures are resized to and how many slots each takes.

        Raises ValueError where the tokenizer and the model have other ids for `<img>`, its slots and `</img>`.
        """
        check_tokenizer(tokenizer, config)
        self._set(tokenizer, config.vision_config.image_size, config.num_queries)

    def _set(self, tokenizer: QwenTokenizer, image_size: int, num_queries: int) -> None:
        self.tokenizer, self.image_size, self.num_queries = tokenizer, image_size, num_queries
        self.image_processor = QwenVLImageProcessor(image_size)
        self.image_token_id: int = tokenizer.image_slot_id

    def __call__(
        self,
        text: str | Sequence[str],
        images: Any = None,
        return_tensors: str | None = "pt",
        *,
        padding: Padding = True,
        padding_side: Literal["left", "right"] = "left",
        split_special_tokens: bool = True,
        fast: bool = False,
        return_mm_token_type_ids: bool = False,
        return_text_replacement_offsets: bool = False,
        **kwargs: Any,
    ) -> BatchFeature:
        """Texts, in which each `<img></img>` stands for the next of `images`, as one padded batch.

        Gives `input_ids` and `attention_mask` (B, L) and, with pictures, `pixel_values` (N, 3, S, S). What stands
        between `<img>` and `</img>` is not read; well-formed `<ref>`, `<box>` and `<quad>` are understood; everything
        else is plain text and cannot become a control token, unless `split_special_tokens` is false: then all special
        tokens that the text spells are meant, which is for text that a program wrote. Pictures may be paths, bytes,
        PIL, arrays or "data:" strings. `fast` prepares them by `pixel_values`' quick way. Nothing is ever cut off.

        `return_mm_token_type_ids` adds (B, L) with 1 at the slots, `return_text_replacement_offsets` for each text
        where its pictures stood, both as `transformers` defines them. Raises ValueError when the number of pictures
        differs from that of the placeholders, and `ImageError`, a ValueError, for what is no picture.
        """
        _refuse(kwargs)
        texts = [text] if isinstance(text, str) else list(text)
        pictures = as_pictures(images)
        wanted = sum(len(_PICTURE.findall(line)) for line in texts)
        if wanted != len(pictures):
            raise ValueError(
                f"The text has {wanted} <img></img> placeholders, but {len(pictures)} pictures were passed; "
                "they must be as many, in the same order."
            )
        examples, taken = [], 0
        for line in texts:
            count = len(_PICTURE.findall(line))
            parts = self._parts(line, pictures[taken : taken + count], split_special_tokens)
            examples.append(render(Sample(parts, "text"), self.tokenizer, self.num_queries))
            taken += count
        data = self._batch(examples, return_tensors, padding, padding_side, fast)
        if return_mm_token_type_ids:
            types = [[int(number == self.image_token_id) for number in row] for row in data["input_ids"]]
            data["mm_token_type_ids"] = torch.tensor(types) if return_tensors == "pt" else types
        if return_text_replacement_offsets:
            data["text_replacement_offsets"] = [self._offsets(line) for line in texts]
        return data

    def _parts(self, text: str, pictures: Sequence[Image], plain: bool) -> tuple[Part, ...]:
        """A text with placeholders as parts."""
        parts: list[Part] = []
        for shown, piece in enumerate(_PICTURE.split(text)):
            if plain:
                parts += tagged_parts(piece, pictures[:shown])
            else:
                words = self.tokenizer.split_specials(piece)
                parts += [Special(word) if word in SPECIAL_TOKENS else Text(word) for word in words]
            parts += pictures[shown : shown + 1]
        return tuple(parts)

    def _batch(
        self, examples: Sequence[Example], return_tensors: str | None, padding: Padding, side: str, fast: bool
    ) -> BatchFeature:
        """Examples as padded rows of ids, and their pictures."""
        if return_tensors not in (None, "pt"):
            raise ValueError(f'return_tensors is "pt" or None, not {return_tensors!r}.')
        if padding not in (True, False, "longest", "do_not_pad") or side not in ("left", "right"):
            raise ValueError(f'padding is true or false and padding_side "left" or "right", not {padding!r}, {side!r}.')
        rows = [example.ids for example in examples]
        padded = padding in (True, "longest")
        longest = max((len(row) for row in rows), default=0)
        if return_tensors and not padded and any(len(row) < longest for row in rows):
            raise ValueError("Rows of different lengths make no tensor: leave padding on, or return_tensors=None.")
        data: dict[str, Any] = {"input_ids": [], "attention_mask": []}
        for row in rows:
            gap = longest - len(row) if padded else 0
            ids, mask = [self.tokenizer.eos_id] * gap, [0] * gap
            data["input_ids"].append(ids + row if side == "left" else row + ids)
            data["attention_mask"].append(mask + [1] * len(row) if side == "left" else [1] * len(row) + mask)
        if return_tensors == "pt":
            data = {key: torch.tensor(value, dtype=torch.long) for key, value in data.items()}
        pictures = [slot.image for example in examples for slot in example.slots]
        if pictures:
            data["pixel_values"] = pixel_values(pictures, self.image_size, fast)
        return BatchFeature(data)

    # -- conversations ---------------------------------------------------------------------------------------------

    def apply_chat_template(
        self,
        conversation: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]],
        chat_template: str | None = None,
        *,
        add_generation_prompt: bool = False,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = "pt",
        images: Any = None,
        fetch: Callable[[str], bytes] | None = None,
        sanitize_control_tokens: bool = True,
        padding: Padding = True,
        padding_side: Literal["left", "right"] = "left",
        **kwargs: Any,
    ) -> Any:
        """Messages, or a list of conversations, as ChatML: text or, with `tokenize`, what `__call__` gives.

        A message is {"role", "content"}; `content` is a string or a list of {"type": "text", "text": …} and
        {"type": "image", "image": …}. A picture is PIL, bytes, an array, a `Path` or a "data:" string; other strings
        are refused, since messages come from outside, and addresses unless `fetch` gets them. {"type": "image"} alone
        is the next of `images`, which may be paths. With `return_dict` false only the ids come back.

        Tokenised, words are words whatever they spell; of the assistant's, well-formed places are read, of everyone's
        where `sanitize_control_tokens` is false. The **text** has the control tokens in it like the words of users:
        give it back to a tokenizer only where those are trusted. Raises ValueError naming the message that is wrong.
        """
        _refuse(kwargs)
        batched = bool(conversation) and not isinstance(conversation[0], Mapping)
        conversations: Any = conversation if batched else [conversation]
        if not tokenize:
            plain = [[dict(message) for message in messages] for messages in conversations]
            texts, _ = render_jinja_template(
                conversations=plain,
                chat_template=chat_template or self.chat_template,
                add_generation_prompt=add_generation_prompt,
            )
            return texts if batched else texts[0]
        if chat_template not in (None, self.chat_template):
            raise ValueError("With tokenize=True the form is ChatML; another chat_template gives text only.")
        given = iter(pictures := as_pictures(images))
        examples = []
        for messages in conversations:
            turns = turns_of(messages, lambda held: load_image(held, fetch=fetch), given, sanitize_control_tokens)
            sample = dialogue_sample(turns, reply=add_generation_prompt)
            examples.append(render(sample, self.tokenizer, self.num_queries))
        if left := len(list(given)):
            raise ValueError(f'`images` holds {len(pictures)}, {left} more than there are {{"type": "image"}} items.')
        data = self._batch(examples, return_tensors, padding, padding_side, False)
        return data if return_dict else data["input_ids"]

    # -- ids to text -----------------------------------------------------------------------------------------------

    def decode(self, ids: Sequence[int] | Tensor, skip_special_tokens: bool = False, **kwargs: Any) -> str:
        """The text of ids; pictures come back as `<img></img>`."""
        numbers = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        return self.tokenizer.decode(numbers, skip_special=skip_special_tokens)

    def batch_decode(
        self, rows: Iterable[Sequence[int] | Tensor], skip_special_tokens: bool = False, **kwargs: Any
    ) -> list[str]:
        """`decode` for each row."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs: Any
    ) -> list[str]:
        """`batch_decode` under the name that `transformers`' pipelines call."""
        return self.batch_decode(generated_outputs, skip_special_tokens)

    # -- what engines on transformers ask --------------------------------------------------------------------------

    @property
    def model_input_names(self) -> list[str]:
        """What `__call__` makes for the model."""
        return ["input_ids", "attention_mask", "pixel_values"]

    def replace_image_token(
        self, image_inputs: Mapping[str, Any] | None = None, image_idx: int = 0, **kwargs: Any
    ) -> str:
        """What `image_token` becomes: `<img>`, the slots of a picture, `</img>`; the same for every picture."""
        return "<img>" + "<imgpad>" * self.num_queries + "</img>"

    def _get_num_multimodal_tokens(
        self, image_sizes: Sequence[Sequence[int]] | None = None, **kwargs: Any
    ) -> MultiModalData:
        """For pictures of these (height, width): the slots of each, and its rows of `pixel_values`."""
        if image_sizes is None:
            return MultiModalData()
        count = len(image_sizes)
        return MultiModalData(num_image_tokens=[self.num_queries] * count, num_image_patches=[1] * count)

    def _offsets(self, text: str) -> list[dict[str, Any]]:
        """Where the pictures of a text stand, before and after they become slots."""
        found, grown = [], 0
        for match in _PICTURE.finditer(text):
            start, new = match.start() + grown, self.replace_image_token()
            grown += len(new) - len(match[0])
            spans = {"span": match.span(), "new_span": (start, start + len(new))}
            found.append({"type": "image", **spans, "text": match[0], "replacement": new})
        return found

    # -- keeping it ------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """What `processor_config.json` holds."""
        return {
            "processor_class": type(self).__name__,
            "image_size": self.image_size,
            "num_queries": self.num_queries,
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(image_size={self.image_size}, num_queries={self.num_queries})"

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> list[str]:
        """Write the tokenizer's files and `processor_config.json`, whose path comes back."""
        _refuse(kwargs)
        folder = Path(save_directory)
        self.tokenizer.save(folder)
        (folder / _FILE).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        return [str(folder / _FILE)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> QwenVLProcessor:
        """From a folder, or a name on the Hugging Face Hub, whose small files are then **downloaded**.

        Reads `processor_config.json`, or else the model's `config.json`, and the tokenizer's files. Raises OSError or
        ValueError, naming the file.
        """
        folder = local_folder(pretrained_model_name_or_path, weights=False, **hub_options(kwargs))
        tokenizer = QwenTokenizer.load(folder)
        path = folder / _FILE
        if not path.is_file():
            config = QwenVLConfig.from_pretrained(folder)
            check_tokenizer(tokenizer, config, folder)
            return cls(tokenizer, config)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            size, queries = int(found["image_size"]), int(found["num_queries"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}: expected JSON with image_size and num_queries, whole numbers ({error})."
            ) from error
        processor = cls.__new__(cls)
        processor._set(tokenizer, size, queries)
        return processor


def _refuse(kwargs: Mapping[str, Any]) -> None:
    """Keywords of `transformers` that ask for nothing pass; one that asks for what is not done here is an error."""
    for name, value in kwargs.items():
        if value not in (None, False) and name != "add_special_tokens":
            raise ValueError(f"QwenVLProcessor knows no {name}={value!r}")
