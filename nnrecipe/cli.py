"""The commands. Nothing heavy is imported before a command needs it: `--help` answers at once."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nnrecipe.core.errors import UserError
from nnrecipe.exits import Crash, exit_code

if TYPE_CHECKING:
    from nnrecipe.core.findings import Report
    from nnrecipe.recipe import LoadedRecipe

FAST = ("training.epochs=1", "data.limit=2000", "scheduler.warmup=0")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 (a check failed), 2 (user), 3 (us) or 130."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with cli.make_context("nnrecipe", arguments) as context:
            code: int | None = cli.invoke(context)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as stop:
        return exit_code(stop, arguments)
    return code or 0


class _AnyOrder(click.Group):
    """Takes a command's flags before the command's name too: `nnrecipe --device cpu run x`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command first."""
        known = [parameter for command in self.commands.values() for parameter in command.params]
        options = [p for p in known if isinstance(p, click.Option) and not p.is_flag]
        valued = {name for option in options for name in option.opts}
        at = 0
        while at < len(args) and args[at].startswith("-"):
            at += 2 if args[at] in valued else 1
        return super().parse_args(ctx, [*args[at : at + 1], *args[:at], *args[at + 1 :]])


@click.group(cls=_AnyOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nnrecipe", message="%(prog)s %(version)s")
def cli() -> None:
    """The recipe for training neural networks: every stage ends in a verdict.

    CONFIG is a YAML file or a preset's name; of several, later ones win. key=value changes the
    config (optimizer.lr=0.1), ~key drops a key from it. Start with: nnrecipe run quickstart
    """


_WORDS = click.argument("words", metavar="CONFIG... [key=value ...]", nargs=-1, required=True)
_PRINT = click.option(
    "--print-config", is_flag=True, help="Print the resolved config and each value's origin."
)


def _load(
    words: Sequence[str], *, first: Sequence[str] = (), last: Sequence[str] = ()
) -> LoadedRecipe:
    """The recipe that the words on a command line mean; overrides may go before or after them."""
    from nnrecipe.recipe import load
    from nnrecipe.recipe.overrides import is_override

    changes = [word for word in words if is_override(word) and not os.path.isfile(word)]
    configs = [word for word in words if word not in changes]
    return load(*configs, overrides=[*first, *changes, *last])


def _names(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> list[str] | None:
    """The words between the commas; None if the option isn't given."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise click.BadParameter(f"{text!r} names nothing: leave the option out for the default")
    return names or None


def _numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> list[int]:
    names = _names(context, parameter, text) or []
    if not all(name.isascii() and name.isdigit() for name in names):
        raise click.BadParameter(f"{text!r}: write whole numbers and commas, as in 0,1,2")
    return list(dict.fromkeys(map(int, names)))


@cli.command()
@_WORDS
@click.option("--stages", callback=_names, metavar="A,B", help="Walk only these stages.")
@click.option("--output", type=click.Path(path_type=Path), help="The run folder to make.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.")
@click.option("--keep-going", is_flag=True, help="Train even if a check failed.")
@click.option("--fast", is_flag=True, help=f"A trial: the same as {' '.join(FAST)}.")
@click.option("--seeds", callback=_numbers, metavar="0,1,2", help="One run for each seed.")
@_PRINT
def run(
    words: tuple[str, ...],
    stages: list[str] | None,
    output: Path | None,
    device: str | None,
    keep_going: bool,
    fast: bool,
    seeds: list[int],
    print_config: bool,
) -> int:
    """Walk the recipe: check, train, evaluate."""
    first = FAST if fast else ()
    last = [f"device={device}"] if device else []
    variants = [[f"seed={seed}"] for seed in seeds] or [[]]
    loaded = [_load(words, first=first, last=[*last, *variant]) for variant in variants]
    if print_config:
        click.echo("\n".join(one.resolved for one in loaded), nl=False)
        return 0
    from nnrecipe.report.seeds import over_seeds
    from nnrecipe.runner import default_folder

    base = output or default_folder(loaded[0].recipe)
    if not seeds:
        return _walk(loaded[0], base, stages, keep_going).exit_code
    folders = [base / f"seed-{seed}" for seed in seeds]
    reports = [
        _walk(one, folder, stages, keep_going) for one, folder in zip(loaded, folders, strict=True)
    ]
    click.echo(f"\n{over_seeds(reports)}")
    return max(report.exit_code for report in reports)


def _walk(
    loaded: LoadedRecipe, folder: Path, stages: Sequence[str] | None, keep_going: bool
) -> Report:
    from nnrecipe.report import print_report, terminal_progress
    from nnrecipe.runner import run_recipe

    try:
        with terminal_progress() as progress:
            outcome = run_recipe(
                loaded.recipe,
                output=folder,
                stages=stages,
                keep_going=keep_going,
                progress=progress,
                source=loaded.record,
            )
    except UserError:
        raise
    except Exception as error:
        raise Crash(error, folder) from error
    print_report(outcome.report, outcome.folder)
    return outcome.report


@cli.command()
@_WORDS
@_PRINT
def validate(words: tuple[str, ...], print_config: bool) -> None:
    """Say what is wrong with a config."""
    loaded = _load(words)
    click.echo(loaded.resolved if print_config else f"{loaded.recipe.name}: valid\n", nl=False)


@cli.command()
@_WORDS
def summary(words: tuple[str, ...]) -> None:
    """Print the network: its layers, and how each parameter trains."""
    from nnrecipe.recipe.network import tables

    click.echo(tables(_load(words).recipe))


@cli.command()
def schema() -> None:
    """Print the config's JSON Schema, for editors."""
    from nnrecipe.recipe import Recipe

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    click.echo(json.dumps({**dialect, **Recipe.model_json_schema()}, indent=2))


@cli.command()
def ls() -> None:
    """List the presets."""
    from nnrecipe.recipe.presets import description, presets

    found = presets()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        click.echo(f"{name:<{width}}  {description(path)}".rstrip())


@cli.command()
@click.argument("name")
def cat(name: str) -> None:
    """Print a preset."""
    from nnrecipe.recipe.files import read_config
    from nnrecipe.recipe.presets import find_config

    click.echo(read_config(find_config(name)), nl=False)


@cli.command()
@click.argument("name")
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def cp(name: str, destination: Path | None, force: bool) -> None:
    """Copy a preset to change it.

    DESTINATION is a file or a folder; without it, a file of the preset's name in this folder.
    """
    from nnrecipe.recipe.files import copy_config

    target = copy_config(name, destination, force=force)
    click.echo(f"{target}: run it with `nnrecipe run {target}`")


@cli.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write the report.html of a run folder anew."""
    from nnrecipe.report import write_html

    click.echo(write_html(folder))


@cli.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free from 6006.")
def dashboard(folder: Path, port: int | None) -> None:
    """Show a run in TensorBoard.

    RUN may also be a folder of runs, to compare them.
    """
    from nnrecipe.report.dashboard import serve
    from nnrecipe.report.progress import terminal_progress

    serve(folder, port, progress=terminal_progress())
