"""lmms-eval finds our models by the entry point `lmms_eval.models`: `lmms_eval --model qwenvl --model_args …`."""

from __future__ import annotations

from typing import Any


def manifest() -> Any:
    """What lmms-eval registers; of its versions those with `registry_v2` read the entry point."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="qwenvl", simple_class_path="qwenvl.evaluate.adapters.lmms_eval_model.QwenVL")
