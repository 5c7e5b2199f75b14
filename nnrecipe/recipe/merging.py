"""Several files as one: later ones win, section by section."""

from __future__ import annotations

from dataclasses import replace

from nnrecipe.recipe.nodes import Node
from nnrecipe.recipe.slots import Slot, written_kind


def spell_out(node: Node, slot: Slot) -> Node:
    """Write every `norm: batch` as `norm: {kind: batch}`, so that the rest knows one form only."""
    if isinstance(node.value, str) and slot.kinds:
        return replace(node, value={"kind": Node(node.value, node.origin, node.key)})
    if isinstance(node.value, dict):
        entries = node.value.items()
        return replace(node, value={k: spell_out(v, slot.child(k, node)) for k, v in entries})
    if isinstance(node.value, list) and slot.item is not None:
        item = slot.item
        return replace(node, value=[spell_out(child, item) for child in node.value])
    return node


def merge(below: Node, above: Node, slot: Slot) -> Node:
    """`above` laid over `below`, both spelled out.

    Mappings merge key by key; a section whose kind changes is replaced as a whole, and so are
    lists and plain values.
    """
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    if slot.kinds:
        old = written_kind(below) or slot.default_kind
        if (written_kind(above) or old) != old:
            return above
    merged = dict(below.value)
    for key, node in above.value.items():
        under = merged.get(key)
        merged[key] = merge(under, node, slot.child(key, below)) if under is not None else node
    return replace(below, value=merged)
