"""A program that gets the person's terminal for a while, such as an editor."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import PurePath

from aiframe.process.start import check_startable, not_started


def run_in_terminal(argv: Sequence[str], *, cwd: PurePath) -> int:
    """Run *argv* with our own terminal, environment and standard streams; its exit status.

    Raises MissingProgram, MissingFolder.
    """
    check_startable(argv, cwd, dict(os.environ))
    try:
        return subprocess.call(list(argv), cwd=cwd)
    except (OSError, ValueError) as error:
        raise not_started(argv, error) from error
