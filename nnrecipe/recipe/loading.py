"""From files and overrides to a recipe, or to everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from nnrecipe.core.errors import Problem, RecipeError, UserError
from nnrecipe.core.targets import search_also
from nnrecipe.recipe.files import read_config, shown_path
from nnrecipe.recipe.merging import merge, spell_out
from nnrecipe.recipe.model import Recipe
from nnrecipe.recipe.nodes import Node, Origin, shown, to_plain
from nnrecipe.recipe.overrides import apply_override
from nnrecipe.recipe.presets import find_config
from nnrecipe.recipe.problems import ClashError, is_clash, problems_of
from nnrecipe.recipe.resolved import render
from nnrecipe.recipe.slots import Slot
from nnrecipe.recipe.substitution import misfits
from nnrecipe.recipe.yaml_source import parse_yaml

_ROOT = Slot(spec=Recipe)
_GIVEN = re.compile(r"^# --- (.+)$", re.MULTILINE)
"""How a run's config names the files that it was made from."""


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe, and what it was made from.

    `given` is the text of the files and the overrides. `resolved` is the recipe as YAML, every
    default filled in, with a remark on each value's origin.
    """

    recipe: Recipe
    given: str
    resolved: str

    @property
    def record(self) -> str:
        """What a run keeps: the resolved config, which can be run again, and what was given."""
        quoted = "\n".join(f"# {line}".rstrip() for line in self.given.splitlines())
        return f"{self.resolved}\n# As it was given:\n#\n{quoted}\n"


def load_recipe(*paths: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, or in several of which later ones win.

    A path may be a preset's name. `overrides` are `key.path=value` and `~key.path`. Raises
    `RecipeError` with everything that is wrong (a `ClashError` if all of it is that parts can't be
    combined), or `UserError` if there is no such file.
    """
    return load(*paths, overrides=overrides).recipe


def load(*paths: Path | str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """`load_recipe`, with what the recipe was made from."""
    if not paths:
        raise UserError("no config: name a file or a preset (`nnrecipe ls` lists them)")
    files = [find_config(str(path)) for path in paths]
    texts = [(shown_path(file), read_config(file)) for file in files]
    problems: list[Problem] = []
    trees = [_tree(name, text, problems) for name, text in texts]
    problems = list(dict.fromkeys(problems))  # a file may be named twice
    if None in trees:
        raise RecipeError(problems)
    root, *above = [tree for tree in trees if tree is not None]
    for tree in above:
        root = merge(root, tree, _ROOT)
    for override in overrides:
        try:
            root = apply_override(root, override, _ROOT)
        except RecipeError as error:
            problems += error.problems
    root = _completed(root, files[0])
    for file in files:
        search_also(file.parent)
    recipe = _validated(root, problems)
    if refused := list(misfits(recipe, root)):
        raise RecipeError(refused)
    given = [f"--- {name}\n{text.rstrip()}" for name, text in texts]
    given += [f"--- {override}" for override in overrides]
    return LoadedRecipe(recipe, given="\n".join(given) + "\n", resolved=render(recipe, root))


def load_kept(config: Path) -> LoadedRecipe:
    """`load` for a run folder's config: targets are also looked for beside what it was made from.

    Raises `UserError` if there is no such file.
    """
    if not config.is_file():
        raise UserError(f"{config.parent}: no {config.name}: name the folder of a run")
    search_beside_given(config)
    return load(config)


def search_beside_given(config: Path) -> None:
    """Look for targets beside the files that a run's config was made from, as far as they exist."""
    for file in _GIVEN.findall(config.read_text(encoding="utf-8", errors="replace")):
        if Path(file).is_file():
            search_also(Path(file).parent)


def _validated(root: Node, problems: list[Problem]) -> Recipe:
    """The recipe, unless there are problems already or validation finds some."""
    fault: type[RecipeError] = RecipeError
    try:
        recipe = Recipe.model_validate(to_plain(root))
    except ValidationError as error:
        fault = ClashError if not problems and is_clash(error) else RecipeError
        known = {problem.where for problem in problems}
        found = problems_of(error, root, _ROOT)
        problems = problems + [problem for problem in found if problem.where not in known]
    if problems:
        raise fault(problems)
    return recipe


def _tree(name: str, text: str, problems: list[Problem]) -> Node | None:
    """The file's tree, spelled out; None if it can't be used. Problems are added to the list."""
    try:
        root, found = parse_yaml(text, lambda line, column: Origin(name, line, column))
    except RecipeError as error:
        problems += error.problems
        return None
    problems += found
    if root is None:
        problems.append(Problem(f"{name}:1:1", "YAML", "the file is empty", _START))
        return None
    if not isinstance(root.value, dict):
        message = f"a config is a mapping of keys, got {shown(to_plain(root))}"
        problems.append(Problem(str(root.origin), "YAML", message, _START))
        return None
    return spell_out(root, _ROOT)


_START = "`nnrecipe cp quickstart my.yaml` gives one to start from"


def _completed(root: Node, first: Path) -> Node:
    """Sections that are there but empty count as absent; a recipe without a name has its file's."""
    optional = [key for key, info in Recipe.model_fields.items() if not info.is_required()]
    entries = {
        key: node
        for key, node in root.entries.items()
        if node.value is not None or key not in optional
    }
    if "name" not in entries:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", first.stem).strip("-.")[:80] or "recipe"
        entries["name"] = Node(name, Origin("the file's name"))
    return replace(root, value=entries)
