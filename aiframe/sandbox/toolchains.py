"""What the programs on PATH need that does not lie in the system's own folders: a Python, a venv, a Node, a rustup.

A folder of programs is shown alone; what lies around it only where it is a known kind of installation, or lies where
people keep no secrets. So ``~/.local/bin`` never brings ``~/.local`` along.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

SYSTEM = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")))
"""The folders that every sandbox shows."""

_LOCAL_PROGRAMS = (Path("/usr/local/bin"), Path("/usr/local/sbin"))
_LINKS_FOLLOWED = 500


def toolchains(environ: Mapping[str, str], workspace: Path) -> tuple[Path, ...]:
    """The files and folders that the programs on PATH need, the shortest paths first; all outside of SYSTEM.

    What lies in *workspace* is left out, and never followed: an agent may have written it.
    """
    home, rustup = environ.get("HOME", ""), environ.get("RUSTUP_HOME", "")
    return _toolchains(environ.get("PATH", os.defpath), home, rustup, workspace)


@functools.lru_cache(maxsize=64)
def _toolchains(path: str, home: str, rustup: str, workspace: Path) -> tuple[Path, ...]:
    look = _Look(workspace, _homes(home), Path(rustup or Path(home or "/", ".rustup")))
    folders = [Path(entry) for entry in path.split(os.pathsep) if entry.startswith("/")]
    found: set[Path] = set()
    for folder in (*folders, Path(sys.base_prefix, "bin")):
        with suppress(OSError):  # what we may not read cannot be needed
            found.update(look.around(folder))
    return tuple(_widest(place for place in found if look.may_show(place)))


class _Look:
    """Knows which places must stay hidden: homes, and whatever holds a home or the workspace."""

    def __init__(self, workspace: Path, homes: tuple[Path, ...], rustup: Path) -> None:
        self.workspace = workspace
        self.homes = homes
        self.rustup = rustup

    def may_show(self, place: Path) -> bool:
        """Whether *place* is worth a bind and gives nothing away."""
        if _inside(place, (*SYSTEM, self.workspace)) or not os.path.exists(place):
            return False
        real = Path(os.path.realpath(place))
        return not any(
            hidden.is_relative_to(each) for hidden in (*self.homes, self.workspace) for each in (place, real)
        )

    def around(self, folder: Path) -> Iterator[Path]:
        """A folder on PATH, what its programs are a part of, and what its links lead to."""
        real = Path(os.path.realpath(folder))
        if _inside(real, (self.workspace,)) or _inside(folder, (self.workspace,)) or not real.is_dir():
            return
        if _inside(real, SYSTEM) and real not in _LOCAL_PROGRAMS:
            return
        yield from (folder, real)
        yield from self.installation(real)
        yield from self.linked(real)

    def linked(self, folder: Path) -> Iterator[Path]:
        """The programs elsewhere that the links in *folder* stand for."""
        with os.scandir(folder) as entries:
            links = [entry.path for entry in entries if entry.is_symlink()][:_LINKS_FOLLOWED]
        targets = {Path(os.path.realpath(link)) for link in links}
        for target in sorted(targets):
            if _inside(target, (*SYSTEM, self.workspace, folder)):
                continue
            if target.is_file() and os.access(target, os.X_OK):
                yield target
                yield from self.installation(target.parent)

    def installation(self, programs: Path) -> Iterator[Path]:
        """What belongs to the folder *programs*, where it is a part of something known."""
        prefix = programs.parent
        version_switch = programs.name == "shims" and any((prefix / name).is_dir() for name in ("versions", "installs"))
        if version_switch or (prefix / "conda-meta").is_dir() or self._is_open_ground(programs):
            yield prefix
        if (prefix / "pyvenv.cfg").is_file():
            yield prefix
            yield from _python_around(_base_of_venv(prefix / "pyvenv.cfg") / "python3")
        yield from _python_around(programs / "python3")
        yield from _node_around(programs / "node")
        if (programs / "rustup").exists() and (self.rustup / "toolchains").is_dir():
            yield self.rustup

    def _is_open_ground(self, programs: Path) -> bool:
        """Whether the folder above *programs* is a program's own, such as /opt/tool: no home, nothing hidden."""
        prefix = programs.parent
        hidden = any(part.startswith(".") for part in prefix.parts)
        named = programs.name in ("bin", "sbin") and len(prefix.parts) > 2
        return named and not hidden and not _inside(prefix, self.homes)


def _homes(home: str) -> tuple[Path, ...]:
    import pwd

    try:
        own = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # a user without a name, as in some containers
        own = ""
    known = {Path(os.path.realpath(each)) for each in (home, own, "/root") if each and each != "/"}
    # Under these everything is somebody's: no folder of them is open ground.
    return (*sorted(known), Path("/home"), Path("/Users"))


def _base_of_venv(config: Path) -> Path:
    """The folder of programs that a venv was made from, as its own file says."""
    found = re.search(r"(?m)^home\s*=\s*(/.+?)\s*$", config.read_bytes()[:4096].decode("utf-8", "surrogateescape"))
    return Path(found[1]) if found else Path("/usr/bin")


def _python_around(program: Path) -> Iterator[Path]:
    real = Path(os.path.realpath(program))
    prefix = real.parent.parent
    if (prefix / "lib" / real.name / "os.py").is_file() and not _inside(prefix, SYSTEM):
        yield from (prefix / "bin", prefix / "lib")


def _node_around(program: Path) -> Iterator[Path]:
    prefix = Path(os.path.realpath(program)).parent.parent
    if (prefix / "lib" / "node_modules").is_dir() and not _inside(prefix, SYSTEM):
        yield from (prefix / "bin", prefix / "lib")


def _inside(place: Path, folders: Iterable[Path]) -> bool:
    return any(place.is_relative_to(folder) for folder in folders)


def _widest(places: Iterable[Path]) -> list[Path]:
    """Without those that lie in others of them."""
    kept: list[Path] = []
    for place in sorted(set(places), key=lambda path: (len(path.parts), path)):
        if not _inside(place, kept):
            kept.append(place)
    return kept
