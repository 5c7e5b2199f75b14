"""The layers that architectures are made of; YAML names the activations and the norms."""

from typing import Annotated

from nnrecipe.core.spec import ByKind
from nnrecipe.layers.activations import Elu, Gelu, LeakyRelu, Maxout, Relu, Sigmoid, Silu, Tanh
from nnrecipe.layers.norms import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NoNorm

Activation = Annotated[Sigmoid | Tanh | Relu | LeakyRelu | Maxout | Elu | Gelu | Silu, ByKind()]
Norm = Annotated[NoNorm | BatchNorm | LayerNorm | GroupNorm | InstanceNorm, ByKind(infers=True)]
