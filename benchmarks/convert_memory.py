"""Peak memory of loading and converting a random checkpoint in the released form, against its size.

    python benchmarks/convert_memory.py [--layers 2] [--hidden 4096] [--vision-width 1664] [--kind safetensors]

By default as wide as the published model (decoder 4096, tower 1664, vocabulary 151,936), but of two layers each. Makes
the checkpoint with one tensor in memory at a time, then loads it, converts it to the native form and back, each in a
process of its own (Linux). Prints how far memory rose, and what it may need: the model and one shard for loading, twice
the largest tensor for converting. Then compares the files there and back. Needs four times the checkpoint on the disk.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from qwenvl.model import QwenVLConfig, QwenVLForConditionalGeneration
from qwenvl.model.convert.checkpoint import expected_tensors
from qwenvl.model.convert.conversion import convert
from qwenvl.model.convert.files import Lazy, file_tensors, stored_tensors
from qwenvl.model.convert.official_config import released_config
from qwenvl.model.convert.write import write_tensors

DTYPE = torch.bfloat16


def make(folder: Path, config: QwenVLConfig, shard: str, kind: str) -> None:
    """A random checkpoint in the released form."""

    def numbers(shape: tuple[int, ...], seed: int) -> Callable[[], torch.Tensor]:
        return lambda: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul_(0.02).to(DTYPE)

    wanted = expected_tensors(config, released=True)
    tensors = {name: Lazy(t.shape, DTYPE, numbers(t.shape, n)) for n, (name, t) in enumerate(wanted.items())}
    folder.mkdir(parents=True)
    write_tensors(tensors, folder, shard)
    config.dtype = DTYPE
    (folder / "config.json").write_text(json.dumps(released_config(config)), encoding="utf-8")
    if kind == "bin":
        to_bin(folder)


def to_bin(folder: Path) -> None:
    """The shards of a folder as PyTorch files, which is how Qwen-VL was published."""
    names: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        target = path.with_name(path.name.replace("model", "pytorch_model", 1)).with_suffix(".bin")
        state = {name: tensor.read() for name, tensor in file_tensors(path).items()}
        torch.save(state, target)
        names |= dict.fromkeys(state, target.name)
        path.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    if len(set(names.values())) > 1:
        index = json.dumps({"metadata": {}, "weight_map": names})
        (folder / "pytorch_model.bin.index.json").write_text(index, encoding="utf-8")


def highest() -> int:
    """The most bytes of memory that this process has had since `clear_refs` (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def measure(step: str, source: Path, out: Path, shard: str) -> None:
    """Do one step and print by how many bytes memory rose at most, and seconds."""
    QwenVLForConditionalGeneration(_small())  # what the first model loads into memory is not the checkpoint's
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, begin = highest(), time.perf_counter()
    if step == "load":
        model = QwenVLForConditionalGeneration.from_pretrained(source)
        assert model.dtype == DTYPE
    else:
        convert(source, out, max_shard_size=shard, bars=False)
    print(json.dumps({"peak": highest() - before, "seconds": time.perf_counter() - begin}))


def _small() -> QwenVLConfig:
    vision = {"image_size": 28, "patch_size": 14, "width": 16, "layers": 1, "heads": 2, "mlp_width": 32}
    text = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    return QwenVLConfig(vision_config=vision, text_config=text | {"num_attention_heads": 2}, num_queries=4)


def in_process(*arguments: object) -> dict[str, float]:
    """Run one step in a process of its own."""
    command = [sys.executable, __file__, "--step", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="of each (default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=4096, help="the decoder's width")
    parser.add_argument("--vision-width", type=int, default=1664, help="the tower's width")
    parser.add_argument("--vocabulary", type=int, default=151_936, help="ids")
    parser.add_argument("--shard", default="1GB", help="size of the weight files (default: %(default)s)")
    parser.add_argument("--kind", choices=("safetensors", "bin"), default="safetensors", help="files to load from")
    parser.add_argument("--step", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, source, out, shard = options.step
        measure(step, Path(source), Path(out), shard)
        return
    hidden, width = options.hidden, options.vision_width
    vision = {"width": width, "layers": options.layers, "heads": width // 104, "mlp_width": int(width * 4.9231)}
    text = {"hidden_size": hidden, "num_hidden_layers": options.layers, "num_attention_heads": hidden // 128}
    text |= {"intermediate_size": hidden * 43 // 16, "vocab_size": options.vocabulary}
    start = options.vocabulary - 79
    ids = {"image_start_id": start, "image_end_id": start + 1, "image_slot_id": start + 2}
    config = QwenVLConfig(vision_config=vision, text_config=text, **ids)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "source", config, options.shard, options.kind)
        files = sorted([*(folder / "source").glob("*.safetensors"), *(folder / "source").glob("*.bin")])
        size, largest = (how(path.stat().st_size for path in files) for how in (sum, max))
        tensor = max(lazy.size for lazy in stored_tensors(folder / "source").values())
        print(f"{options.kind}: {size / 1e9:.2f} GB in {len(files)} files, the largest {largest / 1e9:.2f} GB")
        for step, source, out in (
            ("load", "source", "-"),
            ("to native", "source", "native"),
            ("back", "native", "back"),
        ):
            found = in_process(step, folder / source, folder / out, options.shard)
            # Converting compares two tensors in the end.
            allowed = size + largest if step == "load" else 2 * tensor
            what = "model and one shard" if step == "load" else "two of the largest tensor"
            print(
                f"{step}: {found['peak'] / 1e9:.2f} GB more in {found['seconds']:.0f} s; {what}: {allowed / 1e9:.2f} GB"
            )
        same = compare(folder / "source", folder / "back")
        print(f"there and back: {same} tensors, {math.trunc(size)} bytes, equal")


def compare(a: Path, b: Path) -> int:
    """How many tensors two folders share; an error unless all are equal, in name, shape, type and bytes."""
    left, right = stored_tensors(a), stored_tensors(b)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        one, two = tensor.read(), right[name].read()
        assert one.dtype == two.dtype and torch.equal(one, two), name
    return len(left)


if __name__ == "__main__":
    main()
