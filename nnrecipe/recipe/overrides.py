"""Changes to a config from the command line: `key.path=value` sets, `~key.path` drops."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nnrecipe.core.errors import Problem, RecipeError
from nnrecipe.core.spec import Spec
from nnrecipe.recipe.merging import kind_entries, spell_out
from nnrecipe.recipe.nodes import DEFAULT, Node, Origin, Path, dotted, shown, to_nodes
from nnrecipe.recipe.slots import Slot, written_kind
from nnrecipe.recipe.yaml_source import DEEPEST, parse_yaml


def is_override(argument: str) -> bool:
    """Whether a command-line argument has the form of an override."""
    return argument.startswith("~") or "=" in argument


def apply_override(root: Node, text: str, slot: Slot) -> Node:
    """The config (spelled out) with one override applied. Raises `RecipeError`.

    A segment under a list is an index or a member's kind: `stages.overfit.steps=300`. A member
    that the list lacks is appended; a list that the config doesn't give starts as its default.
    """
    override = _read(text)
    return override.edited(root, slot, 0) or root


def with_value(root: Node, path: str, value: object, slot: Slot) -> Node:
    """The config (spelled out) with a plain value at a dotted path. Raises `RecipeError`."""
    keys = tuple(path.split("."))
    if not all(keys) or len(keys) > DEEPEST:
        raise RecipeError([Problem(path, path, "is no path", "name a key as section.key")])
    new = replace(to_nodes(value, Origin(path)), key=Origin(path))
    return _Override(path, keys, new).edited(root, slot, 0) or root


def _read(text: str) -> _Override:
    keys, equals, value = text.removeprefix("~").partition("=")
    path = tuple(keys.split("."))
    if text.startswith("~") == bool(equals) or not all(path) or len(path) > DEEPEST:
        remedy = "key.path=value sets a value, ~key.path drops one"
        raise RecipeError([Problem(text, dotted(path) or "override", "is no override", remedy)])
    if not equals:
        return _Override(text, path, None)
    try:
        new, problems = parse_yaml(value, lambda _line, _column: Origin(text))
    except RecipeError as error:
        new, problems = None, error.problems
    if problems:
        raise RecipeError([replace(problem, path=dotted(path)) for problem in problems])
    return _Override(text, path, replace(new or Node(None, Origin(text)), key=Origin(text)))


@dataclass(frozen=True)
class _Override:
    """One override: as typed, the path it names, and the value to put there (None drops it)."""

    text: str
    path: Path
    new: Node | None

    def edited(self, node: Node | None, slot: Slot, depth: int) -> Node | None:
        """What `node`, which stands `depth` segments down the path, becomes; None if it goes."""
        if depth == len(self.path):
            return self.final(node, slot)
        opened = self.opened(node, slot, depth)
        if isinstance(opened.value, list):
            return self.in_list(opened, slot, depth)
        words = self.words(opened, slot, depth)
        segment = ".".join(self.path[depth : depth + words])
        below = opened.entries.get(segment)
        new = self.edited(below, slot.child(segment, opened), depth + words)
        kept = {key: child for key, child in opened.entries.items() if key != segment or new}
        if new and segment == "kind" and slot.kinds:
            return replace(opened, value={**kept, **kind_entries(new, slot)})
        return replace(opened, value={**kept, segment: new} if new else kept)

    def final(self, node: Node | None, slot: Slot) -> Node | None:
        if self.new is not None:
            return spell_out(self.new, slot)
        if node is None:
            raise self.error(
                len(self.path), "there is nothing to drop", "the config doesn't give it"
            )
        return None

    def words(self, node: Node, slot: Slot, depth: int) -> int:
        """How many words of the path make the next key: a mapping's free keys may hold dots."""
        if slot.values is None:
            return 1
        left = len(self.path) - depth
        ends = range(left, 0, -1)
        known = (n for n in ends if ".".join(self.path[depth : depth + n]) in node.entries)
        return next(known, left)

    def in_list(self, node: Node, slot: Slot, depth: int) -> Node:
        items = list(node.entries.values())
        index = self.index(node, slot.item or Slot(), depth)
        old = items[index] if index < len(items) else None
        if old is None and self.new is not None:
            old = to_nodes({"kind": self.path[depth]}, Origin(self.text))
        new = self.edited(old, slot.child(self.path[depth], node), depth + 1)
        return replace(node, value=[*items[:index], *([new] if new else []), *items[index + 1 :]])

    def index(self, node: Node, item: Slot, depth: int) -> int:
        """Which item the segment means: a number or a kind; the list's length for a new kind."""
        segment, items = self.path[depth], list(node.entries.values())
        if segment in node.entries:
            return int(segment)
        if segment.removeprefix("-").isdigit() or not item.kinds:
            have = f"the list has {len(items)} items, counted from 0"
            raise self.error(depth + 1, f"there is no item {shown(segment)}", have)
        kinds = [written_kind(member) or item.default_kind for member in items]
        if kinds.count(segment) > 1:
            numbers = [str(index) for index, kind in enumerate(kinds) if kind == segment]
            message = f"the list has {len(numbers)} items of kind {segment}"
            raise self.error(depth + 1, message, f"say which by number: {' or '.join(numbers)}")
        return kinds.index(segment) if segment in kinds else len(items)

    def opened(self, node: Node | None, slot: Slot, depth: int) -> Node:
        """The node as something with entries: what the config gives, or else the default."""
        if node is not None and isinstance(node.value, dict | list):
            return node
        if node is not None and node.value is not None:
            where = dotted(self.path[:depth])
            message = f"is {shown(node.value)}, which has no keys under it"
            raise self.error(depth, message, f"{where}=... sets it")
        if slot.item is not None:
            items = [_dumped(item) for item in slot.default or ()]
            return to_nodes(items, DEFAULT)
        return Node({}, Origin(self.text), Origin(self.text))

    def error(self, depth: int, message: str, remedy: str) -> RecipeError:
        return RecipeError([Problem(self.text, dotted(self.path[:depth]), message, remedy)])


def _dumped(item: object) -> object:
    return item.model_dump(mode="json") if isinstance(item, Spec) else item
