"""How a command ends: errors told in one place, with their cures, and never as a traceback."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from aiframe.core.errors import AiframeError, UnreadableFile

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")

CANCELLED = 130
"""Exit code after Ctrl-C, as shells have it."""

BROKEN_PIPE = 141
"""Exit code when whoever read our output has gone, as shells have it."""


def reported(command: Callable[[], int]) -> int:
    """Run *command*; its exit code, or that of the error it raised, which is told on standard error."""
    _never_fail_to_print()
    try:
        code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except AiframeError as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        return CANCELLED
    except BrokenPipeError:
        _print_no_more()
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("AIFRAME_DEBUG"):
            raise
        _tell_other(error)
        return 1
    return code


def _print_no_more() -> None:
    """Python flushes once more at the end, and would complain that it cannot."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def tell(error: AiframeError) -> None:
    """Say what is wrong, and the cure, on standard error."""
    print(as_text(error), file=sys.stderr)


def as_text(error: AiframeError) -> str:
    """The lines of *error*: each thing that is wrong, followed by what to do about it."""
    if not isinstance(error, UnreadableFile):
        return _lines(error.message, error.hint)
    cures = [problem.hint or error.hint for problem in error.problems]
    following = [*cures[1:], ""]
    return "\n".join(
        _lines(str(problem), cure if cure != after else "")
        for problem, cure, after in zip(error.problems, cures, following, strict=True)
    )


def _lines(message: str, hint: str) -> str:
    told = "error: " + harmless(message).replace("\n", "\n  ")
    return f"{told}\n  cure: {harmless(hint)}" if hint else told


def harmless(text: str) -> str:
    """*text* without control characters, which could play tricks on a terminal; line ends stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _never_fail_to_print() -> None:
    """A terminal that cannot show a character gets an escape for it."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _tell_other(error: Exception) -> None:
    """What the system refused, or a fault of ours: one line, and where the rest is."""
    if isinstance(error, OSError) and error.errno is not None:
        from aiframe.store.atomic import cure_for

        _print_no_more()  # it may be standard output itself that is full
        where = f"{error.filename}: " if error.filename else ""
        print(_lines(f"{where}{error.strerror}", cure_for(error)), file=sys.stderr)
    else:
        _tell_fault(error)


def _tell_fault(error: Exception) -> None:
    import tempfile
    import traceback

    reason = harmless(f"{type(error).__name__}: {error}").replace("\n", " ")
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="aiframe-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write("".join(traceback.format_exception(error)))
        where = f"the details are in {file.name}"
    except OSError:
        where = "AIFRAME_DEBUG=1 shows the details"
    print(f"error: aiframe has a fault: {reason}\n  cure: tell its makers; {where}", file=sys.stderr)
