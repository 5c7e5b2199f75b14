"""The commands. Nothing heavy is imported before a command needs it: `--help` answers at once."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING

import click

from nnrecipe.core.errors import RecipeError, UserError

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
        return code or 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except UserError as error:
        return _complain(error)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # rich does so when a run's reader leaves
            return 130
        return _complain(UserError("your own code ended the program (sys.exit): leave that out"))
    except _Crash as crash:
        return _unexpected(crash.error, arguments, crash.folder)
    except Exception as error:
        return _unexpected(error, arguments)


class _Crash(Exception):  # noqa: N818 - what it wraps is the error
    """An error of ours in a run, and the run's folder."""

    def __init__(self, error: Exception, folder: Path) -> None:
        super().__init__(str(error))
        self.error, self.folder = error, folder


def _complain(error: UserError) -> int:
    if isinstance(error, RecipeError) and len(error.problems) > 1:
        click.echo(f"{len(error.problems)} problems:", err=True)
    click.echo(str(error) if isinstance(error, RecipeError) else f"error: {error}", err=True)
    return 2


def _unexpected(error: Exception, arguments: Sequence[str], folder: Path | None = None) -> int:
    """Save the traceback, in the run's folder if there is one; say one line on the terminal."""
    from nnrecipe.core.targets import describe, is_users_fault

    if is_users_fault(error):
        return _complain(UserError(f"your own code failed: {describe(error)}"))
    if isinstance(error, MemoryError) or "tried to allocate" in str(error).lower():
        remedy = "make training.batch_size, the images or the layers smaller, or set data.limit"
        return _complain(UserError(f"out of memory: {remedy}"))
    if folder is None or not folder.is_dir():
        folder = Path(tempfile.mkdtemp(prefix="nnrecipe-"))
    path = folder / "error.txt"
    told = "".join(traceback.format_exception(error))
    path.write_text(f"nnrecipe {' '.join(arguments)}\n\n{told}", errors="backslashreplace")
    text = " ".join(str(error).split())[:200]
    click.echo(f"unexpected error: {type(error).__name__}: {text} (see {path})", err=True)
    return 3


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
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


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
    from nnrecipe.runner import default_folder

    base = output or default_folder(loaded[0].recipe)
    if not seeds:
        return _walk(loaded[0], base, stages, keep_going).exit_code
    folders = [base / f"seed-{seed}" for seed in seeds]
    reports = [
        _walk(one, folder, stages, keep_going) for one, folder in zip(loaded, folders, strict=True)
    ]
    click.echo(_over_seeds(reports))
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
        raise _Crash(error, folder) from error
    print_report(outcome.report, outcome.folder)
    return outcome.report


def _over_seeds(reports: Sequence[Report]) -> str:
    """Each metric's mean and standard deviation over the runs that have it."""
    names = dict.fromkeys(name for report in reports for name in report.metrics)
    lines = [f"\nover {len(reports)} seeds"]
    for name in names:
        values = [float(report.metrics[name]) for report in reports if name in report.metrics]
        spread = stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
        lines.append(f"{name:<16} mean {mean(values):.4f}  sd {spread:.4f}  n {len(values)}")
    return "\n".join(lines)


@cli.command()
@_WORDS
@_PRINT
def validate(words: tuple[str, ...], print_config: bool) -> None:
    """Say what is wrong with a config."""
    loaded = _load(words)
    click.echo(loaded.resolved if print_config else f"{loaded.recipe.name}: valid")


@cli.command()
@_WORDS
def summary(words: tuple[str, ...]) -> None:
    """Print the network, layer by layer."""
    import torch

    from nnrecipe.architectures.summary import blueprint, render, summarize
    from nnrecipe.core.shapes import OutputSpec

    recipe = _load(words).recipe
    inputs, classes = recipe.data.input_shape(), recipe.data.num_classes()
    if inputs is None or classes is None:
        data = recipe.data.build(device=torch.device("cpu"), seed=recipe.seed)
        inputs, classes = data.input_shape, data.outputs.num_classes
    dropout = recipe.regularization.dropout
    outputs = OutputSpec(classes)
    model = blueprint(recipe.architecture, inputs, outputs, norm=recipe.norm, dropout=dropout)
    click.echo(render(summarize(model, inputs)))


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
    from nnrecipe.recipe.presets import find_config

    click.echo(find_config(name).read_text(encoding="utf-8"), nl=False)


@cli.command()
@click.argument("name")
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def cp(name: str, destination: Path | None, force: bool) -> None:
    """Copy a preset to change it.

    DESTINATION is a file or a folder; without it, a file of the preset's name in this folder.
    """
    from nnrecipe.recipe.presets import find_config

    source = find_config(name)
    target = destination or Path(source.name)
    target = target / source.name if target.is_dir() else target
    if target.exists() and not force:
        raise UserError(f"{target}: exists already: name another file, or add --force")
    try:
        target.write_bytes(source.read_bytes())
    except OSError as error:
        raise UserError(f"{target}: can't be written: {error.strerror}") from error
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
