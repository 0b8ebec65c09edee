"""The tasks of a "Task Orchestrator": a folder with a manifest and a specification for each, as a TASKS.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from aiframe.app.making.old_fields import plain_name
from aiframe.core.errors import UnreadableFile
from aiframe.core.problem import Problem
from aiframe.store.atomic import read_bounded
from aiframe.store.json_source import JsonObject, read_object
from aiframe.store.layout import MAX_NAME, contain, is_safe_name
from aiframe.store.source_text import decode_text
from aiframe.store.task_reader import PRIORITY_WORDS, SIZE_WORDS, find_cycles

TASKS_FOLDER = ".tasks"
MANIFEST = "manifest.json"
SPEC_LIMIT = 256 * 1024
"""The most bytes of one manifest or specification."""
MOST_TASKS = 2000
DEEPEST = 4
_DONE = frozenset({"done", "complete", "completed", "merged", "success", "succeeded"})
_IDS = ("id", "task_id")
_TITLES = ("name", "title")
_BLOCKERS = ("dependencies", "depends_on", "blocked_by", "deps")


class OldPlan(Struct, frozen=True):
    """*text* is the TASKS.yaml for *tasks* tasks, empty for none; *notes* say what a person should know of them."""

    text: str = ""
    tasks: int = 0
    notes: tuple[str, ...] = ()


class _Manifest:
    """One manifest, read key by key; what nobody has read is kept in the task's notes."""

    def __init__(self, path: Path, found: JsonObject) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._found = found
        self._names = {plain_name(key): key for key in found.values}
        self._read: set[str] = set()

    def value(self, *names: str) -> Any:
        """The value of the first of *names* that is there."""
        name = next((plain for plain in map(plain_name, names) if plain in self._names), "")
        self._read.add(name)
        return self._found.values[self._names[name]] if name else None

    def text(self, *names: str) -> str:
        value = self.value(*names)
        if value is None or _is_text(value):
            return "" if value is None else str(value).strip()
        self.complain(f"{names[0]} must be a text", "write it in quotes", *names)
        return ""

    def texts(self, value: Any, what: str, *names: str) -> tuple[str, ...]:
        """*value* as texts: one, a list, or none; *names* say where it stands."""
        items = value if isinstance(value, list) else [] if value is None else [value]
        if all(map(_is_text, items)):
            return tuple(str(item).strip() for item in items if str(item).strip())
        self.complain(f"{what} must be a list of texts", 'write `["...", "..."]`', *names)
        return ()

    def keep(self, *names: str) -> None:
        """Have the values of *names* count as not read."""
        self._read -= set(map(plain_name, names))

    def rest(self) -> dict[str, Any]:
        """What nobody has read, and says anything."""
        left = {key: self._found.values[key] for plain, key in self._names.items() if plain not in self._read}
        return {key: value for key, value in left.items() if value not in (None, "", [], {})}

    def complain(self, message: str, cure: str, *names: str) -> None:
        """Note what is wrong with the value of the first of *names* that is there."""
        key = next((self._names[name] for name in map(plain_name, names) if name in self._names), "")
        line, column = self._found.place(key) if key else (1, 1)
        self.problems.append(Problem(self.path, message, line, column, cure))


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def read_old_tasks(repo: Path, folder: str, renamed: Mapping[str, str]) -> OldPlan:
    """The tasks in *folder* of *repo*, in the order of their folders; no task where there is no such folder.

    *renamed* are resources that have another name here. Raises UnreadableFile with every mistake and its place.
    """
    paths = sorted(_manifests(contain(repo, folder)))
    if len(paths) > MOST_TASKS:
        raise UnreadableFile([Problem(repo / folder, f"holds {len(paths)} tasks; at most {MOST_TASKS} are read")])
    manifests, problems = list[_Manifest](), list[Problem]()
    for path in paths:
        try:
            place = contain(repo, path.relative_to(repo.resolve()))
            manifests.append(_Manifest(path, read_object(path, read_bounded(place, SPEC_LIMIT))))
        except UnreadableFile as error:
            problems += error.problems
    tasks, said = list[dict[str, Any]](), list[str]()
    for manifest in manifests:
        tasks.append(_task(repo, manifest, renamed))
        said += [tasks[-1]["id"]] if manifest.rest() else []
    _check_ids(manifests, tasks)
    problems += [problem for manifest in manifests for problem in manifest.problems]
    if problems:
        raise UnreadableFile(problems)
    if not tasks:
        return OldPlan()
    plan = yaml.safe_dump({"version": 1, "tasks": tasks}, allow_unicode=True, sort_keys=False, width=10_000)
    return OldPlan(plan, len(tasks), tuple(_notes(tasks, said)))


def _manifests(folder: Path) -> list[Path]:
    """The manifests below *folder*, links not followed."""
    found = []
    for at, folders, files in os.walk(folder):
        if len(Path(at).relative_to(folder).parts) >= DEEPEST:
            folders.clear()
        found += [Path(at, MANIFEST)] if MANIFEST in files else []
    return found


def _notes(tasks: Sequence[Mapping[str, Any]], said: Sequence[str]) -> list[str]:
    over = [task["id"] for task in tasks if task["status"] == "done"]
    unproven = [task["id"] for task in tasks if not task.get("verify")]
    notes = [f"tasks taken over from manifests: {len(tasks)}; aiframe does not look at those again"]
    notes += [f"done in the old tool, and so here: {', '.join(over)}; all others are to do"] if over else []
    notes += [f"without a command that proves them, so a person has to look: {', '.join(unproven)}"] if unproven else []
    if said:
        notes.append(f"what the manifests say beyond that stands in the notes of {', '.join(said)}")
    return notes


def _task(repo: Path, manifest: _Manifest, renamed: Mapping[str, str]) -> dict[str, Any]:
    """A task as TASKS.yaml has it."""
    own = manifest.path.parent
    name = manifest.text(*_IDS) or own.name
    if not is_safe_name(name):
        cure = f"use A-Z a-z 0-9 . _ - , begin with a letter or digit, at most {MAX_NAME} characters"
        manifest.complain(f"the id {name[:80]!r} is not usable as the name of a file or branch", cure, *_IDS)
    words = manifest.text("status").lower()
    described = [
        manifest.text("description"),
        _spec(repo, manifest),
    ]
    locks = _locks(manifest, renamed)
    task: dict[str, Any] = {
        "id": name,
        "title": " ".join(manifest.text(*_TITLES).split()) or name,
        "description": "\n\n".join(filter(None, described)),
        "status": "done" if words in _DONE else "todo",
        "priority": _word(manifest, "priority", PRIORITY_WORDS),
        "size": _word(manifest, "size", SIZE_WORDS),
        "blocked_by": list(manifest.texts(manifest.value(*_BLOCKERS), _BLOCKERS[0], *_BLOCKERS)),
        "dod": list(manifest.texts(manifest.value("dod", "acceptance_criteria", "acceptance"), "dod", "dod")),
        "verify": _verify(manifest),
        "locks": locks,
    }
    rest = manifest.rest()
    if rest:
        task["notes"] = "From its manifest:\n" + json.dumps(rest, indent=1, ensure_ascii=False)
    return {key: value for key, value in task.items() if value}


def _word(manifest: _Manifest, name: str, known: Mapping[str, Any]) -> str:
    """The word of *known* that the manifest has; another one stays for the notes."""
    word = known.get(manifest.text(name).lower())
    if word is None:
        manifest.keep(name)
    return str(word or "")


def _spec(repo: Path, manifest: _Manifest) -> str:
    """The text of the specification beside the manifest, or where that says; empty where there is none.

    What it says is taken from its own folder on, else from the top one; of a file that is nowhere the notes tell.
    """
    top, own, names = repo.resolve(), manifest.path.parent, ("spec_path", "spec_file")
    named = manifest.text(*names)
    for place in (own / named, top / named) if named else (own / "spec.md",):
        path = contain(repo, os.path.relpath(place, top))
        try:
            return decode_text(path, read_bounded(path, SPEC_LIMIT)).replace("\r\n", "\n").strip()
        except FileNotFoundError:
            continue
        except UnreadableFile as error:
            manifest.problems += error.problems
            return ""
    manifest.keep(*names)
    return ""


def _verify(manifest: _Manifest) -> list[str]:
    """The commands that prove the task: texts, a list of them, or a mapping whose values are."""
    names = ("verify", "verification")
    value = manifest.value(*names)
    groups = list(value.values()) if isinstance(value, dict) else [value]
    commands = [group for group in groups if isinstance(group, str | list)]
    if len(commands) < len(groups) and value is not None:
        manifest.keep(*names)
    return list(dict.fromkeys(text for group in commands for text in manifest.texts(group, "verify", *names)))


def _locks(manifest: _Manifest, renamed: Mapping[str, str]) -> dict[str, list[str]]:
    value = manifest.value("locks")
    if value is not None and not isinstance(value, dict):
        manifest.complain("locks must hold reads and writes", 'write `{"reads": [], "writes": ["api"]}`', "locks")
        return {}
    found = {}
    for key in ("reads", "writes"):
        named = manifest.texts((value or {}).get(key), f"locks.{key}", "locks")
        found[key] = [renamed.get(lock, lock) for lock in named]
        if any(lock.startswith(("/", "~")) or ".." in lock.split("/") for lock in named):
            cure = "name resources, or files below the top folder"
            manifest.complain(f"locks.{key} leads out of the repository", cure, "locks")
    return {key: locks for key, locks in found.items() if locks}


def _check_ids(manifests: Sequence[_Manifest], tasks: Sequence[Mapping[str, Any]]) -> None:
    """Complain of ids that stand twice, dependencies on nothing, and tasks that wait for each other."""
    first: dict[str, _Manifest] = {}
    for manifest, task in zip(manifests, tasks, strict=True):
        other = first.setdefault(task["id"], manifest)
        if other is not manifest:
            said = f"the id {task['id']} stands in {other.path} too"
            manifest.complain(said, "give each task an id of its own", *_IDS)
    for manifest, task in zip(manifests, tasks, strict=True):
        for name in task.get("blocked_by", ()):
            if name not in first:
                said = f"{task['id']} depends on {name!r}, and there is no such task"
                manifest.complain(said, "correct the id, or remove it", *_BLOCKERS)
    for cycle in find_cycles({task["id"]: tuple(task.get("blocked_by", ())) for task in tasks}):
        said = f"tasks wait for each other: {' -> '.join((*cycle, cycle[0]))}"
        first[cycle[0]].complain(said, "remove one of these dependencies", *_BLOCKERS)
