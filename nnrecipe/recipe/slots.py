"""What may stand at each place of a config, read from the specs themselves."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from nnrecipe.core.spec import ByKind, Spec, kind_of, members
from nnrecipe.recipe.nodes import Node, to_plain


@dataclass(frozen=True)
class Slot:
    """What one place takes: a section (`spec`), a family (`kinds`), a list (`item`) or a value.

    `values` is what stands under every key of a mapping whose keys are free.
    """

    spec: type[Spec] | None = None
    kinds: Mapping[str, type[Spec]] = field(default_factory=dict)
    default_kind: str | None = None
    item: Slot | None = None
    values: Slot | None = None
    info: FieldInfo | None = None

    @property
    def kind(self) -> str | None:
        """The one kind that the section here can have, if its spec is a family's member."""
        named = self.spec is not None and "kind" in self.spec.model_fields
        return kind_of(self.spec) if self.spec is not None and named else None

    @property
    def default(self) -> Any:
        """The value that holds if the config gives none (None if there is no such value)."""
        if self.info is None or self.info.is_required():
            return None
        return self.info.get_default(call_default_factory=True)

    def member(self, node: Node | None) -> type[Spec] | None:
        """The spec that the section at `node` is validated by, as far as its kind tells."""
        if self.spec is not None:
            return self.spec
        kind = written_kind(node) or self.default_kind
        return self.kinds.get(kind) if kind is not None else None

    def child(self, segment: str, node: Node | None) -> Slot:
        """What may stand under `segment` of `node`, which stands here."""
        if self.item is not None:
            return self.item
        if self.values is not None:
            return self.values
        member = self.member(node)
        info = member.model_fields.get(segment) if member is not None else None
        return slot_of(info) if info is not None else Slot()


def written_kind(node: Node | None) -> str | None:
    """The `kind` that a section gives, if it gives one."""
    if node is None or not isinstance(node.value, dict) or "kind" not in node.value:
        return None
    kind = to_plain(node.value["kind"])
    return kind if isinstance(kind, str) else None


def slot_of(info: FieldInfo) -> Slot:
    """The slot of one field of a spec."""
    annotation: Any = info.annotation
    for extra in info.metadata:
        if isinstance(extra, ByKind):
            annotation = Annotated[annotation, extra]
    slot = _slot(annotation)
    return replace(slot, info=info)


def _slot(annotation: Any) -> Slot:
    origin = get_origin(annotation)
    if origin is Annotated:
        by_kind = [extra for extra in annotation.__metadata__ if isinstance(extra, ByKind)]
        if not by_kind:
            return _slot(get_args(annotation)[0])
        kinds = {kind_of(member): member for member in members(annotation)}
        return Slot(kinds=kinds, default_kind=by_kind[0].default)
    if origin in (Union, types.UnionType):
        slots = [_slot(choice) for choice in get_args(annotation)]
        return next((slot for slot in slots if slot != Slot()), Slot())
    if origin in (list, tuple):
        return Slot(item=_slot(get_args(annotation)[0]))
    if origin is dict:
        return Slot(values=_slot(get_args(annotation)[1]))
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return Slot(spec=annotation)
    return Slot()


def root_slot(recipe: type[Spec]) -> Slot:
    """The slot of a whole config."""
    return Slot(spec=recipe)
