"""The console script ``aiframe``, and ``python -m aiframe``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command in sys.argv; its exit code. A tick that has nothing to do is over before anything is imported."""
    argv = sys.argv[1:]
    if argv and argv[0] == "tick":
        from aiframe.idle import fast_tick

        code = fast_tick(argv)
        if code is not None:
            return code
    from aiframe.cli.main import run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
