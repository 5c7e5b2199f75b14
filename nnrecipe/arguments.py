"""How a command line is read: flags in any order, and options that are lists."""

from __future__ import annotations

import click


class AnyOrder(click.Group):
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


def names(
    _context: click.Context, _parameter: click.Parameter, text: str | None
) -> list[str] | None:
    """The words between the commas; None if the option isn't given."""
    found = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not found:
        raise click.BadParameter(f"{text!r} names nothing: leave the option out for the default")
    return found or None


def numbers(context: click.Context, parameter: click.Parameter, text: str | None) -> list[int]:
    """The whole numbers between the commas, each once; none if the option isn't given."""
    found = names(context, parameter, text) or []
    if not all(name.isascii() and name.isdigit() for name in found):
        raise click.BadParameter(f"{text!r}: write whole numbers and commas, as in 0,1,2")
    return list(dict.fromkeys(map(int, found)))
