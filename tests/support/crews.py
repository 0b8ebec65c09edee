"""A crew at work: what its commands print and how they end, by their keys; and the processes that they leave."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from aiframe import living
from aiframe.core.ports import Command
from aiframe.process import Crew, Ended

LONG_S = 60

_SLEEPER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


class Bench:
    """A crew with what its commands have printed and how they have ended. They work in *folder*."""

    def __init__(self, crew: Crew, folder: Path) -> None:
        self.crew = crew
        self.folder = folder
        self.printed: dict[str, bytearray] = {}
        self.ended: dict[str, Ended] = {}

    def start(self, key: str, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        """Start *argv*; a single word is a line for the shell."""
        words = argv if len(argv) > 1 else ("/bin/sh", "-c", *argv)
        self.printed[key] = bytearray()
        self.crew.start(key, Command(words, cwd or self.folder, env or {}), self.printed[key].extend)

    def until(self, true: Callable[[], object]) -> None:
        """Serve the crew until something is true."""
        deadline = time.monotonic() + LONG_S
        while not true():
            assert time.monotonic() < deadline, (self.ended, self.printed)
            for ended in self.crew.wait(0.02):
                assert ended.key not in self.ended
                self.ended[ended.key] = ended

    def run(
        self, key: str, *argv: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Start and wait for the end: the exit code and what was printed."""
        self.start(key, *argv, cwd=cwd, env=env)
        self.until(lambda: key in self.ended)
        return self.ended[key].code, self.printed[key].decode()


def python(code: str, *words: str) -> tuple[str, ...]:
    """The command line of a small Python program."""
    return sys.executable, "-I", "-S", "-c", code, *words


def sleeper(file: Path) -> tuple[str, ...]:
    """A command that writes its process id into *file* and sleeps for long."""
    return python(_SLEEPER, str(file))


def pid_in(file: Path) -> int:
    """The process id in a file; 0 as long as none is there."""
    return int(file.read_text() or 0) if file.exists() else 0


def alive(*files: Path) -> list[str]:
    """The names of those *files* whose process lives."""
    table = living.process_table()
    return [file.name for file in files if pid_in(file) in table]


def eventually(true: Callable[[], object], within_s: float = 20) -> bool:
    """Whether *true* comes true."""
    deadline = time.monotonic() + within_s
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true())
