from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nnrecipe.layers.chain import Chain


def layers() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 9, 3)]


def outcome(make: Callable[..., nn.Module], inputs: Tensor) -> list[Tensor]:
    model = make(*layers())
    inputs = inputs.clone().requires_grad_()
    outputs = model(inputs)
    outputs.square().sum().backward()
    assert inputs.grad is not None
    return [outputs, inputs.grad, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("spread", [1.0, 0.0], ids=["pictures", "flat"])
def test_it_gives_what_a_sequential_gives_to_the_last_bit(spread: float) -> None:
    inputs = spread * torch.randn(5, 1, 8, 8)  # in flat pictures all of a window's values tie
    plain, chained = outcome(nn.Sequential, inputs), outcome(Chain, inputs)
    assert len(plain) == 6
    assert all(torch.equal(a, b) for a, b in zip(plain, chained, strict=True))


def test_it_passes_nan_on() -> None:
    inputs = torch.full((1, 1, 8, 8), torch.nan)
    assert Chain(*layers())(inputs).isnan().all()


def test_the_relu_sees_what_was_pooled() -> None:
    model, seen = Chain(*layers()), []

    class Watching(TorchFunctionMode):
        def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return func(*args, **(kwargs or {}))

    model[1].forward = lambda x: seen.append(x.shape[2]) or torch.relu(x)  # type: ignore[method-assign]
    model(torch.randn(1, 1, 8, 8))
    with Watching():
        model(torch.randn(1, 1, 8, 8))
    model[2].register_forward_hook(lambda *_: None)
    model(torch.randn(1, 1, 8, 8))
    assert seen == [3, 6, 6]


@pytest.mark.parametrize(
    "pair", [(nn.GELU(), nn.MaxPool2d(2)), (nn.ReLU(), nn.AvgPool2d(2))], ids=["gelu", "average"]
)
def test_what_does_not_commute_keeps_its_order(pair: tuple[nn.Module, nn.Module]) -> None:
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(Chain(*pair)(inputs), nn.Sequential(*pair)(inputs))
