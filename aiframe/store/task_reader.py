"""TASKS.yaml, read with every mistake named."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as ReadOnly
from functools import lru_cache
from pathlib import Path

from msgspec import Struct

from aiframe.core.model import CommandStep, Priority, Task, TaskStatus, is_manual
from aiframe.store.atomic import read_bounded
from aiframe.store.layout import MAX_NAME, is_safe_name
from aiframe.store.yaml_fields import Fields
from aiframe.store.yaml_nodes import Mapping, Scalar, Sequence, Source, read_yaml

STATUS_WORDS: ReadOnly[str, TaskStatus] = {
    **{str(status): status for status in TaskStatus},
    "pending": TaskStatus.TODO,
    "open": TaskStatus.TODO,
    "completed": TaskStatus.DONE,
}
PRIORITY_WORDS: ReadOnly[str, Priority] = {
    **{str(priority): priority for priority in Priority},
    "1": Priority.HIGH,
    "2": Priority.MEDIUM,
    "3": Priority.LOW,
}
SIZE_WORDS: ReadOnly[str, str] = {"s": "S", "m": "M", "l": "L"}


class TaskFile(Struct, frozen=True):
    """The tasks in file order, and the *text* they were read from, byte order mark and line ends included."""

    tasks: tuple[Task, ...] = ()
    text: str = ""
    project: str = ""
    version: str = ""


def load_tasks(path: Path) -> TaskFile:
    """The tasks in the file *path*; none where it is missing or empty. Raises UnreadableFile, StorageError."""
    try:
        data = read_bounded(path)
    except FileNotFoundError:
        return TaskFile()
    return parse_tasks(path, data)


def parse_tasks(path: Path, data: bytes) -> TaskFile:
    """The tasks in the TASKS.yaml whose bytes are *data*. Raises UnreadableFile with every mistake and its place."""
    return _parsed(path, data)


@lru_cache(maxsize=4)  # a step asks some ten times for the same bytes
def _parsed(path: Path, data: bytes) -> TaskFile:
    source = read_yaml(path, data)
    tasks: list[tuple[Task, Mapping]] = [(_task(source, node), node) for node in task_nodes(source)]
    _check_ids(source, tasks)
    head = _head(source)
    file = TaskFile(
        tasks=tuple(task for task, _ in tasks),
        text=data.decode("utf-8"),
        project=head.text("project") if head else "",
        version=head.text("version") if head else "",
    )
    source.check()
    return file


def _head(source: Source) -> Fields | None:
    return Fields(source, source.root) if isinstance(source.root, Mapping) else None


def task_nodes(source: Source) -> Iterator[Mapping]:
    """The mappings below ``tasks``; what is no mapping is noted in *source*."""
    cure = "begin the file with `tasks:` and a list of `- id: ...` below it"
    if source.root is None:
        return
    if not isinstance(source.root, Mapping):
        source.complain(source.root.start, "must hold the key `tasks`", cure)
        return
    listed = source.root.get("tasks")
    if listed is None:
        if source.root.pairs and source.root.key("tasks") is None:
            source.complain(source.root.start, "has no key `tasks`", cure)
        return
    if not isinstance(listed, Sequence):
        source.complain(listed.start, "tasks must be a list", cure)
        return
    for node in listed.items:
        if isinstance(node, Mapping):
            yield node
        else:
            source.complain(node.start, "a task must hold keys and values", "begin it with `- id: ...`")


def task_id(node: Mapping) -> str:
    """The id that the task in *node* gives itself; empty where it gives none."""
    found = node.get("id")
    return found.value if isinstance(found, Scalar) else ""


def _task(source: Source, node: Mapping) -> Task:
    name = task_id(node)
    fields = Fields(source, node, name or "a task")
    _check_id(fields, name)
    title = fields.text("title").strip()
    if not title:
        fields.complain(node.key("title") or node, "it has no title", "add `title: ...`")
    locks = fields.inner("locks")
    return Task(
        id=name,
        title=title,
        description=fields.text("description"),
        status=fields.word("status", STATUS_WORDS, TaskStatus.TODO),
        priority=fields.word("priority", PRIORITY_WORDS, Priority.MEDIUM),
        size=fields.word("size", SIZE_WORDS, ""),
        max_duration_min=fields.number("max_duration_min", None, above=True),
        blocked_by=fields.texts("blocked_by"),
        dod=fields.texts("dod"),
        verify=fields.texts("verify"),
        steps=_steps(fields),
        reads=locks.texts("reads") if locks else (),
        writes=_contained(locks, "writes") if locks else (),
        network=fields.flag("network"),
        review=fields.flag("review"),
        agent=fields.text("agent"),
        notes=fields.text("notes"),
    )


def _steps(fields: Fields) -> tuple[CommandStep, ...]:
    """The commands of a job: each a text, or `cmd` with a `desc`. What only an agent's work can have is noted."""
    listed = fields.node.get("steps")
    if listed is None:
        return ()
    cure = "write `steps: [make dist, make upload]`, or `- {desc: Pack, cmd: make dist}` for each"
    items = listed.items if isinstance(listed, Sequence) else ()
    if not items:
        fields.complain(listed, "steps must be a list of commands", cure)
    steps = []
    for item in items:
        entry = Fields(fields.source, item, f"{fields.name}: a step") if isinstance(item, Mapping) else None
        line = item.value if isinstance(item, Scalar) and not item.is_null else entry.text("cmd") if entry else ""
        if entry is not None:
            entry.only(("desc", "cmd"))
        if not line.strip() or "\0" in line:
            fields.complain(item, "a step has no command", cure)
        steps.append(CommandStep(line, entry.text("desc") if entry else ""))
    for key, is_set, hint in (
        ("agent", fields.text("agent"), "take `agent` out, or have the agent's command be a step"),
        ("review", fields.flag("review"), "take `review` out: a job is done when its commands have succeeded"),
        ("verify", any(map(is_manual, fields.texts("verify"))), "let `verify` of a job name commands only"),
    ):
        node = fields.node.get(key)
        if node is not None and is_set:
            fields.complain(node, f"{key} does not go with steps: no agent works at a job", hint)
    return tuple(steps)


def _contained(locks: Fields, key: str) -> tuple[str, ...]:
    """The patterns of files below *key*; each has to lie in the workspace."""
    node, patterns = locks.node.get(key), locks.texts(key)
    for pattern in patterns:
        outside = pattern.startswith(("/", "~")) or ".." in pattern.split("/") or "\0" in pattern
        if node is not None and outside:
            cure = "name files relative to the workspace, such as src/ or docs/*.md"
            locks.complain(node, f"{key}: {pattern[:80]!r} leads out of the workspace", cure)
    return patterns


def _check_id(fields: Fields, name: str) -> None:
    place = fields.node.get("id") or fields.node.key("id") or fields.node
    if not name:
        fields.complain(place, "it has no id", "add `id: T1`")
    elif not is_safe_name(name):
        cure = f"use A-Z a-z 0-9 . _ - , begin with a letter or digit, at most {MAX_NAME} characters"
        fields.complain(place, f"the id {name[:80]!r} is not usable as the name of a file or branch", cure)


def _check_ids(source: Source, tasks: list[tuple[Task, Mapping]]) -> None:
    first: dict[str, Mapping] = {}
    for task, node in tasks:
        if task.id and first.setdefault(task.id, node) is not node:
            place = node.get("id") or node
            source.complain(place.start, f"the id {task.id} stands here again", "give each task an id of its own")
    for task, node in tasks:
        _check_blockers(source, task, node, first)
    for cycle in find_cycles({task.id: task.blocked_by for task, _ in tasks}):
        place = first[cycle[0]].get("blocked_by") or first[cycle[0]]
        message = f"tasks wait for each other: {' -> '.join((*cycle, cycle[0]))}"
        source.complain(place.start, message, "remove one of these from blocked_by")


def _check_blockers(source: Source, task: Task, node: Mapping, known: ReadOnly[str, Mapping]) -> None:
    listed = node.get("blocked_by")
    items = listed.items if isinstance(listed, Sequence) else (listed,)
    for item in items:
        if isinstance(item, Scalar) and item.value and not item.is_null and item.value not in known:
            message = f"{task.id}: blocked_by names {item.value!r}, and there is no such task"
            source.complain(item.start, message, "correct the id, or remove it")


def find_cycles(edges: ReadOnly[str, tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The cycles that a walk through *edges* closes, each task visited once."""
    finished: set[str] = set()
    for start in edges:
        path = [start]
        branches = [iter(edges[start])]
        while path and start not in finished:
            following = next(branches[-1], None)
            if following is None:
                finished.add(path.pop())
                branches.pop()
            elif following in path:
                yield tuple(path[path.index(following) :])
            elif following in edges and following not in finished:
                path.append(following)
                branches.append(iter(edges[following]))
