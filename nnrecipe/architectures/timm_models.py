"""Any of timm's models, which are an optional extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import nn

from nnrecipe.architectures.library import LibraryArchitecture
from nnrecipe.architectures.refusals import everything
from nnrecipe.core.errors import conflict
from nnrecipe.core.shapes import InputShape


class TimmModel(LibraryArchitecture):
    """One of timm's models with random weights, `timm:resnet26d` say; needs `nnrecipe[timm]`.

    It is built for the data's channels, and for their image size where it has one of its own.
    """

    source: ClassVar[str] = "timm"
    kind: Literal["timm"] = "timm"
    refuses: ClassVar[Mapping[str, str]] = everything(
        "a model of timm comes with its own: leave it out, and give the model's own keyword in "
        "architecture.args where it has one (args: {drop_rate: 0.2})"
    )

    @classmethod
    def names(cls) -> Sequence[str]:
        """The models, in alphabetical order. Refused with a remedy if timm isn't installed."""
        try:
            import timm
        except ImportError as error:
            remedy = 'pip install "nnrecipe[timm]"'
            raise conflict("architecture.kind", "timm is not installed", remedy) from error
        names: list[str] = timm.list_models()
        return names

    def create(self, inputs: InputShape, size: int) -> nn.Module:
        """The network; raises what timm raises."""
        import timm

        channels, height, width = inputs
        settings = {"num_classes": size, "in_chans": channels, **self.args}
        sized = {"img_size": (height, width), **settings}
        try:
            model: nn.Module = timm.create_model(self.model, **sized)
        except TypeError as error:  # only some of the models have a size of their own
            if "img_size" in self.args or "img_size" not in str(error):
                raise
            model = timm.create_model(self.model, **settings)
        return model
