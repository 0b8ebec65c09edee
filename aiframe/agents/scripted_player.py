"""The program behind the scripted agent: plays one turn of a file in a workspace, as JSON lines on standard output.

    python -m aiframe.agents.scripted_player FILE --role DEV --task T1 --attempt 1 --workspace DIR

Events: ``start``, ``text``, ``file``, ``command``, ``failure``, ``end``. It keeps nothing between two runs.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from aiframe.agents.lines import json_object
from aiframe.agents.script_file import HINT, Tokens, Turn, choose_turn, read_script
from aiframe.core.errors import AiframeError, StepError
from aiframe.core.model import FailureKind, Role

OUTPUT_BYTES = 1024 * 1024
OUTPUT_SHOWN = 8000


def main() -> int:
    """Play the turn that the arguments name; returns the exit code."""
    arguments = _arguments()
    workspace: Path = arguments.workspace
    fresh = f"{arguments.role}-{arguments.task or 'none'}-{arguments.attempt}"
    step = {"role": arguments.role, "task": arguments.task, "attempt": arguments.attempt}
    emit("start", session=arguments.resume or fresh, **step)
    try:
        script = Path(workspace, arguments.file)
        turns = read_script(script)
        counts = any(turn.repeat is not None for turn in turns)
        repeat = times_played(arguments.run_dir, step) if counts and arguments.run_dir is not None else 0
        turn = choose_turn(turns, Role(arguments.role), arguments.task, arguments.attempt, repeat)
        if turn is None:
            raise StepError(f"{script} has no turn for {_asked(arguments)}", hint=_how_to_add(arguments))
        play(turn, workspace, arguments.speed)
    except AiframeError as error:
        emit("failure", kind=FailureKind.SETUP, message=error.message, hint=error.hint)
        return 1
    except (OSError, ValueError, RuntimeError) as error:
        emit("failure", kind=FailureKind.SETUP, message=f"the turn cannot be played: {error}", hint=HINT)
        return 1
    return turn.exit


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripted_player")
    parser.add_argument("file")
    parser.add_argument("--role", required=True, choices=[role.value for role in Role])
    parser.add_argument("--task", default="")
    parser.add_argument("--attempt", type=int, default=1)
    parser.add_argument("--resume", default="", help="the session to go on in: it keeps its name")
    parser.add_argument(
        "--run-dir", type=Path, default=None, help="the run's folder; those of other runs lie beside it"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster time passes; 0: no waiting")
    parser.add_argument("--workspace", type=Path, default=Path())
    return parser.parse_args()


def _asked(arguments: argparse.Namespace) -> str:
    task = f", task {arguments.task}" if arguments.task else ""
    return f"role {arguments.role}{task}, attempt {arguments.attempt}"


def _how_to_add(arguments: argparse.Namespace) -> str:
    task = f", task: {arguments.task}" if arguments.task else ""
    return f"add a turn {{role: {arguments.role}{task}}} to it; {HINT}"


def emit(event: str, /, **fields: Any) -> None:
    """Print one event and let it go at once, so that a turn that is killed has said all it did before."""
    _print(json.dumps({"type": event, **fields}, default=str, skipkeys=True))


def _print(text: str) -> None:
    """*text* in UTF-8, whatever the locale says."""
    line = text if text.endswith("\n") else f"{text}\n"
    sys.stdout.buffer.write(line.encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def times_played(run_dir: Path, step: Mapping[str, Any]) -> int:
    """How many runs beside *run_dir* have played *step* to its end; one that was killed is played again instead."""
    count = 0
    for raw in run_dir.parent.glob("*/agent.jsonl"):
        if raw.parent.name == run_dir.name:
            continue
        with raw.open(encoding="utf-8", errors="replace") as lines:
            events = [event for event in map(json_object, lines) if event is not None]
        if events and all(events[0].get(name) == value for name, value in step.items()):
            count += events[-1].get("type") in ("end", "failure")
    return count


def play(turn: Turn, workspace: Path, speed: float = 1.0) -> None:
    """Do what *turn* says, in the order in which the format names it. Raises StepError and OSError."""
    time.sleep(_scaled(turn.delay, speed))
    _say(turn.say, _scaled(turn.type_delay, speed))
    if turn.left_out:
        emit("text", text=f"not in the recording: {', '.join(turn.left_out)}")
    _edit(turn, workspace)
    usage = msgspec.to_builtins(turn.usage)
    if turn.usage != Tokens() or turn.cost_usd is not None:
        emit("usage", usage=usage, cost_usd=turn.cost_usd)
    for line in turn.run:
        _run(line, workspace)
    if turn.raw:
        _print(turn.raw)
    while turn.hang:
        signal.pause()
    if turn.fail is not None:
        wait = turn.fail.reset_in
        scaled = {"reset_in": None if wait is None else _scaled(wait, speed)}
        emit("failure", **msgspec.to_builtins(turn.fail) | scaled)
    elif turn.exit == 0:
        emit("end", closing=turn.closing, usage=usage, cost_usd=turn.cost_usd)


def _scaled(seconds: float, speed: float) -> float:
    return seconds / speed if speed > 0 else 0.0


def _say(text: str, delay: float) -> None:
    if delay <= 0:
        if text:
            emit("text", text=text)
        return
    for line in text.splitlines():
        time.sleep(delay)
        emit("text", text=line)


def _edit(turn: Turn, workspace: Path) -> None:
    for name in turn.clear:
        _delete(_contained(workspace, name, as_link=True))
        emit("file", path=name, action="clear")
    for name, text in turn.files.items():
        _write(_contained(workspace, name), text)
        emit("file", path=name, action="write")
    for name, text in turn.binary.items():
        path = _contained(workspace, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(text, validate=True))
        emit("file", path=name, action="write")
    for name, target in turn.links.items():
        path = _contained(workspace, name, as_link=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete(path)
        path.symlink_to(target)
        emit("file", path=name, action="link")
    for name, mode in turn.modes.items():
        _contained(workspace, name).chmod(int(mode, 8))
        emit("file", path=name, action=f"mode {mode}")
    for name, text in turn.append.items():
        path = _contained(workspace, name)
        _write(path, _read(path) + text)
        emit("file", path=name, action="append")
    for edit in turn.replace:
        _replace(_contained(workspace, edit.path), edit.old, edit.new)
        emit("file", path=edit.path, action="replace")
    for name in turn.delete:
        _delete(_contained(workspace, name))
        emit("file", path=name, action="delete")


def _contained(workspace: Path, name: str, *, as_link: bool = False) -> Path:
    """*name* in the workspace, links of its folders followed. Raises StepError when it leads out of it.

    *as_link*: it is meant itself, wherever it leads, where it is a link.
    """
    root = workspace.resolve()
    path = root / name
    inside = not Path(name).is_absolute() and name not in ("", ".") and "\0" not in name
    if not inside or not (path.parent.resolve() / path.name).is_relative_to(root) or ".." in Path(name).parts:
        raise StepError(f"{name!r} leads out of the workspace", hint="name files relative to it")
    if not as_link and path.is_symlink() and not path.resolve().is_relative_to(root):
        raise StepError(f"{name!r} is a link that leads out of the workspace", hint="name files relative to it")
    return path


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")


def _replace(path: Path, old: str, new: str) -> None:
    text = _read(path)
    if old not in text:
        raise StepError(f"{path} does not hold the text that is to be replaced: {old[:80]!r}", hint="correct the turn")
    _write(path, text.replace(old, new, 1))


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(line: str, workspace: Path) -> None:
    from aiframe.process import capture  # most turns start nothing

    emit("command", command=line)
    done = capture(
        ["/bin/sh", "-c", f"exec 2>&1\n{line}"], cwd=workspace, timeout_s=float("inf"), limit_bytes=OUTPUT_BYTES
    )
    output = (done.out + done.err).decode("utf-8", "replace")
    emit("result", exit_code=done.code, output=output[-OUTPUT_SHOWN:])


if __name__ == "__main__":
    sys.exit(main())
