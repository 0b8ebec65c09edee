"""TASKS.yaml: read with every mistake named, written by changing status words and no other byte."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping as ReadOnly
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import TaskStatus
from aiframe.store.atomic import StorageError
from aiframe.store.source_text import BOM
from aiframe.store.task_reader import TaskFile, load_tasks, parse_tasks, task_id, task_nodes
from aiframe.store.yaml_nodes import Mapping, Scalar, read_yaml

__all__ = ["Splice", "TaskFile", "line_end", "load_tasks", "parse_tasks", "reads_as", "set_statuses", "spliced"]

_FILE = Path("TASKS.yaml")
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Splice(Struct, frozen=True):
    """What stands from *start* to *end*, in characters after a byte order mark, is to be *text*."""

    start: int
    end: int
    text: str


def set_statuses(text: str, statuses: ReadOnly[str, TaskStatus]) -> str:
    """*text* with the tasks that *statuses* names by id set to those statuses.

    Comments, order, quoting, line ends and blanks stay. A task without a status gets a line of its own after its id.
    Raises UnreadableFile for a *text* that load_tasks would refuse, StorageError where it cannot be changed so.
    """
    before = parse_tasks(_FILE, text.encode())
    current = {task.id: task.status for task in before.tasks}
    missing = sorted(set(statuses) - set(current))
    if missing:
        raise StorageError(f"TASKS.yaml has no task {', '.join(missing)}", hint="`aiframe status` lists the tasks")
    bom = BOM if text.startswith(BOM) else ""
    source = read_yaml(_FILE, text.encode())
    wanted = {name: status for name, status in statuses.items() if status is not current[name]}
    nodes = {task_id(node): node for node in task_nodes(source)}
    splices = [_splice(source.text, nodes[name], status) for name, status in wanted.items()]
    result = bom + spliced(source.text, splices)
    expected = tuple(replace(task, status=wanted.get(task.id, task.status)) for task in before.tasks)
    if not reads_as(result, expected):
        names = ", ".join(wanted)
        cure = "write each task with a `status:` line of its own, as the template does"
        raise StorageError(f"cannot set the status of {names} in TASKS.yaml without changing more", hint=cure)
    return result


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """*text* with all *splices*, none of which overlap."""
    for splice in sorted(splices, key=lambda one: one.start, reverse=True):
        text = text[: splice.start] + splice.text + text[splice.end :]
    return text


def reads_as(text: str, expected: tuple[object, ...]) -> bool:
    """Whether *text* is a TASKS.yaml with just the tasks *expected*."""
    try:
        return parse_tasks(_FILE, text.encode()).tasks == expected
    except UnreadableFile:
        return False


def _splice(text: str, node: Mapping, status: TaskStatus) -> Splice:
    value = next((value for key, value in node.pairs if key.value == "status"), None)
    if isinstance(value, Scalar):
        return _replaced(text, value, status)
    return _inserted(text, node, status)


def _replaced(text: str, value: Scalar, status: TaskStatus) -> Splice:
    old = text[value.start : value.end]
    quote = value.style if value.style in ("'", '"') else ""
    new = f"{quote}{status}{quote}"
    if not old and text[value.start - 1 : value.start] == ":":
        new = f" {new}"
    if not old and text[value.end : value.end + 1] not in ("", "\n", "\r", " ", ",", "}"):
        new = f"{new} "
    if value.style in ("|", ">"):
        end = re.search(r"\s*\Z", old)
        new += end[0] if end else ""
    return Splice(value.start, value.end, new)


def _inserted(text: str, node: Mapping, status: TaskStatus) -> Splice:
    key = node.key("id")
    found = node.get("id")
    if key is None or found is None:
        raise StorageError("a task has no id", hint="add `id: T1`")
    quote = key.style if key.style in ("'", '"') else ""
    line = f"{quote}status{quote}: {quote}{status}{quote}"
    if node.flow:
        return Splice(found.end, found.end, f", {line}")
    indented = " " * node.column + line
    if text[found.end - 1 : found.end] in ("\n", "\r"):  # a block scalar ends with its line
        return Splice(found.end, found.end, indented + line_end(text, found.start))
    end = _LINE_END.search(text, found.end)
    if end is None:
        return Splice(len(text), len(text), line_end(text, 0) + indented)
    return Splice(end.end(), end.end(), indented + end[0])


def line_end(text: str, offset: int) -> str:
    """How the line at *offset* ends, or else the first one that does."""
    found = _LINE_END.search(text, offset) or _LINE_END.search(text)
    return found[0] if found else "\n"
