"""Which processes live, who is below whom, and how all of a tree are ended.

Of the standard library only, and little of it: the guardian and the foreman load this, and they start often.
"""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False  # the name that type checkers know, without the cost of importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

LINUX = sys.platform == "linux"
HAS_PROC = os.path.exists("/proc/self/stat")
END_WITHIN_S = 5.0
"""How long the last pass over a tree may take; only a process stuck in the kernel makes it last."""
_ROUNDS = 20


class Entry:
    """One living process of the table: its parent, group and session (0 where the system does not tell)."""

    __slots__ = ("group", "parent", "session")

    def __init__(self, parent: int, group: int, session: int) -> None:
        self.parent = parent
        self.group = group
        self.session = session


def process_table() -> dict[int, Entry]:
    """Every living process by its id. A zombie is not alive, unless threads of it still run."""
    return _table_from_proc() if HAS_PROC else table_from_ps()


def _table_from_proc() -> dict[int, Entry]:
    table = {}
    for name in os.listdir("/proc"):
        fields = stat_fields(name) if name.isdigit() else None
        if fields is None or (fields[0] in (b"Z", b"X") and int(fields[17]) < 2):
            continue
        table[int(name)] = Entry(int(fields[1]), int(fields[2]), int(fields[3]))
    return table


def stat_fields(pid: int | str) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the process's state on; None when there is no such process."""
    text = read(f"/proc/{pid}/stat")
    return text[text.rindex(b")") + 2 :].split() if text else None


def table_from_ps() -> dict[int, Entry]:
    """The process table where there is no /proc."""
    import subprocess  # only needed here, and slow to load

    with subprocess.Popen(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], stdout=subprocess.PIPE) as ps:
        lines = ps.communicate()[0].decode(errors="replace").splitlines()
    rows = [line.split(None, 3) for line in lines]
    return {
        int(pid): Entry(int(parent), int(group), 0)
        for pid, parent, group, state in rows
        if not state.startswith("Z") and int(pid) != ps.pid
    }


def read(path: str) -> bytes:
    """What is in a file; nothing where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def below(table: dict[int, Entry], roots: Iterable[int]) -> set[int]:
    """The ids of all processes under *roots*, which are not among them, whatever their group or session."""
    children: dict[int, list[int]] = {}
    for pid, entry in table.items():
        children.setdefault(entry.parent, []).append(pid)
    tops = set(roots)
    found: set[int] = set()
    left = list(tops)
    while left:
        new = [pid for pid in children.get(left.pop(), ()) if pid not in found]
        found.update(new)
        left.extend(new)
    return found - tops


def children_of(pid: int) -> set[int]:
    """The children of a process with a single thread, also dead ones that it has not collected yet."""
    listed = f"/proc/{pid}/task/{pid}/children"
    return set(map(int, read(listed).split())) if os.path.exists(listed) else children_in(process_table(), pid)


def children_in(table: dict[int, Entry], pid: int) -> set[int]:
    """The living children of a process: a kernel may have been built without a list of all."""
    return {child for child, entry in table.items() if entry.parent == pid}


def carrying(cookie: str) -> set[int]:
    """The ids of the living processes that were started with *cookie* in their environment; needs /proc."""
    if not HAS_PROC:
        return set()
    first, later = f"{cookie}=".encode(), f"\0{cookie}=".encode()
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            environment = read(f"/proc/{name}/environ")
            if later in environment or environment.startswith(first):
                found.add(int(name))
    return found


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to each process that is still there and that we may reach."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue  # gone in the meantime, or another user's


def ask_to_end(pids: Collection[int]) -> None:
    """SIGTERM, once to each; a stopped process is woken up so that it can follow."""
    signal_all(pids, signal.SIGTERM)
    signal_all(pids, signal.SIGCONT)


def end_all(find: Callable[[], set[int]], *, within_s: float, collect: Callable[[set[int]], bool]) -> set[int]:
    """Kill what *find* finds until two passes find nothing; return the ids of all that were killed.

    All are frozen before the first is killed, so that none can start another in between. *collect* is called after
    each pass with all that were killed so far, to take the exit statuses of the caller's own children; it says whether
    there must be more, although none was found. After *within_s* seconds it gives up: a process may be stuck in the
    kernel or belong to somebody else.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + within_s
    passes_without, pause = 0, 0.001
    while passes_without < 2 and time.monotonic() < deadline:
        found = _freeze(find)
        signal_all(found, signal.SIGKILL)
        ended |= found
        passes_without = 0 if collect(ended) or found else passes_without + 1
        if found:
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
    return ended


def _freeze(find: Callable[[], set[int]]) -> set[int]:
    frozen: set[int] = set()
    for _ in range(_ROUNDS):
        new = find() - frozen
        if not new:
            break
        signal_all(new, signal.SIGSTOP)
        frozen |= new
    return frozen
