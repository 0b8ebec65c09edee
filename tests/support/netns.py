"""A network with nothing but loopback, so that a test proves that a program talks to 127.0.0.1 alone.

Linux gives it through a network namespace; elsewhere, and where the system forbids one, programs run in the ordinary
network and :attr:`Loopback.isolated` says so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from support.model_server import listen

_HOLD = """
import socket, sys
with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        socket.send_fds(parent, [b"x"], [listener.fileno()])
sys.stdin.buffer.read()
"""
"""Hands a listener over that was made in its network. It imports next to nothing: each test of a CLI starts it."""


@dataclass(frozen=True, slots=True)
class Loopback:
    """A network to run programs in: put *prefix* before their argv. *listener* listens inside it.

    *why* says why it is not isolated.
    """

    prefix: tuple[str, ...]
    listener: socket.socket
    why: str = ""

    @property
    def isolated(self) -> bool:
        """Whether programs run with the prefix reach nothing but loopback."""
        return not self.why


def in_loopback_only(argv: Sequence[str]) -> tuple[str, ...]:
    """*argv* wrapped so that it runs in a new network with loopback alone; as it is where that is not allowed."""
    if why_not():
        return tuple(argv)
    return (*_unshare(), "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *argv)


@cache
def why_not() -> str:
    """Why no network namespace can be had here; empty where it can."""
    missing = [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} here"
    tried = subprocess.run(
        [*_unshare(), "ip", "link", "set", "lo", "up"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return tried.stderr.decode(errors="replace").strip() or "not allowed" if tried.returncode else ""


def _unshare() -> tuple[str, ...]:
    return ("unshare", "-n") if os.geteuid() == 0 else ("unshare", "-rn")


@contextmanager
def loopback() -> Iterator[Loopback]:
    """A network for the length of a block; the test process itself stays where it is and serves the listener."""
    if why_not():
        with listen() as listener:
            yield Loopback((), listener, why_not())
        return
    ours, theirs = socket.socketpair()
    with ours, theirs, _holder(theirs) as holder:
        theirs.close()
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=descriptors[0]) as listener:
            yield Loopback(_enter(holder.pid), listener)


@contextmanager
def _holder(theirs: socket.socket) -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps the namespace alive until its standard input ends."""
    descriptor = theirs.fileno()
    argv = in_loopback_only([sys.executable, "-I", "-S", "-c", _HOLD, str(descriptor)])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=(descriptor,)) as holder:
        yield holder


def entered(prefix: Sequence[str]) -> int:
    """The process whose network *prefix* leads into, where root alone may follow it; 0 for another prefix."""
    is_ours = os.geteuid() == 0 and len(prefix) > 2 and prefix[2].isdigit() and tuple(prefix) == _enter(int(prefix[2]))
    return int(prefix[2]) if is_ours else 0


def _enter(pid: int) -> tuple[str, ...]:
    user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
    return ("nsenter", "--target", str(pid), *user, "--net", "--")
