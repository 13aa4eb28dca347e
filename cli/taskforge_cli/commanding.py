"""Commands and groups: lazy, with the global options everywhere, and without pydantic on the way.

Typer turns every value into its type with pydantic, whose import takes longer than everything else that a command
needs. Our parameters are texts, whole numbers and flags, so they are turned here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer._coercion import RuntimeParam
from typer.core import TyperCommand, TyperGroup

from taskforge_cli.options import GlobalOptions, merged, parameters, take

if TYPE_CHECKING:
    from typer._click import Command as AnyCommand
    from typer._click import Context, HelpFormatter
    from typer.core import _TyperParameter

#: Shorter names that work in every group.
ALIASES: Mapping[str, str] = {"ls": "list", "rm": "delete"}
_PLAIN_TYPES = (str, int, bool, list[str])
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class PlainParam(RuntimeParam):
    """Turns a text, a list of texts, a whole number or a flag into its type."""

    def _coerce_value(self, value: Any, param: _TyperParameter, ctx: Context) -> Any:
        if self.annotation is int and not isinstance(value, int):
            if not str(value).strip().lstrip("-").isdecimal():
                raise typer.BadParameter(f"{value!r} is not a whole number", ctx=ctx, param=param)
            return int(value)
        return list(value) if isinstance(value, tuple) else value


class Command(TyperCommand):
    """A command that takes the global options, too."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        settings["context_settings"] = {**SETTINGS, **(settings.get("context_settings") or {})}
        super().__init__(name, **settings)
        self.own_params = list(self.params)
        self.params = [*self.params, *parameters()]

    def get_params(self, ctx: Context) -> list[Any]:
        """All parameters, with the option for help."""
        return _plain(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """The arguments as people write them: WORKFLOW, [STEP], PATH..."""
        return ["[OPTIONS]", *(_usage_of(param) for param in self.own_params if param.param_type_name == "argument")]

    def invoke(self, ctx: Context) -> Any:
        """Run it, with the global options of all levels in `ctx.obj`."""
        _collect(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """List its own options."""
        _format_own(self, ctx, formatter)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Show examples, and say that there are other options."""
        super().format_epilog(ctx, formatter)
        _format_global(formatter)


class Group(TyperGroup):
    """A noun with its verbs."""

    def __init__(self, **settings: Any) -> None:
        settings["context_settings"] = {**SETTINGS, **(settings.get("context_settings") or {})}
        super().__init__(**settings)
        self.own_params = list(self.params)
        self.params = [*self.params, *parameters()]

    def get_params(self, ctx: Context) -> list[Any]:
        """All parameters, with the option for help."""
        return _plain(super().get_params(ctx))

    def get_command(self, ctx: Context, cmd_name: str) -> AnyCommand | None:
        """Find a verb, also by its alias."""
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, ALIASES.get(cmd_name, ""))

    def invoke(self, ctx: Context) -> Any:
        """Run the verb, with the global options of this level in `ctx.obj`."""
        _collect(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """List the verbs."""
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Say that there are options."""
        super().format_epilog(ctx, formatter)
        _format_global(formatter)


class LazyGroup(Group):
    """The root: knows its commands by name and summary, and imports a module when its command is wanted."""

    def __init__(self, *, sections: Mapping[str, Sequence[Entry]], **settings: Any) -> None:
        super().__init__(**settings)
        self.sections = sections
        self._entries = {entry.name: entry for entries in sections.values() for entry in entries}
        self._aliases = {alias: entry.name for entry in self._entries.values() for alias in entry.aliases}

    def list_commands(self, ctx: Context) -> list[str]:
        """All names, in the order of the help."""
        return list(self._entries)

    def get_command(self, ctx: Context, cmd_name: str) -> AnyCommand | None:
        """Import the command's module."""
        entry = self._entries.get(self._aliases.get(cmd_name, cmd_name))
        return load(entry) if entry else None

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, AnyCommand | None, list[str]]:
        """Find the command, or say what was probably meant."""
        name = args[0]
        known = [*self._entries, *self._aliases]
        if not name.startswith("-") and name not in known and not ctx.resilient_parsing:
            matches = get_close_matches(name, known, n=2, cutoff=0.5)
            suggestion = f" Did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""
            ctx.fail(f"No such command {name!r}.{suggestion}")
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """List the commands by section without importing them, then the options."""
        width = max(len(entry.title) for entry in self._entries.values())
        for section, entries in self.sections.items():
            with formatter.section(section):
                formatter.write_dl([(entry.title.ljust(width), entry.summary) for entry in entries])
        with formatter.section("Options, before or after the command"):
            records = [record for param in self.get_params(ctx) if (record := param.get_help_record(ctx))]
            formatter.write_dl(records)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Nothing: its options are the ones that work everywhere."""


class Entry:
    """A command of the root: where it is, and what its help says."""

    __slots__ = ("aliases", "module", "name", "summary")

    def __init__(self, name: str, summary: str, *, module: str = "", aliases: Sequence[str] = ()) -> None:
        self.name = name
        self.summary = summary
        self.module = f"taskforge_cli.commands.{module or name.replace('-', '_')}"
        self.aliases = tuple(aliases)

    @property
    def title(self) -> str:
        """The name with its aliases."""
        return ", ".join((self.name, *self.aliases))


def load(entry: Entry) -> AnyCommand:
    """Import a command. Its module has `app`, a noun; or several commands, of which one has the entry's name."""
    app: typer.Typer = import_module(entry.module).app
    found = typer.main.get_group(app)
    single = found.commands.get(entry.name)
    return single if isinstance(single, TyperCommand) else found


def noun(summary: str) -> typer.Typer:
    """A group of verbs."""
    return typer.Typer(cls=Group, help=summary, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


def examples(*lines: str) -> str:
    """An epilog that shows commands as they are written."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _collect(ctx: Context) -> None:
    options = ctx.parent.obj if ctx.parent and isinstance(ctx.parent.obj, GlobalOptions) else GlobalOptions()
    ctx.obj = merged(options, take(ctx.params))


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        descriptor = param.type_descriptor
        if descriptor.annotation in _PLAIN_TYPES and param._runtime_param is None:
            param._runtime_param = PlainParam(descriptor.parameter_info, descriptor.annotation)
    return params


def _format_own(command: Any, ctx: Context, formatter: HelpFormatter) -> None:
    arguments: list[tuple[str, str]] = []
    options: list[tuple[str, str]] = []
    for param in [*command.own_params, command.get_help_option(ctx)]:
        record = param.get_help_record(ctx) if param else None
        if record:
            record = (record[0].replace(" <str>", "").replace(" <list[str]>", ""), record[1])
            (arguments if param.param_type_name == "argument" else options).append(record)
    for title, records in (("Arguments", arguments), ("Options", options)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)


def _format_global(formatter: HelpFormatter) -> None:
    formatter.write_paragraph()
    formatter.write_text("Also: -o, --json, --jq, --columns, -C, --server, --token-file … (taskforge --help)")


def _usage_of(argument: Any) -> str:
    name = (argument.metavar or argument.name).strip("[].").upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"
