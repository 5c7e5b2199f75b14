"""The networks that YAML can name."""

from typing import Annotated

from nnrecipe.architectures.custom import CustomArchitecture
from nnrecipe.architectures.lenet import LeNet5
from nnrecipe.architectures.mlp import Mlp
from nnrecipe.architectures.resnet import ResNet
from nnrecipe.architectures.vgg import Vgg
from nnrecipe.core.spec import ByKind

Architecture = Annotated[Mlp | LeNet5 | Vgg | ResNet | CustomArchitecture, ByKind()]
