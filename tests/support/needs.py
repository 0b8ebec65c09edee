"""Tests that need a tool: left out where it is missing, with the reason, and failed for it in CI.

A reason begins `needs NAME`, also where a test calls `pytest.skip` itself: the count at the end of a run goes by that.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable

import pytest

from support.clis import PATTERNS, find

# The Debian package of each tool, where its name is another than the tool's.
PACKAGES = {
    "bwrap": "bubblewrap", "ip": "iproute2", "ps": "procps", "prlimit": "util-linux", "unshare": "util-linux",
    **dict.fromkeys(PATTERNS, "npm"),
}  # fmt: skip

# A tool may be there and yet not be allowed to do its work, in a container for example: so these are tried.
TRIALS = {
    "bwrap": ("bwrap", "--ro-bind", "/", "/", "true"),
    "strace": ("strace", "-f", "-o", os.devnull, "true"),
}

_REASON = re.compile(r"(?:Skipped: )?needs ([\w.-]+)")


def needs(*names: str) -> pytest.MarkDecorator:
    """A mark for tests that start the tools *names*: `pytestmark = needs("strace")` or `@needs("entr", "git")`."""
    reasons = [reason for name in names if (reason := missing(name))]
    return pytest.mark.skipif(bool(reasons), reason=reasons[0] if reasons else "")


def require(name: str) -> str:
    """The path of the tool *name*; the calling test is left out where the tool does not work."""
    reason = missing(name)
    if reason:
        pytest.skip(reason)
    return str(find(name) if name in PATTERNS else shutil.which(name))


@functools.cache
def missing(name: str) -> str:
    """Why the tool *name* cannot be used and what to install; empty where it works."""
    package = PACKAGES.get(name, name)
    if name in PATTERNS:
        return "" if find(name) else f"needs {name}: start the tests with `make test` where npm is (Debian package npm)"
    if shutil.which(name) is None:
        return f"needs {name}: install the Debian package {package}"
    trial = subprocess.run(TRIALS.get(name, ("true",)), capture_output=True, text=True, timeout=30)
    if trial.returncode:
        said = trial.stderr.strip().splitlines() or [f"exit {trial.returncode}"]
        return f"needs {name}: it is installed, but may not work here: {said[-1]}"
    return ""


def mounting() -> tuple[str, ...]:
    """What starts a command that may mount file systems for itself alone; skips the test where that is forbidden."""
    words = ("unshare", "-rm") if os.geteuid() else ("unshare", "-m")
    tried = subprocess.run([*words, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.decode(errors='replace').strip()}")
    return words


def needed(reason: str) -> str | None:
    """The tool for want of which a test was skipped with *reason*; None where that was not why."""
    match = _REASON.match(reason)
    return match and match.group(1)


def left_out(tools: Iterable[str]) -> str:
    """One line for the end of a run: how many tests were left out for want of each of *tools*, and the cure."""
    counts = Counter(tools)
    each = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    packages = " ".join(sorted({PACKAGES.get(name, name) for name in counts}))
    command = "apt-get install " if sys.platform == "linux" else ""
    tests = "1 test" if counts.total() == 1 else f"{counts.total()} tests"
    return f"left out: {tests} ({each}); install: {command}{packages}"
