"""Decoding against llama.cpp: the same sizes, random weights in bfloat16, one sequence and sixteen.

    pip install llama-cpp-python gguf
    python benchmarks/decode_llama_cpp.py [--size 300m] [--threads 2] [--repeats 5]

llama.cpp builds from source with this machine's instructions. Both sides decode tokens after a short prompt, in turns
within each repeat, so that a busy machine disturbs both; ours with `prepare_for_cpu`. Only a quiet machine gives
numbers to keep.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np
import torch
from generation_speed import BATCH, SIZES, Size, compare, decode, ours, seconds
from gguf import GGMLQuantizationType, GGUFWriter, quantize

from qwenvl.model.packed_linear import prepare_for_cpu

PROMPT = 32


def write_gguf(path: Path, size: Size) -> None:
    """A Qwen2 decoder of random weights, matrices in bfloat16, without a vocabulary."""
    writer = GGUFWriter(path, "qwen2")
    writer.add_block_count(size.layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(size.hidden)
    writer.add_feed_forward_length(size.mlp)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(size.vocabulary)
    writer.add_tokenizer_model("no_vocab")
    random = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        kind = GGMLQuantizationType.BF16
        values = random.standard_normal((rows, columns), np.float32) * np.float32(0.02)
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    def vector(name: str, length: int, value: float) -> None:
        writer.add_tensor(name, np.full(length, value, np.float32))

    matrix("token_embd.weight", size.vocabulary, size.hidden)
    matrix("output.weight", size.vocabulary, size.hidden)
    vector("output_norm.weight", size.hidden, 1)
    for layer in range(size.layers):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v"):
            matrix(f"{block}{name}.weight", size.hidden, size.hidden)
            vector(f"{block}{name}.bias", size.hidden, 0)
        matrix(f"{block}attn_output.weight", size.hidden, size.hidden)
        matrix(f"{block}ffn_gate.weight", size.mlp, size.hidden)
        matrix(f"{block}ffn_up.weight", size.mlp, size.hidden)
        matrix(f"{block}ffn_down.weight", size.hidden, size.mlp)
        vector(f"{block}attn_norm.weight", size.hidden, 1)
        vector(f"{block}ffn_norm.weight", size.hidden, 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """A context of llama.cpp that decodes some sequences side by side."""

    def __init__(self, path: Path, sequences: int, threads: int) -> None:
        self._silent = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._silent, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp does not read {path}")
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_seq_max = sequences * 256, sequences
        options.n_batch = options.n_ubatch = max(sequences, 512)
        options.n_threads = options.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        self._sequences = sequences
        self._batch = llama_cpp.llama_batch_init(max(sequences, 512), 0, sequences)

    def _decode(self, position: int, token: int) -> None:
        batch = self._batch
        batch.n_tokens = self._sequences
        for row in range(self._sequences):
            batch.token[row], batch.pos[row], batch.n_seq_id[row] = token, position, 1
            batch.seq_id[row][0], batch.logits[row] = row, 1
        if llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError("llama.cpp could not decode")

    def run(self, count: int) -> float:
        """Seconds for `count` tokens of every sequence after a prompt."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        for position in range(PROMPT):
            self._decode(position, 5 + position)
        return seconds(lambda: [self._decode(PROMPT + step, 7 + step) for step in range(count)])


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="300m", help="of the decoder (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="of every comparison (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    model = ours(size, torch.bfloat16)
    prepare_for_cpu(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.gguf"
        write_gguf(path, size)
        for rows in (1, BATCH):
            theirs = LlamaCpp(path, rows, options.threads)
            ids = torch.randint(2, size.vocabulary - 3, (rows, PROMPT))
            sides = {
                "llama.cpp": lambda theirs=theirs: theirs.run(size.new),
                "qwenvl packed": lambda ids=ids: decode(model, ids, size.new),
            }
            compare(f"bfloat16 decode, batch {rows}", rows * size.new, "tokens/s", sides, options.repeats)


if __name__ == "__main__":
    main()
