"""TASKS.yaml with tasks added or fields of a task changed; every other byte stays as a person has left it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping as ReadOnly
from pathlib import Path
from typing import Any

import yaml

from aiframe.core.model import Task
from aiframe.store.atomic import StorageError
from aiframe.store.source_text import BOM
from aiframe.store.task_reader import task_id, task_nodes
from aiframe.store.tasks_file import Splice, line_end, parse_tasks, reads_as, spliced
from aiframe.store.yaml_nodes import Mapping, Node, Sequence, Source, plain_value, read_yaml

_FILE = Path("TASKS.yaml")
_CURE = "add them by hand, each as `- id: ...` below `tasks:`"


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as people do."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def entries_of(text: str) -> dict[str, dict[str, Any]]:
    """Each task of the TASKS.yaml *text* as plain values, by its id, with keys that aiframe does not know."""
    source = read_yaml(_FILE, text.encode())
    return {task_id(node): dict(plain_value(node)) for node in task_nodes(source)}


def add_tasks(text: str, entries: ReadOnly[str, ReadOnly[str, Any]], tasks: tuple[Task, ...]) -> str:
    """*text* with *entries* added at the end of its list; read again, they have to be *tasks*.

    Raises UnreadableFile for a *text* that load_tasks would refuse, StorageError where it cannot be done so.
    """
    before = parse_tasks(_FILE, text.encode()).tasks
    bom = BOM if text.startswith(BOM) else ""
    source = read_yaml(_FILE, text.encode())
    result = bom + spliced(source.text, [_added(source, [dict(entry) for entry in entries.values()])])
    if not reads_as(result, (*before, *tasks)):
        raise StorageError(f"cannot add {', '.join(entries)} to TASKS.yaml without changing more", hint=_CURE)
    return result


def _added(source: Source, entries: list[dict[str, Any]]) -> Splice:
    text, root = source.text, source.root if isinstance(source.root, Mapping) else None
    listed = root.get("tasks") if root is not None else None
    if isinstance(listed, Sequence) and text[listed.start : listed.start + 1] == "[":
        told = ", ".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
        return Splice(listed.end - 1, listed.end - 1, f", {told}" if listed.items else told)
    if isinstance(listed, Sequence) and listed.items:
        first, last = listed.items[0], listed.items[-1]
        dash = text.rfind("-", 0, first.start)
        column = dash - (text.rfind("\n", 0, dash) + 1)
        at = _after_comments(text, _after_line(text, _last(text, last)), column)
        return Splice(at, at, _block(text, at, entries, " " * column))
    key = root.key("tasks") if root is not None else None
    if key is not None and root is not None and not root.flow:
        null = next((value for name, value in root.pairs if name is key), key)
        at = _after_line(text, null.end)
        return Splice(key.end, at, ":" + line_end(text, 0) + _block(text, 0, entries, "  "))
    if root is None:
        return Splice(len(text), len(text), _block(text, len(text), entries, "  ", "tasks:"))
    raise StorageError("TASKS.yaml has no list of tasks", hint=_CURE)


def _last(text: str, node: Node) -> int:
    """Where the text of *node* ends: comments below a block count to it for the parser, and not for people."""
    match node:
        case Sequence(items, start, _) if items and text[start] != "[":
            return max(_last(text, item) for item in items)
        case Mapping(pairs, _, _, False, _) if pairs:
            return max(max(key.end, _last(text, value)) for key, value in pairs)
        case _:
            return node.end


def _after_line(text: str, at: int) -> int:
    """The beginning of the line behind the one with *at*; a block scalar ends where that begins already."""
    if at and text[at - 1] == "\n":
        return at
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _after_comments(text: str, at: int, column: int) -> int:
    """Behind the comments that follow *at* and are indented by more than *column*: they are about what is above."""
    while at < len(text):
        line = text[at : text.find("\n", at) + 1 or len(text)]
        told = line.lstrip(" ")
        if not told.startswith("#") or len(line) - len(told) <= column:
            break
        at += len(line)
    return at


def _block(text: str, at: int, entries: list[dict[str, Any]], indent: str, head: str = "") -> str:
    end = line_end(text, 0)
    told = yaml.dump(entries, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=10_000)
    lines = [*([head] if head else []), *(f"{indent}{line}" if line else "" for line in told.rstrip("\n").split("\n"))]
    lead = end if at and text[at - 1] != "\n" else ""
    return lead + "".join(f"{line}{end}" for line in lines)


# Fields ---------------------------------------------------------------------------------------------------------------


def set_fields(text: str, name: str, fields: ReadOnly[str, Any], expected: Task) -> str:
    """*text* with the *fields* of the task *name* changed, so that it reads as *expected*; other tasks stay.

    Raises UnreadableFile for a *text* that load_tasks would refuse, StorageError where it cannot be done so.
    """
    before = parse_tasks(_FILE, text.encode()).tasks
    bom = BOM if text.startswith(BOM) else ""
    source = read_yaml(_FILE, text.encode())
    node = next((node for node in task_nodes(source) if task_id(node) == name), None)
    if node is None:
        raise StorageError(f"TASKS.yaml has no task {name}", hint="`aiframe status` lists the tasks")
    result = bom + spliced(source.text, _changes(source.text, node, fields))
    if not reads_as(result, tuple(expected if task.id == name else task for task in before)):
        raise StorageError(f"cannot change {', '.join(fields)} of {name} without changing more", hint="edit it by hand")
    return result


def _changes(text: str, node: Mapping, fields: ReadOnly[str, Any]) -> Iterator[Splice]:
    found = node.get("id")
    assert found is not None  # else the file could not have been read
    new = {key: value for key, value in fields.items() if node.key(key) is None}
    for key, value in node.pairs:
        if key.value in fields:
            told, end = json.dumps(fields[key.value], ensure_ascii=False), _last(text, value)
            tail = "\n" if text[end - 1 : end] == "\n" else ""
            lead = "" if text[key.end : value.start].strip(":") == " " else " "
            yield Splice(text.index(":", key.end) + 1 if lead else value.start, end, lead + told + tail)
    if not new:
        return
    named = node.key("id")
    quote = '"' if named is not None and named.style == '"' else ""  # a file of JSON stays one
    lines = [f"{quote}{key}{quote}: {json.dumps(value, ensure_ascii=False)}" for key, value in new.items()]
    if node.flow:
        yield Splice(found.end, found.end, "".join(f", {line}" for line in lines))
        return
    at = _after_line(text, found.end)
    lead = line_end(text, 0) if text[at - 1 : at] != "\n" else ""
    yield Splice(at, at, lead + "".join(f"{' ' * node.column}{line}{line_end(text, 0)}" for line in lines))


def as_entry(task: Task) -> dict[str, Any]:
    """The definition of *task* as TASKS.yaml spells it; what is not set is left out."""
    locks = {name: list(value) for name, value in (("reads", task.reads), ("writes", task.writes)) if value}
    told: dict[str, Any] = {
        "title": task.title, "description": task.description, "priority": task.priority.value, "size": task.size,
        "max_duration_min": task.max_duration_min, "blocked_by": list(task.blocked_by), "dod": list(task.dod),
        "verify": list(task.verify), "locks": locks, "network": task.network, "review": task.review,
        "agent": task.agent,
    }  # fmt: skip
    return {**told, "steps": told_steps(task)} if task.steps else told


def told_steps(task: Task) -> list[str | dict[str, str]]:
    """The steps of *task* as TASKS.yaml spells them."""
    return [{"desc": step.about, "cmd": step.line} if step.about else step.line for step in task.steps]
