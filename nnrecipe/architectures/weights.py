"""Weights from an earlier training: a file's, or torchvision's by their name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlparse

import torch
from pydantic import Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from torch import Tensor, nn

from nnrecipe.core.errors import UserError, conflict
from nnrecipe.core.spec import Spec
from nnrecipe.core.targets import describe

PATH = "architecture.weights"
NAME = re.compile(r"(?:\w+_Weights\.)?[A-Z][A-Z0-9_]*")
"""What torchvision's names look like: `ResNet18_Weights.IMAGENET1K_V1`, `DEFAULT`."""
WRAPPINGS = ("state_dict", "model", "model_state_dict", "weights", "net")
"""Entries of a checkpoint under which the weights are looked for."""
COUNTER = "num_batches_tracked"
"""Files from before PyTorch 0.4.1 lack it, and nothing depends on it."""

AUXILIARY = r"(AuxLogits|aux\d)\."
"""Classifiers that only help to train torchvision's Inception and GoogLeNet; they are left out."""

Head = Literal["auto", "keep", "replace"]


class Weights(Spec):
    """Weights to start from: those of a file, or torchvision's.

    A word is one of both: `ResNet18_Weights.IMAGENET1K_V1`, or `DEFAULT` with a model of
    torchvision, is a name; all else is a file. The file holds a state dict, alone or in a
    checkpoint. What comes first in all of its keys and in none of the network's is taken off
    (`module.`, say); then `rename` and `ignore` are applied. All keys must then fit, but for the
    replaced head, which is the last layer and keeps its new weights.
    """

    source: ClassVar[str] = "lecture: transfer learning"

    file: Path | None = Field(None, description="state dict or checkpoint, as torch.save writes it")
    name: str | None = Field(None, description="torchvision's name for the weights")
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="regular expression -> what stands instead in the keys, one after the other",
    )
    ignore: tuple[str, ...] = Field(
        (), description="regular expressions: renamed keys of the file to leave out"
    )
    head: Head = Field(
        "auto",
        description="the last layer: keep the file's, or replace it with a new one; auto replaces "
        "it where it has another shape or is missing, or the checkpoint tells of other classes",
    )

    def __hash__(self) -> int:
        """By value: `rename` is a mapping, which has no hash of its own."""
        return hash(repr(self))

    @model_validator(mode="before")
    @classmethod
    def _word_is_name_or_file(cls, given: Any) -> Any:
        if not isinstance(given, str | Path):
            return given
        return {"name" if NAME.fullmatch(str(given)) else "file": given}

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.file is None) == (self.name is None):
            found = "neither file nor name" if self.file is None else "both file and name"
            raise conflict(PATH, f"got {found}", "give one of them")
        return self

    @field_validator("rename", "ignore")
    @classmethod
    def _compile(cls, given: Any) -> Any:
        for pattern in given:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A mapping, or a word."""
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(schema))]}

    def entry(self, model: str | None) -> Any:
        """Torchvision's `WeightsEnum` member; a name without a dot is among those of `model`.

        Raises `UserError` if there is none.
        """
        from torchvision import models

        assert self.name is not None
        if "." in self.name:
            try:
                return models.get_weight(self.name)
            except (ValueError, KeyError) as error:
                remedy = "name them as torchvision does, ResNet18_Weights.IMAGENET1K_V1 say"
                raise UserError(f"{PATH}: no weights {self.name!r}: {remedy}") from error
        if model is None:
            remedy = "name the network's too, ResNet18_Weights.IMAGENET1K_V1 say, or give a file"
            raise UserError(f"{PATH}: {self.name!r} alone is for models of torchvision: {remedy}")
        known = models.get_model_weights(model)
        if self.name not in known.__members__:
            there = ", ".join(known.__members__) or "none"
            raise UserError(f"{PATH}: {model} has no weights {self.name!r}: there are {there}")
        return known[self.name]

    def preprocessing(self, model: str | None) -> tuple[int | None, dict[str, Any] | None]:
        """Side of the images, and `data.normalize`, that torchvision trained the weights with.

        Both are None for a file, which tells of neither.
        """
        from torchvision.transforms._presets import ImageClassification

        if self.name is None:
            return None, None
        preset = self.entry(model).transforms()
        if not isinstance(preset, ImageClassification):
            return None, None
        (side,) = set(preset.crop_size)
        return side, {"kind": "fixed", "mean": list(preset.mean), "std": list(preset.std)}

    def read(self, model: str | None) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """The tensors by their keys as they are in the file, and the classes that it tells of.

        The classes are empty where it tells of none. Raises `UserError` if nothing can be read.
        """
        if self.file is not None:
            return _unwrapped(_load(self.file.expanduser()), self.file)
        entry = self.entry(model)
        home = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(entry.url).path).name)
        try:
            state = entry.get_state_dict(progress=False, check_hash=True)
        except Exception as error:  # of the network, of the disk, or a damaged file
            problem = f"{PATH}: {entry} is not in the cache and can't be fetched"
            remedy = f"put {entry.url} at {home}"
            raise UserError(f"{problem} ({describe(error)}): {remedy}") from error
        return {key: state[key] for key in state if not re.match(AUXILIARY, key)}, ()

    def fitted(
        self, network: nn.Module, *, classes: Sequence[str] = (), model: str | None = None
    ) -> Pretrained:
        """What of the weights goes where in the network, whose outputs are `classes`.

        Raises `UserError` with every key that is missing, unexpected or of another shape.
        """
        found, told = self.read(model)
        wanted = {key: tensor.shape for key, tensor in network.state_dict().items()}
        found = self._renamed(_without_prefix(found, wanted))
        head = _head(network)
        others = bool(told) and bool(classes) and tuple(told) != tuple(classes)
        fits = all(key in found and found[key].shape == wanted[key] for key in head)
        replace = self.head == "replace" or (self.head == "auto" and (others or not fits))
        fresh = head if replace else frozenset()
        problems = list(_misfits(found, wanted, fresh=fresh))
        if problems:
            remedy = "map its keys with architecture.weights.rename, or drop some with ignore"
            listed = "".join(f"\n    {problem}" for problem in problems)
            raise UserError(f"{PATH}: {self.label} doesn't fit the network: {remedy}{listed}")
        state = {key: found[key] for key in wanted if key in found and key not in fresh}
        broken = [key for key, tensor in state.items() if not tensor.isfinite().all()]
        if broken:
            raise UserError(f"{PATH}: {self.label}: not finite: {', '.join(broken)}")
        return Pretrained(state, replaced=tuple(sorted(fresh)), source=self.label)

    @property
    def label(self) -> str:
        """The file or the name."""
        return self.name or str(self.file)

    def _renamed(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raises `UserError` for a pattern that matches no key, and for keys that become one."""
        names = {key: key for key in found}
        for pattern, replacement in self.rename.items():
            if not any(re.search(pattern, name) for name in names.values()):
                raise self._unmatched("rename", pattern, names.values())
            names = {key: _replaced(pattern, replacement, name) for key, name in names.items()}
        for pattern in self.ignore:
            if not any(re.search(pattern, name) for name in names.values()):
                raise self._unmatched("ignore", pattern, names.values())
        kept = {
            key: name
            for key, name in names.items()
            if not any(re.search(pattern, name) for pattern in self.ignore)
        }
        if len(set(kept.values())) < len(kept):
            twice = sorted({name for name in kept.values() if [*kept.values()].count(name) > 1})
            raise UserError(f"{PATH}.rename: several keys become {', '.join(twice)}")
        return {name: found[key] for key, name in kept.items()}

    def _unmatched(self, field: str, pattern: str, names: Iterable[str]) -> UserError:
        keys = ", ".join([*names][:3])
        return UserError(f"{PATH}.{field}: {pattern!r} matches no key of {self.label}: {keys}, ...")


@dataclass(frozen=True)
class Pretrained:
    """Weights for a network: `state` by its own keys, and the keys of its head that stay as new."""

    state: Mapping[str, Tensor]
    replaced: tuple[str, ...]
    source: str

    def load_into(self, network: nn.Module) -> None:
        """Copy the weights; what was replaced stays as it is."""
        network.load_state_dict(dict(self.state), strict=False)


def _replaced(pattern: str, replacement: str, name: str) -> str:
    try:
        return re.sub(pattern, replacement, name)
    except (re.error, IndexError) as error:
        message = f"{PATH}.rename: {replacement!r} can't stand for {pattern!r}: {error}"
        raise UserError(message) from error


def _load(file: Path) -> Any:
    """What the file holds; code in it is never run."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{PATH}: no file {file.absolute()}") from error
    except Exception as error:  # torch.load raises half a dozen kinds on a file that isn't its own
        problem = f"{file} is no file of weights that can be read safely ({type(error).__name__})"
        remedy = "save the state_dict() alone, with torch.save"
        raise UserError(f"{PATH}: {problem}: {remedy}") from error


def _unwrapped(found: Any, file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict, itself or inside a checkpoint, and the classes beside it."""
    if _is_state(found):
        return dict(found), ()
    if isinstance(found, Mapping):
        classes = found.get("classes", ())
        for key in WRAPPINGS:
            if _is_state(found.get(key)):
                return dict(found[key]), tuple(classes) if isinstance(classes, list) else ()
    has = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
    raise UserError(
        f"{PATH}: {file} holds no state dict, alone or as {', '.join(WRAPPINGS)}: it has {has}"
    )


def _is_state(found: Any) -> bool:
    if not isinstance(found, Mapping) or not found:
        return False
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())


def _without_prefix(
    found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Without what comes first in all keys of the file and in none of the network's."""
    while True:
        first = {key.partition(".")[0] for key in found}
        if len(first) != 1 or any("." not in key for key in found):
            return dict(found)
        prefix = f"{first.pop()}."
        if any(key.startswith(prefix) for key in wanted):
            return dict(found)
        found = {key.removeprefix(prefix): tensor for key, tensor in found.items()}


def _head(network: nn.Module) -> frozenset[str]:
    """The entries of the last layer that has parameters of its own."""
    last = [
        path
        for path, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ][-1:]
    return frozenset(
        f"{path}.{name}".removeprefix(".")
        for path in last
        for name, _ in network.get_submodule(path).named_parameters(recurse=False)
    )


def _misfits(
    found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], *, fresh: frozenset[str]
) -> Iterator[str]:
    """What is missing, unexpected and of another shape, a line each; the head may be."""
    for key, shape in wanted.items():
        if key not in found and key not in fresh and not key.endswith(COUNTER):
            yield f"missing: {key} {list(shape)}"
    for key, tensor in found.items():
        if key not in wanted:
            yield f"unexpected: {key} {list(tensor.shape)}"
    for key, tensor in found.items():
        if key in wanted and key not in fresh and tensor.shape != wanted[key]:
            shapes = f"{list(tensor.shape)} in the file, {list(wanted[key])} in the network"
            yield f"of another shape: {key} {shapes}"
