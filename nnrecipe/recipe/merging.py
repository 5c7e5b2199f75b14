"""Several files as one: later ones win, section by section."""

from __future__ import annotations

from dataclasses import replace

from nnrecipe.core.spec import named
from nnrecipe.recipe.nodes import Node
from nnrecipe.recipe.slots import Slot, written_kind


def spell_out(node: Node, slot: Slot) -> Node:
    """Write every `norm: batch` as `norm: {kind: batch}`, so that the rest knows one form only.

    So too the shorthand `torchvision:alexnet`, alone or as a mapping's `kind`.
    """
    if isinstance(node.value, str) and slot.kinds:
        return replace(node, value=kind_entries(node, slot))
    if isinstance(node.value, dict):
        kind = node.value.get("kind")
        short = kind_entries(kind, slot) if kind is not None and slot.kinds else {}
        if not short.keys() & node.value.keys() > {"kind"}:  # given twice: that stays to be refused
            node = replace(node, value={**node.value, **short})
        entries = node.entries.items()
        return replace(node, value={k: spell_out(v, slot.child(k, node)) for k, v in entries})
    if isinstance(node.value, list) and slot.item is not None:
        item = slot.item
        return replace(node, value=[spell_out(child, item) for child in node.value])
    return node


def kind_entries(kind: Node, slot: Slot) -> dict[str, Node]:
    """The entries that a word stands for in a family's section: the kind, and with a colon more."""
    if not isinstance(kind.value, str):
        return {"kind": kind}
    return {key: replace(kind, value=value) for key, value in named(kind.value, slot.kinds).items()}


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
