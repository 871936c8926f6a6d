"""The commands and options of ``fluorojax`` as the program itself states them, so that the page cannot go stale."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

from sphinx.util.docutils import SphinxDirective


def command_pages() -> list[str]:
    """Markdown lines: a section for each command with its usage, its help, and tables of arguments and options."""
    import typer

    from fluorojax.cli import app

    lines: list[str] = []
    root = typer.main.get_command(app)
    for name, command in all_commands(root):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        words = ["fluorojax", name, *map(_usage, [*arguments, *options]), "[OPTIONS]" if options else ""]
        usage = " ".join(filter(None, words))
        lines += [f"## {name}", "", "```text", usage, "```", "", command.help or "", ""]
        if arguments:
            lines += ["| argument | meaning |", "|---|---|"]
            lines += [f"| `{_cell(p.metavar or p.name.upper())}` | {_cell(p.help)} |" for p in arguments] + [""]
        if options:
            lines += ["| option | default | meaning |", "|---|---|---|"]
            lines += [f"| {_spelling(p)} | {_default(p)} | {_cell(p.help)} |" for p in options] + [""]
    lines += ["## Options before a command", "", "| option | meaning |", "|---|---|"]
    return lines + [f"| {_spelling(p)} | {_cell(p.help)} |" for p in root.params] + [""]


def all_commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of a group by its name, those of groups within it included: ``detectors``, ``detectors show``."""
    for name, command in group.commands.items():
        yield prefix + name, command
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{prefix}{name} ")


def _usage(parameter: Any) -> str:
    """How an argument, or an option that must be given, stands in the usage line."""
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper()
    return f"{min(parameter.opts, key=len)} {parameter.metavar}" if parameter.required else ""


def _spelling(option: Any) -> str:
    spelled = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    return f"{spelled} `{_cell(option.metavar)}`" if option.metavar else spelled


def _default(option: Any) -> str:
    default = option.default
    if option.required:
        return "required"
    if default is None or (option.is_flag and not option.secondary_opts):
        return ""
    if isinstance(default, bool):
        return f"`{(option.opts if default else option.secondary_opts)[0]}`"
    return f"`{default.value if isinstance(default, Enum) else default}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


class Commands(SphinxDirective):
    """``{commands}``: all of :func:`command_pages` in place."""

    def run(self):
        """The parsed sections."""
        return self.parse_text_to_nodes("\n".join(command_pages()), allow_section_headings=True)


def setup(app):
    """Register the directive."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
