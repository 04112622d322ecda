"""AdamW whose two moments are kept in bfloat16: 8 bytes a parameter for weight and moments instead of 12."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

# Numbers updated at a time: what is float32 only for the moment of the update stays small beside the model.
_PIECE = 1 << 24


class AdamWBF16(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019) on float32 weights, computed in float32, with moments stored in bfloat16.

    With β₂ = 0.98 the second moment moves by 2 % a step at most, which rounding to bfloat16's nearest (steps of 0.4 to
    0.8 %) would swallow in part and always on the same side; so both moments are rounded at random, up as often as is
    right in the mean (Gupta et al. 2015, "Deep learning with limited numerical precision"). What is drawn depends on
    the step and the place in the list of parameters alone: copies of a model stay equal, and a continued run draws what
    it would have drawn. Sharded parameters (DTensor) are updated part by part, each rank its own.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float], eps: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._generators: dict[torch.device, torch.Generator] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; `closure` is not used."""
        for index, (group, parameter) in enumerate((g, p) for g in self.param_groups for p in g["params"]):
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = torch.zeros_like(parameter, dtype=torch.bfloat16)
            state["step"] += 1
            self._update(group, state, parameter, index)

    def _update(self, group: dict[str, Any], state: dict[str, Any], parameter: Tensor, index: int) -> None:
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        assert parameter.grad is not None, "step takes those that have one"
        tensors = (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
        flat = [_local(tensor).view(-1) for tensor in tensors]
        generator = self._generator(flat[0].device, step * 1_000_003 + index)
        for pieces in zip(*(tensor.split(_PIECE) for tensor in flat), strict=True):
            weight, slope, first, second = pieces
            mean = first.float().lerp_(slope, 1 - beta1)
            square = second.float().mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
            first.copy_(rounded(mean, generator))
            second.copy_(rounded(square, generator))
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            deviation = square.mul_(1 / (1 - beta2**step)).sqrt_().add_(group["eps"])
            weight.addcdiv_(mean, deviation, value=-group["lr"] / (1 - beta1**step))

    def _generator(self, device: torch.device, seed: int) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device)
        return self._generators[device].manual_seed(seed)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` gave; PyTorch's own makes every state of its parameter's type."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = state[name].to(torch.bfloat16)


def rounded(values: Tensor, generator: torch.Generator) -> Tensor:
    """float32 → bfloat16, to one of the two neighbours at random, so that the mean is the value itself."""
    noise = torch.randint(0, 1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=generator)
    # bfloat16 is float32's upper half: what the noise carries over is the chance of the lower one
    return noise.add_(values.view(torch.int32)).bitwise_and_(-(1 << 16)).view(torch.float32).bfloat16()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
