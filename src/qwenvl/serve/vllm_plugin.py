"""The plug-in of vLLM: registers this project's model, which vLLM then serves through its transformers backend."""

from __future__ import annotations

ARCHITECTURE = "QwenVLForConditionalGeneration"
BACKEND = "vllm.model_executor.models.transformers:TransformersMultiModalForCausalLM"


def register() -> None:
    """Called by vLLM in each of its processes (entry point group `vllm.general_plugins`); may be called repeatedly."""
    from vllm import ModelRegistry

    import qwenvl.model  # noqa: F401

    ModelRegistry.register_model(ARCHITECTURE, BACKEND)
