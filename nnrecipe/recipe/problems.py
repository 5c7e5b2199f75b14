"""What pydantic refuses, as problems with a place, a YAML path, a message and a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nnrecipe.core.errors import Problem, RecipeError
from nnrecipe.recipe.nodes import DEFAULT, Node, Origin, Path, dotted, find, shown, to_plain
from nnrecipe.recipe.phrases import describe
from nnrecipe.recipe.slots import Slot, slot_of, written_kind
from nnrecipe.recipe.suggestions import did_you_mean, nearest


class ClashError(RecipeError):
    """A config whose parts are right by themselves, but can't be combined."""


def is_clash(error: ValidationError) -> bool:
    """Whether cross-field rules alone refuse the config."""
    return all(details["type"] == "conflict" for details in error.errors(include_url=False))


def problems_of(error: ValidationError, root: Node, slot: Slot) -> list[Problem]:
    """One problem for each path that pydantic complains about, files before overrides.

    `root` is the config that was validated, spelled out; `slot` is what it was validated as.
    """
    config = _Config(root, slot)
    found = []
    grouped: dict[Path, tuple[Slot, list[ErrorDetails]]] = {}
    for details in error.errors(include_url=False):
        if details["type"] == "conflict":
            found.append(config.conflict(details))
        elif not _miscounted(details):
            path, section = config.path_of(details["loc"])
            grouped.setdefault(path, (section, []))[1].append(details)
    found += [config.fault(path, *complaints) for path, complaints in grouped.items()]
    found.sort(key=lambda fault: fault.order)
    return [fault.problem for fault in found]


@dataclass(frozen=True)
class _Fault:
    origin: Origin
    path: Path
    message: str
    remedy: str = ""

    @property
    def problem(self) -> Problem:
        return Problem(str(self.origin), dotted(self.path), self.message, self.remedy)

    @property
    def order(self) -> tuple[bool, str, int, int]:
        at = self.origin
        return at.line is None, at.source, at.line or 0, at.column or 0


@dataclass(frozen=True)
class _Config:
    """The validated config, and what may stand in it."""

    root: Node
    slot: Slot

    def path_of(self, loc: Sequence[str | int]) -> tuple[Path, Slot]:
        """The YAML path of pydantic's `loc`, and the section that its last key is in.

        Pydantic also names the kinds of families and the branches of unions.
        """
        path: list[str] = []
        slot = section = self.slot
        node = self.root
        for part in loc:
            segment = str(part)
            if segment in slot.kinds:
                slot = Slot(spec=slot.kinds[segment])
                continue
            if slot.item is not None:
                fits = isinstance(part, int)
            else:
                free = slot.spec is None and slot.values is None
                fits = not free or segment in node.entries
            if fits:
                path.append(segment)
                section, slot = slot, slot.child(segment, node)
                node = node.entries.get(segment, Node(None, DEFAULT))
        return tuple(path), section

    def look_up(self, path: Sequence[str]) -> tuple[Node | None, Slot, Path]:
        """The node (None if the config lacks it), its slot, and the path with items numbered."""
        node: Node | None = self.root
        slot, numbered = self.slot, list(path)
        for index, segment in enumerate(path):
            entries = node.entries if node is not None else {}
            if slot.item is not None and segment not in entries:
                named = [i for i, item in entries.items() if written_kind(item) == segment]
                numbered[index] = named[0] if named else segment
            slot = slot.child(numbered[index], node)
            node = entries.get(numbered[index])
        return node, slot, tuple(numbered)

    def fault(self, path: Path, section: Slot, complaints: Sequence[ErrorDetails]) -> _Fault:
        slot = section.child(path[-1], None) if path else section
        match complaints[0]["type"]:
            case "extra_forbidden":
                return self.unknown_key(path, section)
            case "missing":
                return self.missing(path, slot)
            case "union_tag_not_found":
                return self.missing((*path, "kind"), slot)
            case "union_tag_invalid":
                return self.unknown_kind(path, slot)
        message, remedy = describe(complaints)
        remedy = remedy or _meaning(path, slot) or _meaning(path[:-1], section)
        return _Fault(self.nearest(path).place, path, message, remedy)

    def nearest(self, path: Path) -> Node:
        return find(self.root, path)[0]

    def missing(self, path: Path, slot: Slot) -> _Fault:
        return _Fault(self.nearest(path).place, path, "is required", _meaning(path, slot))

    def unknown_kind(self, path: Path, slot: Slot) -> _Fault:
        node = self.nearest((*path, "kind"))
        remedy = did_you_mean(str(node.value), slot.kinds, label="kinds")
        message = f"unknown kind {shown(to_plain(node))}"
        return _Fault(node.place, (*path, "kind"), message, remedy)

    def unknown_key(self, path: Path, section: Slot) -> _Fault:
        *above, key = path
        node, parent = self.nearest(path), self.nearest(tuple(above))
        place = node.key or node.origin
        choices = list(section.spec.model_fields) if section.spec is not None else []
        kind = f", which is of kind {section.kind}" if section.kind else ""
        message = f"unknown key in {dotted(above)}{kind}" if above else "unknown key"
        chosen = parent.entries.get("kind")
        if place.line and chosen is not None and chosen.origin.line is None:
            remedy = f"drop it with ~{dotted(path)}, or leave {chosen.origin} out"
            return _Fault(place, path, message, remedy)
        family = self.look_up(above)[1].kinds
        owners = [kind for kind, member in family.items() if key in member.model_fields]
        if owners:
            listing = f"valid keys: {', '.join(choices)}"
            return _Fault(place, path, message, f"it is a key of {', '.join(owners)}; {listing}")
        elsewhere = [] if nearest(key, choices) else self.elsewhere(key)
        if elsewhere:
            return _Fault(place, path, message, f"did you mean {' or '.join(elsewhere)}?")
        return _Fault(place, path, message, did_you_mean(key, choices, label="valid keys"))

    def elsewhere(self, key: str) -> list[str]:
        """The sections that have a key of this name, as paths: `lr` is `optimizer.lr`."""
        found = []
        for name, info in self.slot.spec.model_fields.items() if self.slot.spec else ():
            slot = slot_of(info)
            member = slot.member(self.root.entries.get(name))
            if member is not None and key in member.model_fields and key != "kind":
                found.append(f"{name}.{key}")
        return found

    def conflict(self, details: ErrorDetails) -> _Fault:
        """A cross-field rule's fault, at its own path; it says so if that holds a default."""
        context = details.get("ctx", {})
        node, _, path = self.look_up(context["path"].split("."))
        message = str(context["message"])
        if node is None or node.origin == DEFAULT:
            message += " (this is the default: the config doesn't give it)"
        place = (node if node is not None and node.origin != DEFAULT else self.given(path)).place
        return _Fault(place, path, message, str(context["remedy"]))

    def given(self, path: Path) -> Node:
        """The innermost node down the path that a file or an override wrote."""
        written = [find(self.root, path[:depth])[0] for depth in range(len(path) + 1)]
        return [node for node in written if node.place != DEFAULT][-1]


def _miscounted(details: ErrorDetails) -> bool:
    """Whether a list is called too short only because some of its items are invalid."""
    least = details.get("ctx", {}).get("min_length", 0)
    return details["type"] == "too_short" and len(details["input"]) >= least


def _meaning(path: Path, slot: Slot) -> str:
    """What stands at a place: the kinds of a family, the keys of a section, a value's meaning."""
    if slot.kinds:
        return f"kinds: {', '.join(slot.kinds)}"
    if slot.spec is not None:
        return f"keys: {', '.join(slot.spec.model_fields)}"
    if path and slot.info is not None and slot.info.description:
        return f"{path[-1]}: {slot.info.description}"
    return ""
