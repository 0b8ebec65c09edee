"""The files of a new project: built whole in a hidden folder beside its place, then moved there in one step."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct, field

from aiframe.app.project.resources import files_below
from aiframe.core.errors import UsageError
from aiframe.core.model import Moment, Project, Settings, State
from aiframe.flocks import try_lock
from aiframe.store.atomic import make_folder, read_bounded, storage_errors, sync_directory, write_durable
from aiframe.store.layout import IGNORED, MAX_NAME, Layout
from aiframe.store.project_store import ProjectStore
from aiframe.store.source_text import decode_text
from aiframe.workspaces.create import ensure_repository

NURSERY_PREFIX = ".new-"
_UNHELD_S = 3600.0
"""For how long a nursery that nobody can be seen to hold is left alone."""
_NURSERY = re.compile(r"\.new-[0-9a-f]{12}")
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


class Content(Struct, frozen=True):
    """What the files of a new project are made from.

    *template* is the folder of templates, *values* what they are rendered with, *settings* further keys of PROJECT.yaml
    with the *comments* to stand above them. *plan* is the text of TASKS.yaml, empty for that of the template.
    """

    template: Path
    values: Mapping[str, str]
    idea: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    comments: Mapping[str, Sequence[str]] = field(default_factory=dict)
    plan: str = ""
    interactive: bool = True


def free_places(projects: Path, wanted: str) -> Iterator[Path]:
    """Places that nobody has taken at the moment: the name itself, then with -2, -3, ..."""
    for count in range(1, 10_000):
        suffix = f"-{count}" if count > 1 else ""
        path = projects / (wanted[: MAX_NAME - len(suffix)] + suffix)
        if not os.path.lexists(path):
            yield path


@contextmanager
def nursery_in(projects: Path) -> Iterator[Path]:
    """A hidden folder to build a project in, for the block; gone at its end unless it was moved. Raises StorageError.

    Those that killed processes have left are removed.
    """
    for left in left_nurseries(projects):
        remove_nursery(left)
    nursery = projects / f"{NURSERY_PREFIX}{os.urandom(6).hex()}"
    with storage_errors(nursery, "make the folder"):
        descriptor = os.open(_held(nursery), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try_lock(descriptor)  # first: one that nobody holds is nobody's
        with storage_errors(nursery, "make the folder"):
            nursery.mkdir()
        yield nursery
    finally:
        remove_nursery(nursery)
        os.close(descriptor)


def left_nurseries(projects: Path) -> list[Path]:
    """The nurseries in the folder *projects* that no living process builds in."""
    found = (path for path in sorted(projects.glob(f"{NURSERY_PREFIX}*")) if _NURSERY.fullmatch(path.name))
    return [path for path in found if _is_left(path)]


def remove_nursery(nursery: Path) -> bool:
    """Remove it with all that is in it; whether it is gone."""
    shutil.rmtree(nursery, ignore_errors=True)
    if not nursery.exists():
        _held(nursery).unlink(missing_ok=True)
    return not nursery.exists()


def _held(nursery: Path) -> Path:
    """The file that who builds there holds (flock). Not within: all that is there becomes the project's."""
    return nursery.with_name(nursery.name.replace(NURSERY_PREFIX, ".held-", 1))


def _is_left(nursery: Path) -> bool:
    try:
        descriptor = os.open(_held(nursery), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it may be an older aiframe's, which held none
        with suppress(OSError):
            return time.time() - nursery.lstat().st_mtime > _UNHELD_S
        return False
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)


def move(nursery: Path, path: Path) -> bool:
    """Give the finished project its name; False where somebody else was faster."""
    with storage_errors(path, "make"):
        try:
            os.rename(nursery, path)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
    sync_directory(path.parent)
    return True


def build(root: Path, name: str, content: Content, clock: Moment) -> None:
    """All files of the project *name* in *root*, its repository with a first commit, and its state."""
    for relative in files_below(content.template):
        text = _filled(content.template / relative, relative.as_posix(), name, content)
        target = root / relative
        if target.suffix == ".j2":
            target = target.with_suffix("")
        if target.name == "PROJECT.yaml" and isinstance(text, str):
            text = text.rstrip("\n") + "\n" + "".join(_lines(content))
        make_folder(target.parent)
        executable = (content.template / relative).stat().st_mode & stat.S_IXUSR
        write_durable(target, text, 0o755 if executable else 0o644)
    if content.idea:
        write_durable(root / "idea.md", content.idea + "\n")
    ensure_repository(root, IGNORED)
    settings = Settings(interactive_mode=content.interactive, plan_locked=bool(content.plan))
    state = State.DEV_READY if content.plan else State.INTAKE_READY
    ProjectStore(Layout(root)).save(Project(state, settings=settings), clock, expect_generation=0)


def _lines(content: Content) -> Iterator[str]:
    """The further settings as PROJECT.yaml has them."""
    for key, value in content.settings.items():
        yield "\n"
        yield from (f"# {comment}\n" for comment in content.comments.get(key, ()))
        yield yaml.safe_dump({key: value}, allow_unicode=True, sort_keys=False, width=10_000)


def _filled(source: Path, relative: str, name: str, content: Content) -> str | bytes:
    """The content of a template file for this project."""
    if relative == "TASKS.yaml" and content.plan:
        return content.plan.replace("\ntasks:", f"\nproject: {json.dumps(name)}\ntasks:", 1)
    data = read_bounded(source)
    if source.suffix == ".j2":
        return _rendered(source, decode_text(source, data), {"name": name, **content.values})
    if relative == "SPEC.md" and content.idea:
        return _with_idea(decode_text(source, data), content.idea)
    if relative == "TASKS.yaml":
        return re.sub(r'(?m)^project: ""', lambda _: f"project: {json.dumps(name)}", decode_text(source, data), count=1)
    return data


def _rendered(source: Path, text: str, values: Mapping[str, str]) -> str:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(text).render(values)
    except jinja2.TemplateError as error:
        place = f"{source}:{error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else str(source)
        cure = f"correct it; it may use {', '.join(values)}"
        raise UsageError(f"{place}: {error}", hint=cure) from error


def _with_idea(spec: str, idea: str) -> str:
    """*spec* with the idea in a section of its own, before the first one that is there."""
    section = f"## Idea\n\n{idea}\n\n"
    first = re.search(r"(?m)^## ", spec)
    if first is None:
        return f"{spec.rstrip()}\n\n{section}".lstrip()
    return spec[: first.start()] + section + spec[first.start() :]
