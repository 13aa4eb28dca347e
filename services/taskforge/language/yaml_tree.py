"""YAML text to plain values, with the place of every node.

Built from libyaml's events in one pass, so that limits hold while the text is read and not after. The scalars are those
of the YAML 1.2 core schema (`on`, `no` and dates are strings); tags, merge keys and several documents are refused;
aliases are followed within the budget of nodes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from taskforge.domain.workflow import JsonValue
from taskforge.language.problems import Problem, Span, format_path, problem_at

MAX_BYTES = 1024 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 64

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_A_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS = 300
_STRING_TAG = "tag:yaml.org,2002:str"

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    key: Any  #: the key's event, which holds its marks
    node: Node


@dataclass(slots=True)
class Node:
    """One node: its value, the event it starts with and, for containers, its children."""

    value: JsonValue
    event: Any
    entries: dict[str, Entry] | None = None
    items: list[Node] | None = None
    size: int = 1  #: nodes below and including it, with aliases written out


class Tree:
    """A document: its value, and where each part of it stands."""

    def __init__(self, source: str, root: Node) -> None:
        self.source = source
        self.root = root

    @property
    def value(self) -> JsonValue:
        """The whole document as plain values."""
        return self.root.value

    def node_at(self, path: Path) -> Node:
        """The node at a path, or the deepest one that exists on the way."""
        return self._walk(path)[0]

    def span(self, path: Path, *, key: bool = False) -> Span:
        """Where a path's value stands; with `key`, where its key does."""
        node, entry, reached = self._walk(path)
        if entry is not None and (key or not reached):
            return span_of(entry.key)
        return span_of(node.event)

    def _walk(self, path: Path) -> tuple[Node, Entry | None, bool]:
        node, entry = self.root, None
        for part in path:
            if node.entries is not None and part in node.entries:
                entry = node.entries[str(part)]
                node = entry.node
            elif node.items is not None and isinstance(part, int) and part < len(node.items):
                entry, node = None, node.items[part]
            else:
                return node, entry, False
        return node, entry, True


def span_of(event: Any) -> Span:
    """The place of an event, cut to its first line. libyaml counts from 0."""
    start, end = event.start_mark, event.end_mark
    end_column = end.column if end.line == start.line else 0
    return Span(line=start.line + 1, column=start.column + 1, end_column=max(end_column, start.column + 1) + 1)


class YamlError(Exception):
    """The text is not a document of ours; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_yaml(source: str, problems: list[Problem]) -> Tree:
    """Read one document. Faults that leave a usable tree are appended to `problems`, others raise YamlError."""
    if "\0" in source or not _is_encodable(source):
        raise YamlError(Problem(code="TF1001", message="the file holds characters that are not text"))
    size = len(source.encode())
    if size > MAX_BYTES:
        raise YamlError(Problem(code="TF1003", message=f"the file has {size} bytes; {MAX_BYTES} are allowed"))
    builder = _Builder(problems)
    try:
        root = builder.document(yaml.parse(source, yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        raise YamlError(_syntax_problem(error, source)) from None
    except yaml.YAMLError as error:
        message = str(error).splitlines()[0]
        raise YamlError(Problem(code="TF1001", message=f"the file is not valid YAML: {message}")) from None
    return Tree(source, root)


def _is_encodable(source: str) -> bool:
    try:
        source.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Builder:
    """Turns events into nodes. One per document."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.anchors: dict[str, Node] = {}
        self.nodes = 0
        self.path: list[str | int] = []

    def document(self, events: Iterator[Any]) -> Node:
        next(events)  # the stream's start
        event = next(events)
        if isinstance(event, yaml.StreamEndEvent):
            raise YamlError(Problem(code="TF1001", message="the file is empty"))
        root = self.node(next(events), events, 0)
        next(events)  # the document's end
        event = next(events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self.fatal(event, "TF1004", "one file holds one workflow; a second document starts here")
        return root

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self.alias(event)
        self.count(1, event)
        if event.tag is not None and event.tag not in ("!", _STRING_TAG):
            self.report(event, "TF1004", f"the tag {event.tag} is not supported", "remove it")
        if kind is yaml.ScalarEvent:
            node = Node(self.scalar(event), event)
        elif depth >= MAX_DEPTH:
            raise self.fatal(event, "TF1003", f"nested deeper than {MAX_DEPTH} levels")
        elif kind is yaml.SequenceStartEvent:
            node = self.sequence(event, events, depth)
        else:
            node = self.mapping(event, events, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            raise self.fatal(event, "TF1001", f"no anchor &{event.anchor} is written above")
        self.count(node.size, event)
        return node

    def sequence(self, start: Any, events: Iterator[Any], depth: int) -> Node:
        items: list[Node] = []
        size = 1
        while type(event := next(events)) is not yaml.SequenceEndEvent:
            self.path.append(len(items))
            item = self.node(event, events, depth + 1)
            self.path.pop()
            items.append(item)
            size += item.size
        return Node([item.value for item in items], start, items=items, size=size)

    def mapping(self, start: Any, events: Iterator[Any], depth: int) -> Node:
        entries: dict[str, Entry] = {}
        size = 1
        while type(event := next(events)) is not yaml.MappingEndEvent:
            name = self.key(event)
            self.path.append(name)
            if name in entries:
                first = span_of(entries[name].key).line
                self.report(event, "TF1002", f"the key '{name}' is written twice; it is on line {first} already")
            node = self.node(next(events), events, depth + 1)
            self.path.pop()
            entries.setdefault(name, Entry(event, node))
            size += node.size
        values = {name: entry.node.value for name, entry in entries.items()}
        return Node(values, start, entries=entries, size=size)

    def key(self, event: Any) -> str:
        if type(event) is not yaml.ScalarEvent:
            raise self.fatal(event, "TF1004", "a key must be plain text; quote text that starts with [ or { or *")
        if event.value == "<<" and not event.style:
            hint = "write the keys out; `<<` is not part of YAML 1.2"
            raise self.fatal(event, "TF1004", "merge keys are not supported", hint)
        return str(event.value)

    def scalar(self, event: Any) -> JsonValue:
        text: str = event.value
        if event.style or event.tag == _STRING_TAG:
            return text
        if text in _NULLS:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if text[0] in "+-.0123456789":
            return self.number(text, event)
        return text

    def number(self, text: str, event: Any) -> JsonValue:
        if len(text) <= _MAX_DIGITS:
            if _INTEGER.fullmatch(text):
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if _FLOAT.fullmatch(text):
                number = float(text)
                if math.isinf(number):
                    self.report(event, "TF1101", f"the number {text} is too large", "quote it to keep it as text")
                return number
        if _NOT_A_NUMBER.fullmatch(text):
            self.report(event, "TF1101", f"{text} cannot be written as JSON", "quote it to keep it as text")
        return text

    def count(self, nodes: int, event: Any) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise self.fatal(event, "TF1003", f"the file has more than {MAX_NODES} nodes with its aliases written out")

    def fatal(self, event: Any, code: str, message: str, hint: str = "") -> YamlError:
        self.report(event, code, message, hint)
        return YamlError(self.problems.pop())

    def report(self, event: Any, code: str, message: str, hint: str = "") -> None:
        place, path = span_of(event), format_path(self.path)
        self.problems.append(problem_at(place, code=code, message=message, hint=hint, path=path))


def _syntax_problem(error: yaml.MarkedYAMLError, source: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is not None and error.context_mark is not None and mark.index >= len(source.rstrip()):
        mark = error.context_mark  # whatever is not closed starts there
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    what = (error.problem or error.context or "unreadable").removeprefix("found ")
    lines = source.split("\n")
    near = "\n".join(lines[max(0, line - 2) : line])
    hint = ""
    if "\t" in near and ("character that cannot start" in what or "tab" in what):
        hint = "indent with spaces, not with tabs"
    elif "${{" in near:
        hint = "put the value in quotes: text with ${{ }} needs them inside { } and [ ], and before ': '"
    elif "mapping values are not allowed" in what:
        hint = "check the indentation, or quote a value that holds ': '"
    return Problem(
        code="TF1001",
        message=f"the file is not valid YAML: {what}",
        line=line,
        column=column,
        end_column=column + 1,
        hint=hint,
    )
