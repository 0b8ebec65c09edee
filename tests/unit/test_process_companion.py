"""A companion: a child that talks with us and is gone when we are."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiframe import living
from aiframe.process import MissingProgram
from aiframe.process.companion import Companion

ENV = {"PATH": os.environ["PATH"]}


def companion(*argv: str) -> Companion:
    """A companion that runs *argv*."""
    return Companion(argv, cwd=Path("/"), env=ENV)


def listen(to: Companion, size: int) -> bytes:
    """The next *size* bytes of what *to* says."""
    heard, deadline = b"", time.monotonic() + 30
    while len(heard) < size and time.monotonic() < deadline:
        said = to.receive(0.1)
        assert said is not None, "it is gone"
        heard += said
    return heard


def test_both_sides_may_say_more_than_fits_between_them() -> None:
    text = bytes(range(256)) * 16_000
    echo = companion("cat")
    try:
        echo.send(text[:1_000_000])
        echo.send(text[1_000_000:])
        assert listen(echo, len(text)) == text
        assert echo.receive(0) == b""
    finally:
        echo.close()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 3", 3, id="it exits"),
        pytest.param("kill -9 $$", -9, id="it is killed"),
        pytest.param("exec <&- >&-; sleep 0.1; exit 4", 4, id="it hangs up first"),
    ],
)
def test_one_that_is_gone(script: str, code: int) -> None:
    gone = companion("sh", "-c", script)
    gone.send(b"x" * 1_000_000)
    while (said := gone.receive(10)) is not None:
        assert said == b""
    assert gone.receive(10) is None
    assert gone.close() == code


def test_one_that_does_not_want_to_go() -> None:
    stubborn = companion("sh", "-c", "trap '' TERM HUP; echo ready; while :; do sleep 1; done")
    assert listen(stubborn, 6) == b"ready\n"
    assert os.getsid(stubborn.pid) == stubborn.pid  # no Ctrl-C reaches it
    assert stubborn.close() == -9
    assert stubborn.pid not in living.process_table()


def test_it_hears_of_our_end_whatever_else_we_have_started(tmp_path: Path) -> None:
    """Another child of ours must not hold the line."""
    script = """
import os, subprocess, sys
from pathlib import Path
from aiframe.process.companion import Companion
Companion(["sh", "-c", "cat; echo over > over"], cwd=Path.cwd(), env=dict(os.environ))
subprocess.Popen(["sleep", "20"], stdin=-3, stdout=-3, stderr=-3, close_fds=False)
os._exit(0)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=True)
    deadline = time.monotonic() + 10
    while not (tmp_path / "over").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "over").exists()


def test_a_missing_program() -> None:
    with pytest.raises(MissingProgram):
        companion("no-such-listener")
