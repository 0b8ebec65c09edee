"""What aiframe needs from the machine, tried out: locks, files, file events, supervision, space, time, text.

Each check does for real, in a scratch folder on the very disk in question, what a run will do there later.
"""

from __future__ import annotations

import locale
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from aiframe.app.project.site import Site
from aiframe.app.protection.sandboxing import policy_for, sandbox_of
from aiframe.core.ports import Command, Policy
from aiframe.process import Limits, carriers, supervise
from aiframe.sandbox.choose import SandboxMissing, choose
from aiframe.sandbox.limits import MIB
from aiframe.store.atomic import storage_errors, write_durable
from aiframe.store.layout import Layout
from aiframe.store.locks import RunLock, is_run_locked
from aiframe.store.settings_file import SandboxSettings

GIB = 1024**3
FEW_FILES = 10_000
"""Fewer free files (inodes) than this are worth a word."""

PATIENCE_S = 1.5
"""How long a check waits for one command, in seconds."""
WATCH_WITHIN_S = 2.0
_CLOCK_SLACK_S = 5.0
_OLDEST_TRUE_TIME = 1_735_689_600  # 2025: earlier, the clock was never set
_REMOTE = ("nfs", "cifs", "smb", "sshfs", "afs", "glusterfs", "ceph", "lustre", "9p", "drvfs", "vboxsf")
_SCRATCH_PREFIX = ".doctor-"


class Finding(Struct, frozen=True):
    """One line of the report. *ok* is None for something that works, or can be done without, and is good to know.

    *cure* says what to do; empty where nothing is.
    """

    name: str
    ok: bool | None
    detail: str
    cure: str = ""


def path_of(environ: Mapping[str, str]) -> str:
    """Where programs are looked for."""
    return environ.get("PATH", os.defpath)


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A hidden folder in *place* for the length of the block. Raises StorageError."""
    folder = place / f"{_SCRATCH_PREFIX}{os.urandom(6).hex()}"
    with storage_errors(folder, "make the folder"):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shown(folder: Path) -> Path:
    """The place that a person knows: above the scratch folders."""
    return next(path for path in folder.parents if _SCRATCH_PREFIX not in path.as_posix())


def check_lock(folder: Path) -> Finding:
    """Takes the run lock, and sees that it keeps a second one out and is free again afterwards."""
    layout = Layout(folder)
    lock = RunLock.try_take(layout)
    if lock is None:
        return Finding("run lock", False, f"cannot be taken in {_shown(folder)}", _other_disk())
    second = RunLock.try_take(layout)
    keeps_out = second is None and is_run_locked(layout)
    if second is not None:
        second.close_here()
    lock.close_here()
    if not keeps_out or is_run_locked(layout):
        return Finding("run lock", False, f"does not keep a second run out in {_shown(folder)}", _other_disk())
    kind = _file_system(folder)
    if any(remote in kind for remote in _REMOTE):
        detail = f"works, but {_shown(folder)} is on {kind}: a lock there may not reach other machines, nor file events"
        return Finding("run lock", None, detail, f"tick these projects from one machine only, or {_other_disk()}")
    return Finding("run lock", True, "keeps a second run out" + (f" ({kind})" if kind else ""))


def _other_disk() -> str:
    return "put the frame on a local disk (ext4, xfs, btrfs, apfs)"


def _file_system(folder: Path) -> str:
    """The kind of file system that holds *folder*; "" where the system does not say."""
    import psutil

    path = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    nearest = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    return nearest.fstype.lower() if nearest else ""


def check_space(folder: Path) -> Finding:
    """Sees how much may still be written, and writes a little."""
    write_durable(folder / "space", b"x" * 4096)
    free = shutil.disk_usage(folder).free
    detail = f"{free / GIB:.1f} GiB free at {_shown(folder)}"
    if free < GIB:
        return Finding("disk", None, detail, "free some space: a full disk stops every step")
    files = os.statvfs(folder).f_favail
    if 0 < files < FEW_FILES:
        return Finding("disk", None, f"{detail}, but room for {files} more files only", "remove files there")
    return Finding("disk", True, detail)


def check_watcher(folder: Path, projects: int) -> Finding:
    """Changes a file and waits for the system to tell. *projects* is how many there are to watch."""
    from watchfiles import watch

    cure = "use a timer: `while true; do aiframe tick --all; sleep 10; done` (docs/watchers.md)"
    changed = folder / "changed"
    events = watch(folder, watch_filter=None, debounce=50, step=10, rust_timeout=50, yield_on_timeout=True)
    try:
        next(events)  # it looks from here on
        started = time.monotonic()
        changed.write_text("x")
        while time.monotonic() - started < WATCH_WITHIN_S:
            if any(Path(path).name == changed.name for _, path in next(events)):
                return _watch_limits(time.monotonic() - started, projects)
    except (OSError, RuntimeError) as error:
        return Finding("file watcher", False, f"does not start: {error}", _more_watches() if _inotify() else cure)
    finally:
        events.close()
    return Finding("file watcher", False, f"a changed file in {_shown(folder)} was not reported", cure)


def _watch_limits(took_s: float, projects: int) -> Finding:
    detail = f"a changed file was reported after {took_s * 1000:.0f} ms"
    limit = _inotify()
    if limit is not None and limit < 1000 + 10 * projects:
        return Finding("file watcher", None, f"{detail}; {limit} folders can be watched at once", _more_watches())
    return Finding("file watcher", True, detail)


def _inotify() -> int | None:
    """How many folders Linux lets a person watch; None on other systems."""
    try:
        return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return None


def _more_watches() -> str:
    return "raise the limits: `sudo sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512`"


def check_clock(folder: Path) -> Finding:
    """Compares the clock with the one of the disk, and with the latest thing that aiframe wrote there."""
    before = time.time()
    (folder / "now").write_text("")
    ahead = (folder / "now").stat().st_mtime - before
    if before < _OLDEST_TRUE_TIME:
        return Finding("clock", False, f"says {time.strftime('%Y-%m-%d', time.gmtime(before))}", "set the clock")
    if abs(ahead) > _CLOCK_SLACK_S:
        detail = f"the disk's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        return Finding("clock", None, detail, "let both machines follow a time server")
    return Finding("clock", True, time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(before)))


def check_supervision(folder: Path, environ: Mapping[str, str], within_s: float) -> Finding:
    """Runs a command that leaves a child in a session of its own behind, and sees that nothing of it stays."""
    run_id = f"doctor-{os.urandom(6).hex()}"
    code = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True); print('up')"
    )
    heard = bytearray()
    ended = supervise(
        Command((sys.executable, "-I", "-W", "ignore", "-c", code), folder), run_id=run_id,
        limits=Limits(timeout_s=within_s, stall_s=0, poll_s=0.1), on_stdout=heard.extend, on_stderr=heard.extend,
        beat=lambda: None, fingerprint=lambda: None, env_base=environ,
    )  # fmt: skip
    left = carriers(run_id)
    if ended.code or ended.reason != "exit" or not heard.startswith(b"up"):
        said = heard.decode(errors="replace").strip()[-200:]
        detail = f"a small command ended with {ended.code} ({ended.reason}) {said}".rstrip()
        return Finding("supervision", False, detail, f"run `{sys.executable} -c pass` by hand and see what is wrong")
    if left:
        detail = f"process {left[0].pid} was not ended with its run"
        return Finding("supervision", False, detail, "look at /proc or `ps -e`: this system hides its processes")
    return Finding("supervision", True, "a command and all that it had started were ended together")


def check_text(environ: Mapping[str, str]) -> Finding:
    """Sees that names of files and what is printed can be any text."""
    wanted = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or "not set"
    names, printed = sys.getfilesystemencoding().lower(), locale.getpreferredencoding(False).lower()
    if names.replace("-", "") == printed.replace("-", "") == "utf8":
        return Finding("locale", True, f"UTF-8 ({wanted})")
    detail = f"locale {wanted}: file names in {names}, output in {printed}"
    return Finding("locale", None, detail, "export LC_ALL=C.UTF-8 (macOS: en_US.UTF-8)")


def check_sandbox(folder: Path, site: Site | None, environ: Mapping[str, str]) -> Finding:
    """Starts the sandbox of a project, or the one that `auto` takes; says what verify commands see in it."""
    try:
        sandbox = sandbox_of(site) if site else choose("auto", "", environ)
    except SandboxMissing as error:
        return Finding("sandbox", False if site else None, error.message, error.hint)
    if site and site.settings.sandbox.kind == "none":
        detail = "none, as PROJECT.yaml says: verify commands run with your own rights"
        return Finding(
            "sandbox", None, detail, "write `sandbox: auto` into PROJECT.yaml, or trust what TASKS.yaml runs"
        )
    default = SandboxSettings()
    policy = (
        policy_for(site, site.root, network=False, run_id="doctor")
        if site
        else Policy(folder.resolve(), memory_bytes=default.memory_mb * MIB, processes=default.processes)
    )
    seen = "; ".join(sandbox.binds(policy)).replace(str(policy.workspace), "the project")
    return Finding("sandbox", True, f"{sandbox.name} starts; verify commands get: {seen}")
