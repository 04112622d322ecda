"""Answers from a trained model: batched and streaming generation, chat, drawn boxes."""

from qwenvl.model.load import Loaded, ModelError, load
from qwenvl.model.packed_linear import prepare_for_cpu
from qwenvl.serve.chat import Chat, Reply
from qwenvl.serve.draw import draw_answer
from qwenvl.serve.engine import Generation, generate, stream

__all__ = [
    "Chat",
    "Generation",
    "Loaded",
    "ModelError",
    "Reply",
    "draw_answer",
    "generate",
    "load",
    "prepare_for_cpu",
    "stream",
]
