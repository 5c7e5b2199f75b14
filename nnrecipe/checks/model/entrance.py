"""What a model makes of its inputs before its first weights see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nnrecipe.checks.bench import Bench
from nnrecipe.checks.model.probe import few, outputs_of

EXAMPLES = 256
SCALES: frozenset[Callable[..., Any]] = frozenset(
    {
        *(F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, F.rms_norm, F.normalize),
        *(F.embedding, F.embedding_bag, F.one_hot),
    }
)
"""Whose outputs are of a size of their own, whatever that of the inputs."""
WEIGHS: frozenset[Callable[..., Any]] = frozenset(
    {
        *(F.linear, F.bilinear, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm),
        *(Tensor.mm, torch.addmm, torch.einsum, F.conv1d, F.conv2d, F.conv3d),
        *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
        *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
        *(torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell),
        *(F.multi_head_attention_forward, F.scaled_dot_product_attention),
    }
)
"""Whose outputs grow with the inputs."""


class _Entrance(TorchFunctionMode):
    """Keeps what the first function of either kind is given; modules call these functions too."""

    def __init__(self) -> None:
        super().__init__()
        self.first: Callable[..., Any] | None = None
        self.given: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the arguments, then call the function."""
        if self.first is None and (func in SCALES or func in WEIGHS):
            self.first = func
            tensors = [given for given in args if isinstance(given, Tensor)]
            if func in WEIGHS and tensors:
                self.given = tensors[0].detach().float().cpu()
        return func(*args, **(kwargs or {}))


def given_to_weights(bench: Bench) -> Tensor | None:
    """What the initial model's first weights are given of some examples.

    None where a norm or an embedding comes first, so that the size of the inputs doesn't matter.
    The inputs themselves where the model can't be asked.
    """
    inputs = few(bench, EXAMPLES).inputs
    entrance = _Entrance()
    try:
        with entrance:
            outputs_of(bench.make_model().train(), inputs)
    except Exception:  # of the user's own: other checks tell what is wrong with it
        entrance.first = None
    if entrance.first is None:
        return inputs.float().cpu()
    return entrance.given
