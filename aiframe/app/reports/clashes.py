"""Which tasks that are worked at side by side will not go together, told before the first of them lands.

It costs some merges; so what was found is kept in the cache folder, and a look a moment later takes it from there.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct, field, to_builtins

from aiframe.app.attempts.gates_checkout import checkout_of
from aiframe.app.attempts.linked import repository_at
from aiframe.app.attempts.origin import Origin, host_of, read_origin
from aiframe.app.project.lanes import Lane, has_lanes, read_lanes
from aiframe.app.project.site import Site, open_site
from aiframe.core.errors import AiframeError
from aiframe.durable import replace_file
from aiframe.process import now
from aiframe.workspaces.linked import Linked, read_ready
from aiframe.workspaces.paths import contained, safe_part, task_branch, workspaces_home
from aiframe.workspaces.probing import Branch, Clash, Probe

FRESH_S = 10.0
"""For how long a look is taken for the next one: agents write all the time, and it is an early word anyway."""
_REMEMBERED = 2_000


class Looked(Struct, frozen=True):
    """The last look, at *at* (epoch seconds), at lanes of the folder names *lanes*; *known* is for `Probe`."""

    at: float = 0.0
    lanes: tuple[str, ...] = ()
    found: tuple[Clash, ...] = ()
    known: dict[str, tuple[str, ...]] = field(default_factory=dict)


def find_clashes(site: Site) -> tuple[Clash, ...]:
    """What will conflict, of what lies in the workspaces now, committed or not; empty where that cannot be told.

    Never raises, and writes nothing but its own cache.
    """
    if not has_lanes(site.root) or site.settings.workspace.kind == "inplace":
        return ()
    with suppress(AiframeError, OSError, ValueError):
        lanes = tuple(lane for lane in read_lanes(site.root, now()) if not lane.seen.landed)
        names = tuple(lane.root.name for lane in lanes)
        looked, wall = _read(site), now().wall
        if looked.lanes == names and 0 <= wall - looked.at < FRESH_S:
            return looked.found
        known = looked.known if len(looked.known) < _REMEMBERED else {}
        found = _look(site, lanes, known)
        _write(site, Looked(wall, names, found, known))
        return found
    return ()


def _look(site: Site, lanes: tuple[Lane, ...], known: dict[str, tuple[str, ...]]) -> tuple[Clash, ...]:
    origin = read_origin(site)
    if origin is None or not lanes:
        return ()
    host = host_of(site)
    commit = host.commit_of(f"refs/heads/{origin.target}")
    if commit is None:
        return ()
    with Probe(host, known) as probe:
        branches = []
        for lane in lanes:
            with suppress(AiframeError, OSError, ValueError):  # one that is made or removed just now
                branches.append(_branch(site, lane, probe))
        there = [branch for branch in branches if branch is not None and branch.tree != branch.base]
        return tuple(probe.clashes(there, origin.target, host.tree_of(commit)))


def _branch(site: Site, lane: Lane, probe: Probe) -> Branch | None:
    """What lies in the workspace of *lane*; None where there is none yet."""
    lane_site = open_site(lane.root, site.environ)
    origin = read_origin(lane_site)
    if origin is None:
        return None
    path = contained(workspaces_home(site.environ), origin.key, safe_part(lane.record.task_id))
    if not path.is_dir():
        return None
    workspace = _workspace(lane_site, origin, lane.record.task_id, path)
    return probe.branch(lane.record.task_id, workspace, read_ready(workspace).base)


def _workspace(site: Site, origin: Origin, task_id: str, path: Path) -> Linked:
    if site.settings.workspace.kind == "worktree":
        return Linked(path, task_branch(origin.key, task_id), Path(origin.repo))
    cloned = repository_at(site, path)
    if not isinstance(cloned, Linked):
        raise TypeError(site.settings.workspace.kind)
    return cloned


def _cache(site: Site) -> Path:
    return checkout_of(site).parent.with_name("clashes") / f"{_digest(site)}.json"


def _digest(site: Site) -> str:
    return hashlib.sha256(str(site.root).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _read(site: Site) -> Looked:
    with suppress(OSError, ValueError, msgspec.ValidationError):
        return msgspec.convert(json.loads(_cache(site).read_bytes()), Looked)
    return Looked()


def _write(site: Site, looked: Looked) -> None:
    with suppress(OSError):
        _cache(site).parent.mkdir(parents=True, exist_ok=True)
        replace_file(_cache(site), json.dumps(to_builtins(looked)).encode("utf-8", "surrogateescape"))
