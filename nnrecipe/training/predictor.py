"""From raw examples to what a trained network says of them."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor, nn

from nnrecipe.core.device import Precision, autocast
from nnrecipe.core.shapes import Head, Task
from nnrecipe.data import Preprocessing


class Predictor(nn.Module):
    """Maps raw examples to probabilities or values: preprocessing, network, softmax or sigmoid.

    Single label: probabilities `[N, C]`, which sum to 1; multi-label: each label's probability
    `[N, L]`; regression: values `[N, D]`; several tasks: each head's, side by
    side. All are float32.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocessing: Preprocessing,
        *,
        task: Task,
        heads: tuple[Head, ...] = (),
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.network = network
        self.task, self.heads, self.precision = task, heads, precision

    def forward(self, inputs: Tensor) -> Tensor:
        """Raw examples `[N, ...]`, uint8 or float."""
        prepared = self.preprocessing(inputs)
        with autocast(prepared.device, self.precision):
            made = self.network(prepared)
        outputs: Tensor = made.float()
        if self.task != "several":
            return _said(outputs, self.task)
        return torch.cat([_said(h.of_outputs(outputs), h.outputs.task) for h in self.heads], dim=1)


def _said(outputs: Tensor, task: Task) -> Tensor:
    """A single task's outputs as probabilities or values."""
    match task:
        case "single_label":
            return outputs.softmax(1)  # the same of logits and of log-probabilities
        case "multi_label":
            return outputs.sigmoid()
        case "regression":
            return outputs
        case "several":
            raise AssertionError("a head has one task")
        case unknown:
            assert_never(unknown)
