"""The cheap way out for a tick that has nothing to do: compare what an earlier tick saw with what is there now.

A stamp is a small text that a tick leaves when it looked at a project and found no work. It holds everything that this
answer came from: the files (inode, size, time of change), some variables, the time at which a wait ends, and what the
tick said. While all of that still holds, another tick would say the same, so it is said at once.

Nothing here may import more than ``os`` and ``time``: no json, no re, no pathlib, not even ``__future__``.
"""

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "aiframe idle 1"
VARIABLES = ("AIFRAME_PARALLEL", "AIFRAME_UNATTENDED", "DEV_CHAIN_LIMIT", "TZ")
"""What in the environment may change what a tick does or says."""

STAMP = ".git/aiframe/idle"
FRAME_STAMP = ".aiframe-idle"
"""Where the stamps are: of a project, and in ``projects/`` for all projects of a frame at once."""

ABSENT = "-"

_SIGNS = ("STATE.json", ".git", "projects", "TEMPLATE_ROOT")
"""A folder with one of these may be a project or a frame: the full command line decides."""


def fast_tick(argv: list[str]) -> int | None:
    """The exit code of ``tick`` with the arguments *argv* after it has said that there is nothing to do.

    None, and nothing said, where that is not certain: then the full command line has to look. Raises BrokenPipeError.
    """
    wanted = _wanted(argv)
    if wanted is None:
        return None
    every, project, frame = wanted
    try:
        place, stamp = _place_of_all(frame) if every else _place(project, frame)
        idle = still_idle(read_stamp(stamp), place, os.environ, time.time()) if place else None
    except (OSError, ValueError):
        return None
    if idle is None:
        return None
    code, _, message = idle
    try:
        _say(message)
    except BrokenPipeError:
        raise
    except OSError:
        return None  # what is wrong with the output is told by the full command line
    return code


def _wanted(argv: list[str]) -> tuple[bool, str, str] | None:
    """Whether all projects are meant, which one, and the frame; None for anything out of the ordinary."""
    if argv[:1] != ["tick"]:
        return None
    every, values = False, {"--project": "", "--frame": ""}
    rest = argv[1:]
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option in values:
            if not equals:
                value = rest.pop(0) if rest else ""
            if not value or value[0] in "-~":
                return None
            values[option] = value
        elif equals or option not in ("--all", "--no-wait"):
            return None
        elif option == "--all":
            every = True
    if every and values["--project"]:
        return None
    return every, values["--project"], values["--frame"]


# Where


def _place(project: str, frame: str) -> tuple[str, str]:
    """The folder of the project that is meant, and its stamp; empty where that is not plain."""
    if project:
        place = os.path.abspath(project)
        if not os.path.lexists(place) and "/" not in project:
            projects, _ = _place_of_all(frame)
            place = os.path.join(projects, project) if projects else ""
    else:
        place = _above(os.getcwd())
    return place, os.path.join(place, STAMP)


def _above(folder: str) -> str:
    """The nearest folder at or above *folder* with a stamp, if none on the way could be anything else."""
    while not os.path.lexists(os.path.join(folder, STAMP)):
        parent = os.path.dirname(folder)
        if parent == folder or any(os.path.lexists(os.path.join(folder, sign)) for sign in _SIGNS):
            return ""
        folder = parent
    return folder


def _place_of_all(frame: str) -> tuple[str, str]:
    """The folder ``projects`` of the frame that is meant, and its stamp; empty where that is not plain."""
    named = frame or os.environ.get("AIFRAME_FRAME", "")
    folder = os.path.abspath(named) if named else os.getcwd()
    if named[:1] == "~":
        return "", ""
    while not os.path.lexists(os.path.join(folder, "TEMPLATE_ROOT")):
        parent = os.path.dirname(folder)
        if named or parent == folder or os.path.lexists(os.path.join(folder, "projects")):
            return "", ""
        folder = parent
    place = os.path.join(folder, "projects")
    return place, os.path.join(place, FRAME_STAMP)


# Stamps


def compose(
    place: str,
    made: float,
    wake: float,
    code: int,
    names: str,
    watched: list[str],
    environ: "Mapping[str, str]",
    message: str,
) -> str:
    """The text of a stamp for the folder *place*: see `still_idle` for what the parts mean.

    Raises ValueError where a name or a variable holds what the format cannot carry.
    """
    head = [place, f"{made!r}", f"{wake!r}", f"{code}", names, variables(environ), f"{len(watched)}"]
    if any("\n" in part for part in (*head, *watched)):
        raise ValueError("a name with the end of a line in it")
    return "\n".join([FORMAT, *head, *watched, message, "end", ""])


def still_idle(text: str, place: str, environ: "Mapping[str, str]", now: float) -> tuple[int, float, str] | None:
    """The exit code, the time at which a wait ends (0: none does) and the message, if the stamp *text* still holds.

    It holds for the folder *place* while the clock is between its making and that time, the variables are the same,
    the folder has the same *names* (joined by slashes; left out for a project), and every watched path, relative to
    *place*, has the same shape.
    """
    lines = text.split("\n")
    if lines[0] != FORMAT or lines[-2:] != ["end", ""] or len(lines) < 11:
        return None
    if lines[1] != place or lines[6] != variables(environ):
        return None
    made, wake, code, count = float(lines[2]), float(lines[3]), int(lines[4]), int(lines[7])
    if now < made or (wake and now >= wake):
        return None
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if lines[5] and lines[5] != names_in(folder):
            return None
        for line in lines[8 : 8 + count]:
            name, _, known = line.partition("\t")
            if shape(name, folder) != known:
                return None
    finally:
        os.close(folder)
    return code, wake, "\n".join(lines[8 + count : -2])


def read_stamp(path: str) -> str:
    """The text of a stamp; empty where there is none. Raises OSError where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        parts = []
        while part := os.read(descriptor, 1 << 20):
            parts.append(part)
    finally:
        os.close(descriptor)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def shape(name: str, folder: int) -> str:
    """What tells one content of the path *name*, relative to the open *folder*, from another, without reading it.

    The time of change, not of modification: nobody can set it back, and replacing a file by an older one changes it.
    """
    try:
        found = os.stat(name, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    return f"{found.st_ino} {found.st_size} {found.st_ctime_ns}"


def names_in(folder: int) -> str:
    """What the open *folder* holds, without what is hidden, joined by slashes; a slash for nothing."""
    return "/".join(sorted(name for name in os.listdir(folder) if name[0] != ".")) or "/"


def variables(environ: "Mapping[str, str]") -> str:
    """Those of VARIABLES that are set, as one line."""
    return "\t".join(f"{name}={environ.get(name, '')}" for name in VARIABLES)


def _say(message: str) -> None:
    """Print *message* as the full command line does."""
    data = (message + "\n").encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(1, data) :]
