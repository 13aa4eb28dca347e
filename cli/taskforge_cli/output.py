"""Where a command's result goes, and in which form. Standard output holds data only; everything else is on stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from taskforge_cli.errors import CliError
from taskforge_cli.paint import Paint
from taskforge_cli.table import Column, aligned, filled, one_line, tabbed

if TYPE_CHECKING:
    from google.protobuf.message import Message


class Format(StrEnum):
    """The forms of a result."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How a list of messages is shown."""

    field: str  #: the name of the list in the API's answer
    columns: Sequence[Column]
    empty: str  #: said on stderr when there is nothing, with the next thing to do


class Output:
    """Writes results in the form that was asked for."""

    def __init__(self, form: Format | None, *, jq: str = "", columns: Sequence[str] = ()) -> None:
        self._given = form
        self.form = form or Format.TABLE
        self._jq = jq
        self._columns = [name.upper() for name in columns]
        if jq and self.form not in (Format.JSON, Format.JSONL):
            self.form = Format.JSON

    @property
    def is_human(self) -> bool:
        """Whether people read it, rather than programs."""
        return self.form in (Format.TABLE, Format.WIDE)

    @property
    def is_wide(self) -> bool:
        """Whether everything is wanted."""
        return self.form is Format.WIDE

    @property
    def paint(self) -> Paint:
        """Colours of standard output."""
        return Paint.for_stream(sys.stdout)

    @property
    def is_terminal(self) -> bool:
        """Whether standard output is a terminal."""
        return sys.stdout.isatty()

    def messages(self, items: Iterable[Message], listing: Listing) -> None:
        """Write a list of messages of the API."""
        from taskforge_cli.messages import to_plain

        found = list(items)
        if self.form is Format.NAME:
            self.text("".join(f"{getattr(item, 'name', '')}\n" for item in found))
        elif self.is_human:
            self.rows(found, listing)
        else:
            self.listed([to_plain(item) for item in found], listing.field)

    def rows(self, items: Sequence[Any], listing: Listing) -> None:
        """Write a table: aligned on a terminal or when asked for, else tab-separated."""
        if not items:
            self.note(listing.empty)
            return
        if not self.is_terminal and self._given is None:
            self.text(tabbed(self._chosen(listing, wide=True), items))
        else:
            width = shutil.get_terminal_size().columns if self.is_terminal and not self.is_wide else None
            columns = self._chosen(listing, wide=self.is_wide)
            shown = columns if self._columns else filled(columns, items)
            self.text(aligned(shown, items, self.paint, width))

    def listed(self, items: list[Any], field: str) -> None:
        """Write plain data that is a list: under its name as the API has it, or one item a line."""
        if self.form is Format.JSONL and not self._jq:
            self.text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items))
        else:
            self.data({field: items})

    def message(self, item: Message, human: Callable[[], None]) -> None:
        """Write one message of the API; `human` shows it to people."""
        from taskforge_cli.messages import to_plain

        if self.is_human:
            human()
        elif self.form is Format.NAME:
            self.text(f"{getattr(item, 'name', '')}\n")
        else:
            self.data(to_plain(item))

    def data(self, value: Any) -> None:
        """Write plain data as JSON or YAML, through `--jq` if given. For people it is JSON, too."""
        if self._jq:
            self.text("".join(_jq_line(found) for found in run_jq(self._jq, value)))
        elif self.form is Format.YAML:
            import yaml

            self.text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
        elif self.form is Format.JSONL or (self.form is Format.JSON and not self.is_terminal):
            self.text(json.dumps(value, ensure_ascii=False) + "\n")
        else:
            self.text(json.dumps(value, ensure_ascii=False, indent=2) + "\n")

    def text(self, text: str) -> None:
        """Write text as it is."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell people something on standard error."""
        if text:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def next_step(self, command: str) -> None:
        """The one line that a success ends with; TASKFORGE_HINTS=0 turns it off."""
        if os.environ.get("TASKFORGE_HINTS", "1") not in ("0", "off", "false"):
            paint = Paint.for_stream(sys.stderr)
            self.note(f"{paint('next:', 'faint')} {command}")

    def warn(self, text: str) -> None:
        """Tell people about something that is no fault."""
        paint = Paint.for_stream(sys.stderr)
        self.note(f"{paint('warning', 'warn')}{paint(':', 'strong')} {one_line(text)}")

    def _chosen(self, listing: Listing, *, wide: bool) -> Sequence[Column]:
        if not self._columns:
            return [column for column in listing.columns if wide or not column.wide]
        known = {column.name: column for column in listing.columns}
        unknown = [name for name in self._columns if name not in known]
        if unknown:
            names = ", ".join(known).lower()
            raise CliError(
                "COLUMN_UNKNOWN", f"no such column: {', '.join(unknown).lower()}", hints=[f"there are: {names}"]
            )
        return [known[name] for name in self._columns]


def run_jq(program: str, value: Any) -> list[Any]:
    """Run a jq program of the user's own.

    Raises:
        CliError: JQ_INVALID.
    """
    import jq

    try:
        return list(jq.compile(program).input_value(value))
    except ValueError as error:
        raise CliError("JQ_INVALID", f"--jq: {str(error).strip()}") from error


def _jq_line(value: Any) -> str:
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) + "\n"
