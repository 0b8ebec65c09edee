"""Commands under bubblewrap (``bwrap``, Linux): namespaces of their own, and a root of only what they need.

Where aiframe runs as root, the command is root without capabilities: what belongs to root and is writable without one,
it can write. That is most of /proc/sys, by which a command could have the kernel start a program outside; bubblewrap
leaves it as it is, so it is covered here. And no namespace within the sandbox, in which /proc could be mounted anew.

The environment is kept clean from the start and not by ``--clearenv``: bubblewrap's own first process lives in the
sandbox too, and whoever is in there can read that one's environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from aiframe.core.ports import Command, Exit, Policy
from aiframe.sandbox.environment import harmless
from aiframe.sandbox.limits import described, limiting_words
from aiframe.sandbox.mounts import Mount, shared
from aiframe.sandbox.toolchains import SYSTEM, toolchains

HOME = "/tmp/home"
_ETC = (
    "alternatives", "ca-certificates", "crypto-policies", "fonts", "group", "hosts", "java", "ld.so.cache",
    "ld.so.conf", "ld.so.conf.d", "locale.alias", "localtime", "magic", "mime.types", "nsswitch.conf", "os-release",
    "passwd", "pki", "protocols", "services", "ssl", "timezone",
)  # fmt: skip
_ETC_NETWORK = ("gai.conf", "host.conf", "resolv.conf")
_ALONE = ("--unshare-all", "--new-session", "--die-with-parent", "--cap-drop", "ALL")
_NO_NAMESPACES = ("--unshare-user", "--disable-userns")
_PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_PROC_EMPTY = ("kcore", "keys", "latency_stats", "sched_debug", "timer_list")
_PROC_EMPTY_FOLDERS = ("acpi", "asound", "scsi")


class Bubblewrap:
    """The adapter. *program* is the path of bwrap, *environ* the caller's environment.

    *old* is for releases before 0.8, and kernels that refuse: no limit for the size of temporary folders, and the
    command may make user namespaces of its own.
    """

    name = "bubblewrap"

    def __init__(self, program: str, environ: Mapping[str, str], *, old: bool = False) -> None:
        self._program = program
        self._environ = environ
        self._old = old

    def environment(self) -> Mapping[str, str]:
        """What tools need to find each other; bubblewrap itself needs nothing."""
        found = harmless(self._environ)
        rustup = Path(self._environ.get("HOME") or "/", ".rustup")
        return found if "RUSTUP_HOME" in found or not rustup.is_dir() else {**found, "RUSTUP_HOME": str(rustup)}

    def wrap(self, command: Command, policy: Policy) -> Command:
        """The command behind bwrap, with a home and temporary folder that vanish with it. Raises StepError."""
        argv = (
            self._program, *_ALONE, *(() if self._old else _NO_NAMESPACES),
            *(("--share-net",) if policy.network else ()), *_system(), *_proc(), "--dev", "/dev",
            *self._size(policy), "--tmpfs", "/tmp", "--dir", HOME,
            "--symlink", "../tmp", "/var/tmp", "--dir", "/run",
            *(word for mount in self._mounts(policy) for word in _bind(mount)),
            "--remount-ro", "/", "--chdir", os.path.realpath(command.cwd), "--", *limiting_words(policy), *command.argv,
        )  # fmt: skip
        return replace(command, argv=argv, env={**command.env, "HOME": HOME, "TMPDIR": "/tmp"})

    def binds(self, policy: Policy) -> tuple[str, ...]:
        """Every bind, and the limits."""
        system = ", ".join(str(path) for path in SYSTEM if path.is_dir() and not path.is_symlink())
        network = "network: the machine's" if policy.network else "network: none"
        mounts = [str(mount) for mount in self._mounts(policy) if not mount.path.is_relative_to("/etc")]
        etc = "some files of /etc (read-only)"
        return (f"{system} (read-only)", etc, *mounts, network, *described(policy))

    def start_failure(self, ended: Exit) -> str:
        """Its own last words."""
        lines = ended.stderr.strip().splitlines()
        said = lines[0] if lines else ""
        return said if ended.code == 1 and len(lines) == 1 and said.startswith("bwrap: ") else ""

    def clean(self, policy: Policy) -> None:
        """Nothing is left: everything of it dies with bwrap, and bwrap with its guardian."""

    def _size(self, policy: Policy) -> tuple[str, ...]:
        return ("--size", str(policy.memory_bytes)) if policy.memory_bytes and not self._old else ()

    def _mounts(self, policy: Policy) -> tuple[Mount, ...]:
        names = (*_ETC, *(_ETC_NETWORK if policy.network else ()))
        etc = (Mount(Path("/etc", name)) for name in names)
        tools = (Mount(path) for path in toolchains(self._environ, Path(policy.workspace)))
        return (*(mount for mount in etc if os.path.exists(mount.path)), *tools, *shared(policy))


def _bind(mount: Mount) -> tuple[str, str, str]:
    return ("--bind" if mount.writable else "--ro-bind", str(mount.path), str(mount.path))


def _proc() -> tuple[str, ...]:
    """/proc of the sandbox's own processes, without the files by which the machine is set up."""
    words = ["--proc", "/proc"]
    for name in _PROC_READ_ONLY:
        words += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    for name in _PROC_EMPTY:
        if os.path.exists(f"/proc/{name}"):
            words += ["--ro-bind", os.devnull, f"/proc/{name}"]
    for name in _PROC_EMPTY_FOLDERS:
        if os.path.isdir(f"/proc/{name}"):
            words += ["--tmpfs", f"/proc/{name}", "--remount-ro", f"/proc/{name}"]
    return tuple(words)


def _system() -> tuple[str, ...]:
    """The system's folders: the real ones are bound, links stay links."""
    words: list[str] = []
    for path in SYSTEM:
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            words += ["--ro-bind", str(path), str(path)]
    return tuple(words)
