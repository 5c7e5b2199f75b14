"""The commands. Nothing heavy is imported before a command needs it: `--help` answers at once."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from nnrecipe.arguments import AnyOrder, names, numbers
from nnrecipe.exits import exit_code, stoppable
from nnrecipe.recipe.catalogue import FAMILIES, print_family

if TYPE_CHECKING:
    from nnrecipe.recipe import LoadedRecipe

FAST = ("training.epochs=1", "data.limit=2000", "scheduler.warmup=0")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 (a check failed), 2 (user), 3 (us), 130, 143."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with stoppable(), cli.make_context("nnrecipe", arguments) as context:
            code: int | None = cli.invoke(context)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt, SystemExit) as stop:
        return exit_code(stop, arguments)
    return code or 0


@click.group(cls=AnyOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nnrecipe", message="%(prog)s %(version)s")
def cli() -> None:
    """The recipe for training neural networks: every stage ends in a verdict.

    CONFIG is a YAML file or a preset's name; of several, later ones win. key=value changes the
    config (optimizer.lr=0.1), ~key drops a key from it. Start with: nnrecipe run quickstart
    """


_PATH = click.Path(path_type=Path)
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


@cli.command()
@_WORDS
@click.option("--stages", callback=names, metavar="A,B", help="Walk only these stages.")
@click.option("--output", type=_PATH, help="The folder to make; default: runs/NAME/TIME.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.")
@click.option("--keep-going", is_flag=True, help="Train even if a check failed.")
@click.option("--fast", is_flag=True, help=f"A trial: the same as {' '.join(FAST)}.")
@click.option("--seeds", callback=numbers, metavar="0,1,2", help="One run for each seed.")
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=VALUE,VALUE",
    help="One config for each value; given several times, for each combination.",
)
@_PRINT
def run(
    words: tuple[str, ...],
    stages: list[str] | None,
    output: Path | None,
    device: str | None,
    keep_going: bool,
    fast: bool,
    seeds: list[int],
    vary: tuple[str, ...],
    print_config: bool,
) -> int:
    """Walk the recipe: check, train, evaluate.

    With --seeds or --vary it is walked more than once, and the runs are compared in a table and a
    picture. --vary norm=none,batch --vary 'init=zeros,{kind: normal, std: 1.0}' --seeds 0,1,2 makes
    four configs with three runs each, in OUTPUT/norm=none,init=zeros/seed-0 and so on. What can't
    be combined stays in the table, with the reason.
    """
    from nnrecipe.core.torchrun import place
    from nnrecipe.grid import configs, make_plans, refuse_processes, run_one, run_plans
    from nnrecipe.recipe.variations import cells
    from nnrecipe.report import print_report
    from nnrecipe.runner import default_folder

    first = FAST if fast else ()
    last = [f"device={device}"] if device else []
    plans = make_plans(
        cells(vary), seeds, load=lambda changes: _load(words, first=first, last=[*last, *changes])
    )
    if print_config:
        click.echo("\n".join(configs(plans)), nl=False)
        return 0
    refuse_processes(several=bool(vary or seeds), output=output)
    loaded = next(loaded for plan in plans for loaded in plan.recipes)
    folder = output or default_folder(loaded.recipe)
    if vary or seeds:
        return run_plans(plans, folder, stages=stages, keep_going=keep_going)
    outcome = run_one(loaded, folder, stages=stages, keep_going=keep_going)
    if place()[0]:  # a failed check is the first process's to tell: torchrun stops all at a code
        return 0
    print_report(outcome.report, outcome.folder)
    return outcome.report.exit_code


@cli.command()
@click.argument("folder", metavar="RUN", type=_PATH)
def resume(folder: Path) -> int:
    """Go on with a run that was cut off.

    RUN is the folder of a run that was killed, interrupted or ended in an error, at any moment. It
    ends as if it had never stopped: stages that had ended are not walked again, and the training
    goes on after its last whole epoch. Of a folder that --seeds or --vary made, all runs are gone
    on with that are not complete. Call it from the folder in which the run was started, if its
    config has relative paths.
    """
    from nnrecipe.core.torchrun import place
    from nnrecipe.grid import refuse_processes, resume_one, resume_plans
    from nnrecipe.report import print_report
    from nnrecipe.report.grid_file import GRID_FILE

    if (folder / GRID_FILE).is_file():
        refuse_processes(several=True, output=folder)
        return resume_plans(folder)
    outcome = resume_one(folder)
    if place()[0]:  # a failed check is the first process's to tell: torchrun stops all at a code
        return 0
    print_report(outcome.report, outcome.folder)
    return outcome.report.exit_code


@cli.command()
@_WORDS
@_PRINT
def validate(words: tuple[str, ...], print_config: bool) -> None:
    """Say what is wrong with a config."""
    loaded = _load(words)
    click.echo(loaded.resolved if print_config else f"{loaded.recipe.name}: valid\n", nl=False)


@cli.command()
@_WORDS
@click.option(
    "--activations",
    is_flag=True,
    help="Instead, pass a batch through: each layer's mean, spread, saturation and gradient.",
)
def summary(words: tuple[str, ...], activations: bool) -> None:
    """Print the network, layer by layer.

    Two tables: each layer's output shape, parameters, FLOPs and activation memory; and how each
    parameter trains.
    """
    from nnrecipe.recipe import network

    recipe = _load(words).recipe
    click.echo(network.activation_tables(recipe) if activations else network.tables(recipe))


@cli.command()
def schema() -> None:
    """Print the config's JSON Schema, for editors."""
    from nnrecipe.recipe import Recipe

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    click.echo(json.dumps({**dialect, **Recipe.model_json_schema()}, indent=2))


@cli.command(epilog=f"Families: {', '.join(FAMILIES)}.")
@click.argument("family", required=False)
def ls(family: str | None) -> None:
    """List the presets, or all that YAML can name of one FAMILY.

    Each member of a family comes with its meaning and the paper, book or library it is from.
    """
    if family is not None:
        return print_family(family)
    from nnrecipe.recipe.presets import description, presets

    found = presets()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        click.echo(f"{name:<{width}}  {description(path)}".rstrip())
    return None


@cli.command()
@click.argument("name")
def cat(name: str) -> None:
    """Print a preset."""
    from nnrecipe.recipe.files import read_config
    from nnrecipe.recipe.presets import find_config

    click.echo(read_config(find_config(name)), nl=False)


@cli.command()
@click.argument("name")
@click.argument("destination", required=False, type=_PATH)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def cp(name: str, destination: Path | None, force: bool) -> None:
    """Copy a preset to change it.

    DESTINATION is a file or a folder; without it, a file of the preset's name in this folder.
    """
    from nnrecipe.recipe.files import copy_config

    target = copy_config(name, destination, force=force)
    click.echo(f"{target}: run it with `nnrecipe run {target}`")


@cli.command()
@click.argument("folder", metavar="RUN", type=_PATH)
def report(folder: Path) -> None:
    """Write the report.html of a run folder anew."""
    from nnrecipe.report import write_html

    click.echo(write_html(folder))


@cli.command()
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=_PATH)
@click.option(
    "--output",
    type=_PATH,
    help="The picture to write (.png, .svg or .pdf); default: comparison.png in RUN, or in the "
    "current folder if there are several.",
)
def compare(folders: tuple[Path, ...], output: Path | None) -> None:
    """Compare runs in one table and one picture.

    RUN is a run's folder or one that holds runs, as --seeds and --vary make it. Runs that differ in
    nothing but their seeds are a row, with mean and standard deviation; the columns are the keys in
    which the configs differ, then the metrics, the times, the parameters and the verdict.
    """
    from nnrecipe.report.compare import show_comparison

    show_comparison(folders, picture=output)


@cli.command()
@click.argument("patient", metavar="RUN|package.module:make")
@click.option("--apply", is_flag=True, help="Write a repaired config of RUN, and try it.")
@click.option("--output", type=_PATH, help="Keep the report on your code in this folder.")
def doctor(patient: str, apply: bool, output: Path | None) -> int:
    """Say what is wrong with a run or with your own code, and mend the config.

    RUN is a run's folder: its causes, with advice and with the changes that mend the config.
    --apply writes them into RUN/config.repaired.yaml, and shows a short run of before and after.

    package.module:make is a callable that returns the arguments of nnrecipe.diagnose as a tuple or
    a dict: a model, a loader, a loss, and perhaps a val_loader and an optimizer.
    """
    from nnrecipe import doctor as room

    if ":" in patient and not os.path.isdir(patient):
        if apply:
            raise click.UsageError("--apply is for a run's folder: your own code is yours to mend")
        return room.examine_code(patient, output=output).exit_code
    if output is not None:
        raise click.UsageError("--output is for your own code: a run keeps what is its own")
    admitted = room.admit(Path(patient))
    room.tell(admitted)
    return room.repair(admitted) if apply else admitted.report.exit_code


@cli.command()
@click.argument("folder", metavar="RUN", type=_PATH)
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the first free from 6006.")
def dashboard(folder: Path, port: int | None) -> None:
    """Show a run in TensorBoard.

    RUN may also be a folder of runs, to compare them.
    """
    from nnrecipe.report.dashboard import serve
    from nnrecipe.report.progress import terminal_progress

    serve(folder, port, progress=terminal_progress())


@cli.command()
@click.argument("expression")
@click.argument("words", metavar="[name=value ...]", nargs=-1)
@click.option("--step", is_flag=True, help="Walk forward and backward, one gate at a time.")
@click.option(
    "--output",
    "files",
    multiple=True,
    type=_PATH,
    help="Draw the graph: a .svg, .png or .html file; may be given several times.",
)
def explain(expression: str, words: tuple[str, ...], step: bool, files: tuple[Path, ...]) -> None:
    """Show backpropagation through an expression.

    Its graph, with the value and the gradient on each edge: nnrecipe explain "(x+y)*z" x=-2 y=5
    z=-4. Values are numbers, rows and matrices (w='[[1, 2], [3, 4]]'). EXPRESSION may also be the
    name of an example: gates, sigmoid-neuron, two-layer-net. Put an expression that begins with a
    minus in parentheses. Without --output, the drawing is explanation.html.
    """
    from nnrecipe.explain.command import show

    show(expression, words, step=step, files=files or (Path("explanation.html"),))


_CHECKPOINT = click.option(
    "--checkpoint",
    type=click.Choice(["best", "last", "ensemble"]),
    help="Which network of the run; default: its ensemble if it made one, else the best epoch's.",
)


@cli.command()
@click.argument("folder", metavar="RUN", type=_PATH)
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True)
@_CHECKPOINT
@click.option(
    "--top-k",
    type=click.IntRange(1),
    help="Tell the K most probable classes or labels; default: 1 class, or all labels.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    help="Default: as the name of --output ends, else table.",
)
@click.option("--output", "--out", type=_PATH, help="Write to this file, not to the terminal.")
@click.option("--batch-size", type=click.IntRange(1), help="Images at a time.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute.")
@click.option(
    "--workers", type=click.IntRange(0), help="Processes that read images; default: one a core."
)
def predict(
    folder: Path,
    images: tuple[str, ...],
    checkpoint: Literal["best", "last", "ensemble"] | None,
    top_k: int | None,
    form: Literal["table", "csv", "json"] | None,
    output: Path | None,
    batch_size: int | None,
    device: Literal["auto", "cpu", "cuda"] | None,
    workers: int | None,
) -> int:
    """Say what a trained network makes of images.

    RUN is a run's folder; IMAGES are files, folders (at any depth) and patterns in quotes
    ('photos/**/*.jpg'). They are prepared as the training images were, and resized to their size.
    An image that can't be read is named, and the others go on; the exit code is then 1.
    """
    from nnrecipe.predict.command import Settings, show

    settings = Settings(
        checkpoint=checkpoint,
        top=top_k,
        form=form,
        output=output,
        batch_size=batch_size,
        device=device or "auto",
        workers=workers,
    )
    return show(folder, images, settings)


@cli.command()
@click.argument("folder", metavar="RUN", type=_PATH)
@click.option(
    "--format",
    "form",
    type=click.Choice(["torch", "onnx", "safetensors"]),
    required=True,
    help="A graph for torch.export.load, an ONNX graph, or the weights alone.",
)
@_CHECKPOINT
@click.option(
    "--output", "--out", type=_PATH, help="The file; default: model.pt2, .onnx, ... in RUN."
)
def export(
    folder: Path,
    form: Literal["torch", "onnx", "safetensors"],
    checkpoint: Literal["best", "last", "ensemble"] | None,
    output: Path | None,
) -> None:
    """Write a trained network into a file that does without nnrecipe.

    Preprocessing and class names are inside. A graph takes raw images, uint8 [batch, C, H, W] from
    0 to 255, and gives probabilities. onnx needs nnrecipe[onnx], safetensors nnrecipe[safetensors].
    """
    from nnrecipe.export.command import show

    show(folder, form=form, output=output, checkpoint=checkpoint)
