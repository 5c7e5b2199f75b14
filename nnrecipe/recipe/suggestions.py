"""What someone who mistyped a word probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` is most like, if any is close enough to be meant."""
    found = difflib.get_close_matches(word[:80].lower(), list(choices), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, choices: Iterable[str], *, label: str) -> str:
    """A remedy: the nearest choice, and all of them."""
    choices = list(choices)
    close = nearest(word, choices)
    listing = f"{label}: {', '.join(choices)}" if choices else ""
    return f"did you mean {close!r}? {listing}" if close else listing
