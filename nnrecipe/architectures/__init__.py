"""The networks that YAML can name."""

from typing import Annotated

from nnrecipe.architectures.alexnet import AlexNet
from nnrecipe.architectures.custom import CustomArchitecture
from nnrecipe.architectures.lenet import LeNet5
from nnrecipe.architectures.mlp import Mlp
from nnrecipe.architectures.resnet import ResNet
from nnrecipe.architectures.timm_models import TimmModel
from nnrecipe.architectures.torchvision_models import TorchvisionModel
from nnrecipe.architectures.vgg import Vgg
from nnrecipe.architectures.vit import Vit
from nnrecipe.core.spec import ByKind

Architecture = Annotated[
    Mlp | LeNet5 | AlexNet | Vgg | ResNet | Vit | TorchvisionModel | TimmModel | CustomArchitecture,
    ByKind(),
]
