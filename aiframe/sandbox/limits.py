"""Limits for one command and what it starts, by ``prlimit`` (util-linux), set inside the sandbox.

Inside, because processes are counted for each user in each user namespace: there the command has one of its own. Memory
is what a process may write to (RLIMIT_DATA): the address space (RLIMIT_AS) would stop every Node, Go and Java program,
which reserve far more than they use.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from aiframe.core.ports import Policy

MIB = 1024 * 1024
_FOLDERS = "/usr/bin:/bin"


def limiting_words(policy: Policy) -> tuple[str, ...]:
    """The words to put before a command; none where nothing is limited, or nothing can be."""
    program = shutil.which("prlimit", path=_FOLDERS)
    words = []
    if policy.memory_bytes:
        words.append(f"--data={policy.memory_bytes}")
    if policy.processes:
        words.append(f"--nproc={policy.processes}")
    return (program, "--core=0", *words, "--") if program and words else ()


def described(policy: Policy, uid: Callable[[], int] = os.getuid) -> tuple[str, ...]:
    """Which limits hold, in words."""
    there = shutil.which("prlimit", path=_FOLDERS) is not None
    without = "not limited: prlimit (util-linux) was not found"
    memory = f"at most {policy.memory_bytes // MIB} MiB for each process" if there else without
    if not there:
        processes = without
    else:
        processes = f"at most {policy.processes}" if uid() else "not limited, because aiframe runs as root"
    return (
        f"memory: {memory if policy.memory_bytes else 'not limited'}",
        f"processes: {processes if policy.processes else 'not limited'}",
    )
