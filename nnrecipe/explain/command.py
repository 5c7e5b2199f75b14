"""`nnrecipe explain`: what is printed and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from nnrecipe.explain.examples import EXAMPLES
from nnrecipe.explain.files import check_format, write
from nnrecipe.explain.passes import explain
from nnrecipe.explain.values import read_values
from nnrecipe.explain.words import figure, steps, table


def show(expression: str, words: Sequence[str], *, step: bool, files: Sequence[Path]) -> None:
    """Explain an expression, or an example of that name with other values where they are given.

    Step by step it waits for a key after each, on a terminal. Raises `UserError`.
    """
    for file in files:
        check_format(file)
    values = read_values(words)
    if expression in EXAMPLES:
        example = EXAMPLES[expression]
        expression, values = example.expression, read_values(example.values) | values
    explanation = explain(expression, values)
    click.echo(f"{explanation.text} = {figure(explanation.result.value)}\n")
    if step:
        for line in steps(explanation):
            click.echo(line)
            click.pause("")  # does nothing where nobody sits at a terminal
        click.echo()
    click.echo("\n".join(table(explanation)))
    for file in files:
        write(explanation, file)
        click.echo(f"\ndrawn  {file}")
