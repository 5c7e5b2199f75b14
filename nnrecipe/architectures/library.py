"""Networks that another library builds, held to what nnrecipe asks of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from nnrecipe.architectures.base import ArchitectureSpec
from nnrecipe.architectures.images import require_image
from nnrecipe.architectures.refusals import refuse
from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.seeding import isolated_rng
from nnrecipe.core.shapes import InputShape, OutputSpec
from nnrecipe.core.targets import describe
from nnrecipe.layers import Activation
from nnrecipe.layers.hidden import Hidden

SIDES = (28, 32, 48, 64, 96, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)
"""Sides of an image that are proposed where the data's don't fit, in pixels."""
TRIAL = (2, 10)
"""Examples and outputs of the batch of shapes that a network is tried with."""

OURS = {
    "num_classes": "the data tell how many outputs there are",
    "weights": "architecture.weights says what the network starts from",
    "pretrained": "architecture.weights says what the network starts from",
}
"""Arguments that are not the user's to give, and why."""


class LibraryArchitecture(ArchitectureSpec):
    """What the networks of all libraries have in common.

    They keep the initial weights that the library gives them unless `init` is given. `args` are the
    keyword arguments that the library's own function takes; they go before what nnrecipe sets.
    """

    shorthand: ClassVar[str | None] = "model"
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    default_norm: ClassVar[str] = "none"
    default_init: ClassVar[str | None] = None
    refuses: ClassVar[Mapping[str, str]]
    activation: ClassVar[Activation | None] = None
    model: str = Field(description="the model's name in the library")
    args: dict[str, Any] = Field(default_factory=dict, description="keyword arguments for it")

    def __hash__(self) -> int:
        """By value: `args` may hold lists and mappings, which have no hash of their own."""
        return hash((self.kind, self.model, repr(self.args), self.weights))

    @classmethod
    def names(cls) -> Sequence[str]:
        """The models that there are. Raises pydantic's error if the library isn't installed."""
        raise NotImplementedError

    def create(self, inputs: InputShape, size: int) -> nn.Module:
        """The network for images `inputs` with `size` outputs; raises what the library raises."""
        raise NotImplementedError

    @field_validator("model")
    @classmethod
    def _exists(cls, model: str) -> str:
        names = cls.names()
        if model not in names:
            library = cls.model_fields["kind"].default
            near = get_close_matches(model.lower(), names, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            remedy = f"{hint}`{library}` has {len(names)} models: {names[0]}, ..., {names[-1]}"
            raise conflict("architecture.model", f"{library} has no model {model!r}", remedy)
        return model

    @field_validator("args")
    @classmethod
    def _free(cls, args: dict[str, Any]) -> dict[str, Any]:
        for name in args.keys() & OURS.keys():
            raise conflict(f"architecture.args.{name}", OURS[name], "leave it out")
        return args

    def check_inputs(self, inputs: InputShape) -> None:
        """Raise `UserError` unless the model can be built for such images, and takes them."""
        require_image(inputs, kind=self.kind)
        problem = misfit(self, inputs)
        if problem:
            raise UserError(problem)

    def build(self, inputs: InputShape, outputs: OutputSpec, *, hidden: Hidden) -> nn.Module:
        """`[N, C, H, W]` -> `[N, outputs.size]`, on torch's default device."""
        refuse(self, hidden)
        self.check_inputs(inputs)
        if torch.get_default_device().type == "meta":
            return outline(self, inputs, outputs.size)
        return self.create(inputs, outputs.size)


def outline(architecture: LibraryArchitecture, inputs: InputShape, size: int) -> nn.Module:
    """The network on the meta device.

    Only its parameters and buffers are there: some networks compute with numbers while they are
    built, which would have no values. Random numbers stay as they are.
    """

    def emptied(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> Any:
        if parameter is None:
            return None  # a bias that a layer goes without
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    handle = register_module_parameter_registration_hook(emptied)
    try:
        with isolated_rng(0, "outline"), torch.device("cpu"):
            return architecture.create(inputs, size).to("meta")
    finally:
        handle.remove()


@lru_cache(maxsize=128)
def misfit(architecture: LibraryArchitecture, inputs: InputShape) -> str:
    """What keeps the model from taking images of this shape, with a remedy; empty if nothing.

    It is built and run once on the meta device, in training mode.
    """
    error = _failure(architecture, inputs)
    if error is None:
        return ""
    name, reason = f"{architecture.kind}:{architecture.model}", describe(error).rstrip(": ")
    if isinstance(error, _WrongOutputError):
        return f"architecture.model: {name} {error}: use another model, or other architecture.args"
    if architecture.args:
        bare = architecture.model_copy(update={"args": {}})
        if _failure(bare, inputs) is None:
            return f"architecture.args: {architecture.args}: {name} doesn't take these: {reason}"
    channels, *sides = inputs
    images = f"{'x'.join(map(str, sides))} pixels in {channels} channel{'s' * (channels > 1)}"
    nearest = sorted(SIDES, key=lambda side: (side < max(sides), abs(side - max(sides))))
    fitting = (s for s in nearest if _failure(architecture, (channels, s, s)) is None)
    side = next(fitting, None)
    remedy = f"set data.image_size: {side}" if side else "use another model"
    return f"architecture.model: {name} can't take images of {images}: {reason}: {remedy}"


class _WrongOutputError(Exception):
    """What a network puts out isn't one number for each output."""


def _failure(architecture: LibraryArchitecture, inputs: InputShape) -> Exception | None:
    """What the model raises when it is built and run on shapes alone; None if it runs."""
    examples, size = TRIAL
    try:
        model = outline(architecture, inputs, size)
        with torch.device("meta"), torch.no_grad():
            found = model(torch.empty(examples, *inputs))
    except Exception as error:  # a library's network may raise anything
        return error
    if not isinstance(found, Tensor):
        return _WrongOutputError(f"puts out {type(found).__name__} in training, not one tensor")
    if found.shape != TRIAL:
        return _WrongOutputError(f"puts out {list(found.shape[1:])} for an example, not [{size}]")
    return None
