"""Any of torchvision's classification models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, get_type_hints

from torch import nn

from nnrecipe.architectures.images import require_image
from nnrecipe.architectures.library import LibraryArchitecture
from nnrecipe.architectures.refusals import everything
from nnrecipe.core.errors import UserError
from nnrecipe.core.shapes import InputShape
from nnrecipe.core.targets import accepted


class TorchvisionModel(LibraryArchitecture):
    """One of torchvision's classification models, `torchvision:alexnet` say.

    Transformers are built for the data's image size, auxiliary classifiers are left out.
    """

    source: ClassVar[str] = "torchvision.models"
    kind: Literal["torchvision"] = "torchvision"
    refuses: ClassVar[Mapping[str, str]] = everything(
        "a model of torchvision comes with its own: leave it out, and give the model's own keyword "
        "in architecture.args where it has one (args: {dropout: 0.2} for vgg16)"
    )

    @property
    def weights_of(self) -> str | None:
        """The model's name."""
        return self.model

    @classmethod
    def names(cls) -> Sequence[str]:
        """The classification models, in alphabetical order."""
        from torchvision import models

        names: list[str] = models.list_models(module=models)
        return names

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the inputs are RGB images of a size that the model takes."""
        channels, *_ = require_image(inputs, kind=self.kind)
        if channels != 3:
            raise UserError(
                f"architecture.kind: torchvision's models take images of 3 channels, the data has "
                f"{channels}: use timm, whose models take any, or vgg, resnet, alexnet or vit"
            )
        super().check_inputs(inputs)

    def create(self, inputs: InputShape, size: int) -> nn.Module:
        """The network; raises what torchvision raises."""
        from torchvision import models

        _, height, width = inputs
        network = get_type_hints(models.get_model_builder(self.model))["return"]
        offers = accepted(
            network,
            image_size=height,  # ViT, which takes squares
            input_size=(height, width),  # MaxVit
            transform_input=self.weights is not None,  # as these two were trained
            aux_logits=False,  # GoogLeNet and Inception
            init_weights=True,  # the same two warn unless it is said
        )
        settings = {"num_classes": size, **offers, **self.args}
        model: nn.Module = models.get_model(self.model, **settings)
        return model
