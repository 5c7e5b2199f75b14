"""Vision transformers (Dosovitskiy et al. 2021): an image as a sequence of patches."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from nnrecipe.architectures.base import ArchitectureSpec
from nnrecipe.architectures.images import require_image
from nnrecipe.architectures.refusals import refuse
from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.spec import Count, PositiveFloat
from nnrecipe.layers import Activation, Norm
from nnrecipe.layers.activations import Gelu, Maxout
from nnrecipe.layers.hidden import Hidden
from nnrecipe.layers.residual import StochasticDepth
from nnrecipe.layers.width import Width, widened

POSITION_STD = 0.02
"""The spread of the position embedding's initial numbers, as in BERT."""
MOST_LISTED = 64
"""Heads beyond it are not listed among those that divide dim, which has no bound."""


class Vit(ArchitectureSpec):
    """A transformer encoder over an image's patches, with a linear layer on top.

    The defaults are for images of 32x32 pixels; patch 16, dim 768, depth 12 and heads 12 are the
    paper's ViT-B/16. The norm comes first in each branch of a block, and once more at the end.
    Dropout ends each of the branches, of which a block has two.
    """

    source: ClassVar[str] = "Dosovitskiy et al. 2021, section 3.1"
    kind: Literal["vit"] = "vit"
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    default_norm: ClassVar[str] = "layer"
    default_init: ClassVar[str | None] = "xavier_uniform"
    refuses: ClassVar[Mapping[str, str]] = {
        "norm.position": "vit normalizes what goes into attention and into the linear layers, not "
        "what comes out of a nonlinearity: leave norm.position out",
        "regularization.dropblock": "vit has no feature maps to drop squares of: leave it out, or "
        "use regularization.dropout",
    }
    patch: Count = Field(4, description="side of a patch in pixels; divides the image's sides")
    dim: Count = Field(192, description="numbers that stand for a patch; heads divide it")
    depth: Count = Field(6, description="number of blocks")
    heads: Count = Field(3, description="attention heads in each block")
    mlp_ratio: PositiveFloat = Field(
        4.0, le=1000, description="units of a block's hidden linear layer, over dim"
    )
    pool: Literal["class_token", "mean"] = Field(
        "class_token", description="what is classified: a token of its own, or the patches' mean"
    )
    activation: Activation = Field(Gelu(), description="nonlinearity of each hidden linear layer")
    width: Width = 1.0

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.dim % self.heads:
            most = min(self.dim, MOST_LISTED)
            fitting = ", ".join(str(n) for n in range(1, most + 1) if self.dim % n == 0)
            message = f"{self.heads} heads do not divide dim: {self.dim}"
            raise conflict("architecture.heads", message, f"use one of {fitting}")
        return self

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are images that patches cover exactly."""
        _, height, width = require_image(inputs, kind=self.kind)
        if height % self.patch or width % self.patch:
            sides = math.gcd(height, width)
            fitting = ", ".join(str(n) for n in range(1, sides + 1) if sides % n == 0)
            raise UserError(
                f"architecture.patch: patches of {self.patch}x{self.patch} do not cover images of "
                f"{height}x{width}: use one of {fitting}"
            )

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """`[N, C, H, W]` -> `[N, outputs.size]`. Raises `UserError` on what doesn't fit."""
        refuse(self, hidden)
        self.check_inputs(inputs)
        if hidden.norm.kind not in ("none", "layer"):
            raise UserError(
                f"norm.kind: {hidden.norm.kind} is for channels of vectors or feature maps, and "
                "vit normalizes each token [N, T, D] over its own numbers: use layer or none"
            )
        channels, height, width = inputs
        dim = self.heads * widened(self.dim // self.heads, self.width)
        units = widened(dim, self.mlp_ratio)
        style = BlockStyle(dim, self.heads, units, self.activation, hidden.norm)
        rates = hidden.dropout_rates(2 * self.depth)
        blocks = [
            EncoderBlock(
                style,
                dropout=(rates[2 * i], rates[2 * i + 1]),
                skip=hidden.stochastic_depth * (i + 1) / self.depth,
            )
            for i in range(self.depth)
        ]
        return VisionTransformer(
            nn.Conv2d(channels, dim, self.patch, stride=self.patch),
            blocks,
            norm=hidden.norm.build(dim, dims=0),
            head=nn.Linear(dim, outputs.size),
            tokens=height * width // self.patch**2,
            class_token=self.pool == "class_token",
        )


@dataclass(frozen=True)
class BlockStyle:
    """What the blocks of a transformer have in common; `units` are the hidden layer's."""

    dim: int
    heads: int
    units: int
    activation: Activation
    norm: Norm

    def attention(self) -> dict[str, nn.Module]:
        """Each token takes from the others what is like it: [N, T, dim] -> [N, T, dim]."""
        return {
            "qkv": nn.Linear(self.dim, 3 * self.dim),
            "heads": AttentionHeads(self.heads),
            "projection": nn.Linear(self.dim, self.dim),
        }

    def mlp(self) -> dict[str, nn.Module]:
        """Two linear layers on each token: [N, T, dim] -> [N, T, units] -> [N, T, dim]."""
        act = self.activation
        return {
            "fc1": nn.Linear(self.dim, self.units * act.pieces),
            "act": act.build(dim=-1) if isinstance(act, Maxout) else act.build(),
            "fc2": nn.Linear(self.units, self.dim),
        }

    def branch(self, layers: dict[str, nn.Module], *, dropout: float, skip: float) -> nn.Sequential:
        """The norm, the layers and what is left out at random, as far as they are asked for."""
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        if self.norm.normalizes:
            modules["norm"] = self.norm.build(self.dim, dims=0)
        modules.update(layers)
        if dropout:
            modules["dropout"] = nn.Dropout(dropout)
        if skip:
            modules["skip"] = StochasticDepth(skip)
        return nn.Sequential(modules)


class EncoderBlock(nn.Module):
    """y = x + attention(norm(x)), and y + mlp(norm(y)): [N, T, D] -> [N, T, D].

    `dropout` has the rates at the ends of the two branches; `skip` is the probability with which
    an example does without a branch.
    """

    def __init__(self, style: BlockStyle, *, dropout: tuple[float, float], skip: float) -> None:
        super().__init__()
        self.attention = style.branch(style.attention(), dropout=dropout[0], skip=skip)
        self.mlp = style.branch(style.mlp(), dropout=dropout[1], skip=skip)

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, T, D]."""
        x = x + self.attention(x)
        return x + self.mlp(x)  # type: ignore[no-any-return]


class AttentionHeads(nn.Module):
    """softmax(q k^T / sqrt(D / heads)) v in each head: [N, T, 3 D] -> [N, T, D]."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, qkv: Tensor) -> Tensor:
        """qkv: [N, T, 3 D], queries first, then keys, then values, each head by head."""
        each = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = each  # each [N, heads, T, D / heads]
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def extra_repr(self) -> str:
        """The setting, for printing."""
        return f"heads={self.heads}"


class VisionTransformer(nn.Module):
    """Patches, their positions, blocks, norm, and the outputs of one token or of the mean."""

    def __init__(
        self,
        patches: nn.Conv2d,
        blocks: list[EncoderBlock],
        *,
        norm: nn.Module,
        head: nn.Linear,
        tokens: int,
        class_token: bool,
    ) -> None:
        super().__init__()
        dim = patches.out_channels
        self.patches = patches
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim)) if class_token else None
        self.position = nn.Parameter(POSITION_STD * torch.randn(1, tokens + class_token, dim))
        self.blocks = nn.Sequential(*blocks)
        self.norm = norm
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """x: [N, C, H, W] -> [N, outputs]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        x = self.norm(self.blocks(x + self.position))
        x = x.mean(1) if self.class_token is None else x[:, 0]
        return self.head(x)  # type: ignore[no-any-return]
