"""One file for a bug report: what aiframe knows of a project, without secrets and without the product itself.

Files are named here one by one. Nothing else of the folder gets in, so neither does the product's source; logs may
quote some of it, as the agent or a check printed it, and whoever sends the bundle is told so.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import stat
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, field

import aiframe
from aiframe.app.reports.doctor import examine
from aiframe.app.reports.history import read_history
from aiframe.app.reports.masking import Redact, redaction, without_addresses
from aiframe.app.reports.report import check_replaceable
from aiframe.core.errors import AiframeError
from aiframe.store.atomic import make_folder, write_durable
from aiframe.store.guards import check_project_folder
from aiframe.store.layout import Layout, contain, is_safe_name
from aiframe.store.settings_file import load_settings

MAX_BYTES = 5 * 1024 * 1024
"""The most that all files of a bundle hold together, before they are packed."""

_RUNS = 5
_FILE, _LOG, _GATE = 1024 * 1024, 256 * 1024, 64 * 1024
"""The most of a file, of the journal and of a readable log, and of the log of a check, in bytes: its end counts."""

_GZIP = b"\x1f\x8b"
_SIZES = (
    "SPEC.md", "ROLES.md", "AGENTS.md", "DIAGNOSE_AGENT.md", "INTAKE_QUESTIONS.md", "INTAKE_ANSWERS.md",
    "INTAKE_HISTORY.md", "notes/context_snapshot.md", "notes/interaction_notes.md",
)  # fmt: skip
"""Files that are somebody's own words: only how large they are is told."""

_ABOUT = """\
A bundle of aiframe {version} for a bug report, made {when}.

python {python} on {system}
project {name}

Secrets that aiframe knows of or recognises are replaced by [redacted ...], the home folder by ~. There is no file of
the product and no variable of the environment in here. The logs may quote what an agent or a check printed: look into
them before you send this on.
"""


class Bundle(Struct, frozen=True):
    """What was written: *contents* are (name, bytes, remark), *size* is that of the packed file in bytes."""

    path: Path
    size: int
    contents: tuple[tuple[str, int, str], ...]


class _Parcel(Struct):
    """What goes in, as long as there is room."""

    redact: Redact
    files: dict[str, bytes] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    room: int = MAX_BYTES

    def add(self, name: str, text: str, remark: str = "") -> None:
        """Put *text* in, redacted first; what does not fit any more is left out, and said."""
        data = self.redact(text).encode("utf-8", "replace")
        if len(data) > self.room:
            data, remark = b"", "left out: the bundle is full"
        self.room -= len(data)
        self.files[name] = data
        self.remarks[name] = remark


def write_bundle(root: Path, frame: Path | None, environ: Mapping[str, str], *, out: Path | None) -> Bundle:
    """Pack the bundle of the project in *root* into *out* (default: a new file in logs/).

    Takes seconds: it looks the machine over as `aiframe doctor` does. Raises UsageError, GuardError, StorageError.
    """
    root = root.resolve()
    check_project_folder(root)
    layout = Layout(root)
    path = out or layout.logs / time.strftime(f"aiframe-bundle-{root.name}-%Y%m%d-%H%M%S.tar.gz")
    check_replaceable(path, _GZIP, "bundle")
    parcel = _Parcel(redaction(environ, _addresses(layout, environ)))
    _describe(parcel, layout, frame, environ)
    _add_files(parcel, layout)
    _add_runs(parcel, layout, environ)
    data = _packed(parcel.files)
    make_folder(path.parent)
    write_durable(path, data, mode=0o600)
    contents = tuple((name, len(content), parcel.remarks[name]) for name, content in parcel.files.items())
    return Bundle(path, len(data), contents)


def _addresses(layout: Layout, environ: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return load_settings(layout.project_yaml, environ).notify
    except AiframeError:
        return ()


def _describe(parcel: _Parcel, layout: Layout, frame: Path | None, environ: Mapping[str, str]) -> None:
    """What made the bundle, on what machine, and how the machine does."""
    about = _ABOUT.format(
        version=aiframe.__version__,
        when=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        python=platform.python_version(),
        system=platform.platform(),
        name=layout.root.name,
    )
    parcel.add("about.txt", about)
    marks = {True: "ok  ", False: "BAD ", None: "note"}
    found = examine(frame, layout.root, environ)
    lines = (f"{marks[each.ok]} {each.name}: {each.detail}\n       {each.cure}".rstrip() for each in found)
    parcel.add("doctor.txt", "\n".join(lines) + "\n")
    history = read_history(layout, environ)
    told = {
        "attempts": [each.as_dict() for each in history.attempts[-1000:]],
        "problems": list(map(str, history.problems)),
    }
    parcel.add(
        "history.json", json.dumps(told, indent=1) + "\n", "the last 1000 runs" if len(history.attempts) > 1000 else ""
    )


def _add_files(parcel: _Parcel, layout: Layout) -> None:
    root = layout.root
    for name in ("STATE.json", "TASKS.yaml", "logs/events.ndjson"):
        _add_end(parcel, name, root, name, _FILE)
    settings = _end_of(root, "PROJECT.yaml", _FILE)
    if settings is not None:
        parcel.add("PROJECT.yaml", without_addresses(settings[0]), settings[1])
    with suppress(AiframeError):
        for name in ("control.json", "runner.log", "notify.log"):
            _add_end(parcel, f"control/{name}", layout.control_dir, name, _FILE)
    parcel.add("sizes.txt", "".join(f"{size:>10}  {name}\n" for name, size in _sizes(root)))


def _sizes(root: Path) -> Iterator[tuple[str, int]]:
    for name in _SIZES:
        with suppress(OSError):
            yield name, os.lstat(root / name).st_size


def _add_runs(parcel: _Parcel, layout: Layout, environ: Mapping[str, str]) -> None:
    """The last runs, the newest first, so that it is the old ones that find no room."""
    for each in reversed(read_history(layout, environ, tail=_RUNS).attempts):
        if not is_safe_name(each.run_id):
            continue
        place = f"logs/runs/{each.run_id}"
        _add_end(parcel, f"{place}/result.json", layout.root, f"{place}/result.json", _FILE)
        _add_end(parcel, f"logs/tick-{each.run_id}.log", layout.root, f"logs/tick-{each.run_id}.log", _LOG)
        for gate in each.gates:
            if gate.log.startswith(f"{place}/gates/"):
                _add_end(parcel, gate.log, layout.root, gate.log, _GATE)


def _add_end(parcel: _Parcel, name: str, root: Path, relative: str, limit: int) -> None:
    found = _end_of(root, relative, limit)
    if found is not None and name not in parcel.files:
        parcel.add(name, *found)


def _end_of(root: Path, relative: str, limit: int) -> tuple[str, str] | None:
    """The last *limit* bytes of a file as text, from the beginning of a line, and a remark; None where there is none.

    No link on the way is followed: it could lead to anything.
    """
    try:
        if contain(root, relative) != root.resolve() / relative:
            return None
        descriptor = os.open(root / relative, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, AiframeError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        cut = found.st_size > limit
        file.seek(found.st_size - limit if cut else 0)
        data = file.read(limit)
    if cut:
        data = data.partition(b"\n")[2] or data
    return data.decode("utf-8", "replace"), f"the end of {found.st_size} bytes" if cut else ""


def _packed(files: Mapping[str, bytes]) -> bytes:
    packed, made = io.BytesIO(), int(time.time())
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=made) as pressed,
        tarfile.open(fileobj=pressed, mode="w") as tar,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(f"aiframe-bundle/{name}")
            entry.size, entry.mtime, entry.mode = len(content), made, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
