"""The whole pipeline on a sample idea: the real commands, files, checks and commits, and an agent that is scripted.

It does what a person would do, with the commands a person would type, and shows both.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

import aiframe
from aiframe.agents.probe import describe
from aiframe.app.making.frame import find_frame, lay_frame
from aiframe.app.making.init import init_project
from aiframe.app.project.intake import parse_answers, parse_questions
from aiframe.app.project.observe import read_text
from aiframe.app.project.resources import template_text
from aiframe.core.errors import StepError, UsageError
from aiframe.core.model import State
from aiframe.process import capture, now
from aiframe.store.atomic import write_durable
from aiframe.store.layout import Layout
from aiframe.store.project_store import ProjectStore

NAME = "tally"
SCRIPT = "demo-script.yaml"
INSTALLER = "tools/install_aiframe.sh"
"""By this file a clone of aiframe is known, where `make install` works."""

PRODUCT = ("-m", "tally", "samples/shop.log")
MAX_TICKS = 30
BUDGET_S = 180.0
"""When to give up; a machine that is not busy needs less than a third of a minute."""

_LOOK_S = 0.05
_COMMAND_S = 90.0
_FOREIGN = ("AIFRAME_FRAME", "AIFRAME_UNATTENDED", "DEV_CHAIN_LIMIT", "STATUS_LANG", "STATUS_TAIL", "PYTHONPATH")
_SETTINGS = """\
# The demo's settings. The agent plays the file {script}: look into it, and see what you get when you change it.
agent: {{name: scripted, file: ../../{script}}}
# The verify commands of the demo come with aiframe and are run without a sandbox.
sandbox: none
limits:
  stall_sec: 2  # silence that makes a step count as hung: the script has one such step
"""


class _Stage(Struct, frozen=True):
    """Where the demo plays. *cwd* is the frame, *project* the project's path from there."""

    frame: Path
    project: Path
    environ: Mapping[str, str]
    out: Callable[[str], None]

    @property
    def place(self) -> str:
        return f"projects/{self.project.name}"

    def state(self) -> str:
        """Where the project stands."""
        return str(ProjectStore(Layout(self.project)).load(tolerate_unreadable=True).project.state)

    def runs(self) -> int:
        """How many steps there have been."""
        return len(list(Layout(self.project).logs.glob("tick-*.log")))


def run_demo(
    target: Path | None, environ: Mapping[str, str], out: Callable[[str], None], cwd: Path | None = None
) -> int:
    """Play the demo in a new frame at *target* (default: a temporary folder, which stays); 0 when it reached DONE.

    *out* prints one line. *cwd* is where the person is. Raises AiframeError where it cannot even begin.
    """
    here = cwd or Path.cwd()
    started = time.monotonic()
    stage = _set_up(here / target if target else None, environ, out)
    try:
        _play(stage, started + BUDGET_S)
        _show_result(stage)
    except StepError as error:
        out("")
        out(f"The demo did not get to its end: {error.message}")
        out(f"  {error.hint}" if error.hint else f"  everything it did is in {stage.project}")
        return error.exit_code
    out("")
    out(f"That took {time.monotonic() - started:.0f} s. All of it is here; look at TASKS.yaml, logs/ and `git log -p`:")
    _show(out, str(stage.project))
    _say_what_next(here, environ, out)
    return 0


# Before


def _set_up(target: Path | None, environ: Mapping[str, str], out: Callable[[str], None]) -> _Stage:
    """A frame with the project in it, for the scripted agent."""
    root = target or Path(tempfile.mkdtemp(prefix="aiframe-demo-"))
    if target and target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target} is not empty", hint="name a new folder for the demo")
    out("aiframe demo: an idea becomes a small program. The agent in it is scripted: it plays recorded turns. All else")
    out("is real: the files, the processes, the checks, the commits. Two things go wrong on purpose, and are mended.")
    frame = lay_frame(root).root
    write_durable(frame / "idea.md", template_text("demo/idea.md"))
    write_durable(frame / SCRIPT, template_text("demo/scripted.yaml"))
    _caption(out, "The idea")
    _show(out, template_text("demo/idea.md"))
    _caption(out, "A project for it")
    out(f"$ aiframe init {NAME} --idea idea.md --agent scripted")
    report = init_project(
        frame, NAME, idea=frame / "idea.md", agent="scripted", clock=now(), cwd=frame, environ=environ
    )
    write_durable(report.path / "PROJECT.yaml", _SETTINGS.format(script=SCRIPT))
    _show(out, f"{report.path}, with these settings in PROJECT.yaml:")
    _show(out, (report.path / "PROJECT.yaml").read_text(encoding="utf-8"), indent=6)
    return _Stage(frame, report.path, _child_environment(environ), out)


def _child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the commands get: nothing that would change the play, and this very aiframe, installed or not."""
    child = {name: value for name, value in environ.items() if name not in _FOREIGN}
    package = Path(aiframe.__file__).resolve().parent.parent
    if not {"site-packages", "dist-packages"} & set(package.parts):
        child["PYTHONPATH"] = str(package)
    return child | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": environ.get("COLUMNS", "100")}


# The play


def _play(stage: _Stage, deadline: float) -> None:
    """Do what a person does, until the project is done. Raises StepError where it does not get there."""
    for _ in range(MAX_TICKS):
        state = stage.state()
        if state == State.DONE:
            return
        if time.monotonic() > deadline:
            raise StepError(
                f"after {BUDGET_S:.0f} s it was in {state}", hint="try it again when the machine is less busy"
            )
        match state:
            case State.INTAKE_WAITING:
                _answer(stage)
                _tick(stage)
            case State.REVIEW_WAITING:
                _caption(stage.out, "A review: you look at what was done, and say yes")
                _command(stage, "approve")
                if stage.state() == state:  # noted down; the next tick reads it
                    _tick(stage)
            case State.INTAKE_READY | State.SPEC_READY | State.DEV_READY | State.DIAGNOSE_READY | State.REVIEW_READY:
                _caption(stage.out, _CAPTIONS[State(state)])
                _tick(stage)
            case _:
                _live(stage, ["why", "--project", stage.place])
                raise StepError(f"it is in {state}", hint=f"the logs are in {stage.project / 'logs'}")
    raise StepError(f"{MAX_TICKS} ticks were not enough; it is in {stage.state()}")


_CAPTIONS = {
    State.INTAKE_READY: "The interview: INTAKE reads the idea and asks what it needs to know",
    State.SPEC_READY: "The plan: PO splits the specification into tasks with checks",
    State.DEV_READY: "The work: DEV implements, aiframe runs the checks and commits",
    State.DIAGNOSE_READY: "A step hung and was ended. DIAGNOSE finds out why, before it is tried again",
    State.REVIEW_READY: "A review is due",
}


def _answer(stage: _Stage) -> None:
    """Fill in the form the way a person does in an editor."""
    layout = Layout(stage.project)
    _caption(stage.out, "The answers: you write them, at your leisure")
    stage.out(f"$ $EDITOR {stage.place}/INTAKE_ANSWERS.md")
    form = template_text("demo/INTAKE_ANSWERS.md")
    questions = parse_questions(read_text(layout.questions))
    answers = parse_answers(form, questions).answers
    for question in questions:
        _show(stage.out, f"{question.id} {question.title or question.text}")
        _show(stage.out, f"-> {answers.get(question.id, '')}", indent=7)
    write_durable(layout.answers, form)


def _tick(stage: _Stage) -> None:
    """One tick. A step that failed (1) is a part of the play; raises StepError for a tick that took no step."""
    before = stage.runs()
    stage.out(f"$ aiframe tick --project {stage.place}")
    code = _live(stage, ["tick", "--project", stage.place])
    if code not in (0, 1) or (code and stage.runs() == before):
        raise StepError(f"`aiframe tick` ended with {code} in {stage.state()}")


def _command(stage: _Stage, *words: str) -> None:
    argv = [*words, "--project", stage.place]
    stage.out(f"$ aiframe {shlex.join(argv)}")
    code = _live(stage, argv)
    if code:
        raise StepError(f"`aiframe {words[0]}` ended with {code}")


# Showing


def _caption(out: Callable[[str], None], text: str) -> None:
    out("")
    out(f"--- {text}")


def _show(out: Callable[[str], None], text: str, indent: int = 4) -> None:
    for line in text.strip("\n").split("\n"):
        out(f"{' ' * indent}{line}".rstrip())


def _live(stage: _Stage, argv: Sequence[str]) -> int:
    """Run an aiframe command in the frame and show each line as soon as it is there; its exit status."""
    with tempfile.TemporaryDirectory(prefix="aiframe-demo-") as folder, ThreadPoolExecutor(1) as executor:
        heard = Path(folder) / "heard"
        heard.touch()
        # Through a file: a pipe would end with this command, and a runner may still be writing to its own.
        shell = ["sh", "-c", 'exec "$@" >"$0" 2>&1', str(heard), sys.executable, "-m", "aiframe", *argv]
        running = executor.submit(capture, shell, cwd=stage.frame, env=stage.environ, timeout_s=_COMMAND_S)
        with _follow(heard, stage.out) as show_new:
            while not running.done():
                show_new()
                time.sleep(_LOOK_S)
        return running.result().code


@contextmanager
def _follow(path: Path, out: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """A function that shows the whole lines that *path* has gained; at the end of the block the rest is shown."""
    with path.open(encoding="utf-8", errors="replace") as file:
        partial = ""

        def show_new() -> None:
            nonlocal partial
            *lines, partial = (partial + file.read()).split("\n")
            for line in lines:
                _show(out, line)

        yield show_new
        show_new()
        if partial:
            _show(out, partial)


def _show_result(stage: _Stage) -> None:
    """Where the project stands, its commits, and the product running. Raises StepError where that fails."""
    _caption(stage.out, "Where it stands")
    _command(stage, "status", "--tail", "6")
    _caption(stage.out, "What was committed")
    _outside(stage, "git log --oneline", ["git", "log", "--oneline", "--no-decorate", "--no-color"])
    _caption(stage.out, "What came of the idea")
    _outside(stage, f"python3 {shlex.join(PRODUCT)}", [sys.executable, "-B", *PRODUCT])


def _outside(stage: _Stage, shown: str, argv: Sequence[str]) -> None:
    """Run another command than aiframe in the project and show what it prints."""
    stage.out(f"$ {shown}")
    done = capture(argv, cwd=stage.project, env=stage.environ, timeout_s=_COMMAND_S)
    _show(stage.out, (done.out + done.err).decode("utf-8", "replace"))
    if done.code:
        raise StepError(f"`{shown}` ended with {done.code}")


# After


def _say_what_next(here: Path, environ: Mapping[str, str], out: Callable[[str], None]) -> None:
    out("")
    out("The agent was scripted: nothing was asked of a model, and nothing was sent anywhere.")
    out("The same with codex, on an idea of your own, which you write into idea.md:")
    out("")
    for command in next_commands(here, environ):
        out(f"    {command}")


def next_commands(here: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What to type at *here* to do the same with codex: with what this machine still needs, and no more."""
    path = environ.get("PATH", os.defpath)
    commands, program = [], "aiframe"
    if shutil.which("codex", path=path) is None:
        codex = describe("codex")
        commands += [codex.how_to_install.split(" (")[0], codex.how_to_log_in.split(",")[0]]
    if shutil.which(program, path=path) is None:
        if (here / INSTALLER).is_file():
            commands.append("make install")
        else:
            program = f"{shlex.quote(sys.executable)} -m aiframe"
    try:
        find_frame(None, environ, here)
    except UsageError:
        commands.append(f"{program} frame my-frame && cd my-frame")
    return (
        *commands,
        f"{program} init my-project --idea idea.md",
        f"{program} tick --project projects/my-project",
        "$EDITOR projects/my-project/INTAKE_ANSWERS.md",
        f"{program} watch --project projects/my-project",
    )
