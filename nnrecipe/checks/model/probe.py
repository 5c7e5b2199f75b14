"""What the model checks have in common: a few examples, weights drawn anew, outputs compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from nnrecipe.checks.bench import Bench
from nnrecipe.core.findings import Finding, Verdict
from nnrecipe.core.parameters import NORMS
from nnrecipe.core.seeding import generator, isolated_rng
from nnrecipe.core.targets import describe
from nnrecipe.data.batch import Batch
from nnrecipe.layers.interventions import DropoutOff, without_dropout

ELEMENTS = 2**18
"""Numbers that a probe's inputs have at most, unless eight examples have more."""
ROUNDING = 1e-4
"""Of the outputs' size: float32 may move them by as much on their way through a deep network."""


def examined(
    check: str, source: str, look: Callable[[Bench], Iterable[Finding]], bench: Bench
) -> Iterator[Finding]:
    """The findings of `look`, or one that says why nothing could be measured.

    A user's module may raise anything when it is given other weights or other batches, which says
    nothing against it.
    """
    try:
        with isolated_rng(bench.seed, check):
            found = list(look(bench))
    except Exception as error:
        found = [unmeasured(check, source, describe(error))]
    yield from found


def unmeasured(check: str, source: str, why: str) -> Finding:
    """A finding that says nothing, and why."""
    return Finding(
        check=check,
        verdict=Verdict.PASS,
        measured=f"not measured: {why}",
        expected="a measurement",
        source=source,
    )


def few(bench: Bench, most: int = 32) -> Batch:
    """Up to `most` training examples, always the same ones; of large examples as few as eight.

    NaN and infinity become 0: they are the data's fault, and hide the model's.
    """
    affordable = max(8, ELEMENTS // math.prod(bench.data.input_shape))
    inputs, targets = bench.sample(bench.data.train, min(most, affordable))
    return Batch(torch.nan_to_num(inputs, nan=0.0, posinf=0.0, neginf=0.0), targets)


@torch.no_grad()
def redraw(
    model: nn.Module, *, seed: int, draw: int = 0, scale: float = 1.0, shift: float = 0.2
) -> nn.Module:
    """Draw every parameter anew, in place, so that no weight and no bias blocks the way.

    Weights get variance 2 / fan_in (He et al. 2015), times `scale`^2, and norms a scale near 1.
    What else there is (biases, gates, slopes) is drawn around 0, with deviation `shift`. Returns
    the model.
    """
    source = generator(seed, "redrawn", draw)
    scales = {
        id(m.weight) for m in model.modules() if isinstance(m, NORMS) and m.weight is not None
    }
    for parameter in model.parameters():
        if not parameter.is_floating_point():
            continue
        # uniform of variance 1: three times as fast as normal numbers
        fresh = torch.empty(parameter.shape).uniform_(-(3**0.5), 3**0.5, generator=source)
        if id(parameter) in scales:
            fresh = 1 + 0.2 * fresh
        elif parameter.ndim > 1:
            fresh *= scale * math.sqrt(2 / max(parameter[0].numel(), 1))
        else:
            fresh *= shift * scale
        parameter.copy_(fresh)
    return model


def redrawn(bench: Bench, *, draw: int = 0, scale: float = 1.0) -> nn.Module:
    """The bench's model in eval mode, every parameter drawn anew."""
    return redraw(bench.make_model().eval(), seed=bench.seed, draw=draw, scale=scale)


@torch.no_grad()
def outputs_of(model: nn.Module, inputs: Tensor, *, seed: int = 0) -> Tensor:
    """The outputs [N, ...], with all randomness from `seed`; inputs are not written to."""
    with isolated_rng(seed, "probe"):
        outputs = model(inputs.clone())
    assert isinstance(outputs, Tensor)
    return outputs


def differ(first: Tensor, second: Tensor, *, tolerance: float = ROUNDING) -> bool:
    """Whether two tensors are further apart than rounding explains; NaN equals NaN."""
    size = max(float(torch.nan_to_num(t).abs().max()) for t in (first, second))
    return not torch.allclose(
        first,
        second,
        rtol=0.0,
        atol=tolerance * size if math.isfinite(size) else 0.0,
        equal_nan=True,
    )


def other_inputs(inputs: Tensor) -> Iterator[Tensor]:
    """Inputs of the same shape with another content: zeros, shuffled pixels, larger ones, noise."""
    draw = generator(0, "other inputs")
    yield torch.zeros_like(inputs)
    order = torch.randperm(inputs[0].numel(), generator=draw).to(inputs.device)
    yield inputs.flatten(1)[:, order].reshape(inputs.shape)
    yield 3 * inputs.flip(0)
    yield torch.randn(inputs.shape, generator=draw).to(inputs)


def learn_a_little(bench: Bench, model: nn.Module, batch: Batch, *, steps: int) -> nn.Module:
    """A few steps down the gradient, in place, each by a hundredth for a tensor's steepest entry.

    The step is in proportion to the gradient within a tensor, so that units that get the same
    gradient stay alike. Dropout, which would tell them apart, is off. Returns the model.
    """
    without_dropout(model.train())
    for _ in range(steps):
        with DropoutOff():
            gradients = gradients_of(bench, model, batch)
        with torch.no_grad():
            for parameter, gradient in gradients.items():
                largest = gradient.abs().max()
                if largest > 0:
                    parameter.sub_(0.01 * gradient / largest)
    return model


def gradients_of(bench: Bench, model: nn.Module, batch: Batch) -> dict[Tensor, Tensor]:
    """The loss's gradient by each parameter that it reaches."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # cuDNN's recurrent layers have no backward pass in eval mode, torch's own have
    with torch.backends.cudnn.flags(enabled=False):
        loss = bench.loss_of(model, batch._replace(inputs=batch.inputs.clone()))
        if not loss.requires_grad or not trainable:
            return {}
        found = torch.autograd.grad(loss, trainable, allow_unused=True)
    return {p: g for p, g in zip(trainable, found, strict=True) if g is not None}
