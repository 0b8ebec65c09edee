"""The console script ``aiframe``, and ``python -m aiframe``."""

import gc
import os
import sys

_ALLOCATIONS = 50_000
"""How many new objects call for a look for garbage. Loading a command makes tens of thousands, all of them to stay."""


def main() -> int:
    """Run the command in sys.argv; its exit code. A tick that has nothing to do is over before much is imported."""
    _open_streams()
    argv = sys.argv[1:]
    try:
        code = _fast_tick(argv) if argv and argv[0] == "tick" else None
        if code is not None:
            return code
        gc.set_threshold(_ALLOCATIONS)
        from aiframe.cli.main import run

        return run(argv)
    except KeyboardInterrupt:
        return 130  # this and the next as in aiframe.cli.reporting, which may not be there yet


def _open_streams() -> None:
    """Open nothing in the place of each standard stream that we were started without.

    Else a lock, a log or a pipe would be opened there, and taken for it by all that is started.
    """
    for stream in (0, 1, 2):
        try:
            os.fstat(stream)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one


def _fast_tick(argv: list[str]) -> int | None:
    from aiframe.idle import fast_tick

    try:
        return fast_tick(argv)
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    sys.exit(main())
