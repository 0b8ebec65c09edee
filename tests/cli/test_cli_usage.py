"""What a person types wrong, and what the help says: one error, its cure, exit 2, and never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.projects import Bench, Ran, lay_project, task

from aiframe.cli.parser import find, overview, parser_of, split
from aiframe.cli.table import COMMANDS, FIRST, NAMES

HEAVY = ("yaml", "msgspec", "jinja2", "rich", "psutil", "filelock", "watchfiles")
"""Libraries that nobody has to wait for who only wants to be told something."""

OTHER_WAYS = (
    "aiframe.app.attempts.contained", "aiframe.app.attempts.followed", "aiframe.app.jobs", "aiframe.app.lanes",
    "aiframe.process.crew", "aiframe.sandbox.bubblewrap", "aiframe.sandbox.container", "aiframe.sandbox.engine",
    "aiframe.sandbox.worker", "aiframe.workspaces.agent_git", "aiframe.workspaces.clone", "aiframe.workspaces.cloning",
    "aiframe.workspaces.packs", "psutil", "rich", "tomllib", "watchfiles",
)  # fmt: skip
"""What containers, clones, jobs, lanes and sandboxes need, and a step in place without a sandbox does not."""


def run(cwd: Path, *words: str, **env: str) -> Ran:
    return Bench(cwd, env={**os.environ, **env}).run(*words)


def line_after(text: str, beginning: str) -> str:
    return next((line for line in text.splitlines() if line.strip().startswith(beginning)), "")


# Wrong arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says", "cure"),
    [
        pytest.param(["stauts"], "there is no command 'stauts'", "did you mean status", id="mistyped command"),
        pytest.param(["frobnicate"], "there is no command", "aiframe --help", id="no such command at all"),
        pytest.param(["--bogus"], "which command?", "aiframe --help", id="an option alone"),
        pytest.param(["tick", "--projct", "x"], "no option --projct", "did you mean --project", id="mistyped option"),
        pytest.param(["tick", "--no-wiat"], "no option --no-wiat", "did you mean --no-wait", id="mistyped flag"),
        pytest.param(["tick", "--proj", "x"], "no option --proj", "did you mean --project", id="abbreviated option"),
        pytest.param(["tick", "shop"], "'shop' is one word too many", "--project shop", id="project without option"),
        pytest.param(["tick", "--project"], "expected one argument", "aiframe tick --help", id="option without value"),
        pytest.param(["logs", "--task", "-x"], "expected one argument", "is written --task=-VALUE", id="value with -"),
        pytest.param(["tick", "--all", "--project", "x"], "not allowed with", "aiframe tick --help", id="one and all"),
        pytest.param(["status", "--lang", "fr"], "invalid choice: 'fr'", "aiframe status --help", id="language"),
        pytest.param(["status", "--tail", "-1"], "--tail", "aiframe status --help", id="negative number"),
        pytest.param(["status", "--tail", "many"], "'many' is no whole number", "status --help", id="no number"),
        pytest.param(["status", "--watch", "0"], "'0' is no number of seconds", "status --help", id="no time at all"),
        pytest.param(["status", "--watch", "nan"], "'nan' is no number of seconds", "status --help", id="not a number"),
        pytest.param(["watch", "--interval", "x"], "'x' is no number of seconds", "watch --help", id="interval"),
        pytest.param(["watch", "--parallel", "0"], "0 would do nothing", "watch --help", id="no step at once"),
        pytest.param(["schema", "taks"], "invalid choice: 'taks'", "did you mean tasks", id="mistyped schema"),
        pytest.param(["schema"], "required: KIND", "aiframe schema --help", id="schema of what"),
        pytest.param(["reject"], "required: --notes", "aiframe reject --help", id="rejection without notes"),
        pytest.param(["note"], "required: TEXT", "aiframe note --help", id="empty note"),
        pytest.param(["frame"], "required: DIR", "aiframe frame --help", id="frame where"),
        pytest.param(["init", "shop", "--repo", ""], "--repo is empty", "leave --repo out", id="no repository"),
        pytest.param(["init", "shop", "--from="], "--from is empty", "leave --from out", id="no old configuration"),
        pytest.param(["init", "--repo", ".", "--base", ""], "--base is empty", "leave --base out", id="no base"),
        pytest.param(["init", "shop", "--frame", ""], "--frame is empty", "leave --frame out", id="no frame"),
        pytest.param(["plan", "--input", ""], "--input is empty", "name one", id="no plan"),
        pytest.param(["version", "--project", "x"], "no option --project", "version --help", id="option it has not"),
    ],
)
def test_a_wrong_argument_is_told_with_its_cure(tmp_path: Path, words: list[str], says: str, cure: str) -> None:
    ended = run(tmp_path, *words)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert says in ended.err
    assert cure in line_after(ended.err, "cure: ")
    assert "Traceback" not in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says", "cure"),
    [
        pytest.param(["status", "--project", "shp"], "no project 'shp'", "did you mean shop", id="mistyped project"),
        pytest.param(["status", "--project", ""], "no project ''", "name one of shop", id="empty project"),
        pytest.param(["status"], "frame itself", "--project NAME", id="no project named"),
        pytest.param(["tick"], "frame itself", "--all", id="a bare tick in the frame"),
        pytest.param(["tick", "--project", "."], "frame itself", "name one of shop", id="the frame as project"),
        pytest.param(["tick", "--project", "templates"], "no project", "aiframe init", id="a folder that is none"),
        pytest.param(["status", "--frame", "nowhere", "--project", "shop"], "is no frame", "--frame", id="frame"),
        pytest.param(["init", "my-template"], "contains `template`", "try `aiframe init my`", id="name of a template"),
        pytest.param(["init", "../x"], "cannot be a project's name", "try `aiframe init x`", id="name with a slash"),
        pytest.param(["init", "x", "--idea", "none.md"], "no file", "--idea", id="idea that is not there"),
        pytest.param(["init", "x", "--agent", "codx"], "no agent 'codx'", "did you mean 'codex'", id="agent"),
        pytest.param(["logs", "--run", "../x", "--project", "shop"], "no run id", "aiframe events", id="run id"),
        pytest.param(["logs", "--run", "r1", "--project", "shop"], "no log", "aiframe events", id="unknown run"),
        pytest.param(["logs", "--project", "shop"], "no step has run", "aiframe tick", id="no log yet"),
        pytest.param(["set", "timout_sec=5", "--project", "shop"], "no setting", "mean timeout_sec", id="setting"),
        pytest.param(["set", "timeout_sec", "--project", "shop"], "has no value", "timeout_sec=VALUE", id="no value"),
        pytest.param(["set", "timeout_sec=0", "--project", "shop"], "above 0", "aiframe set", id="zero timeout"),
        pytest.param(["set", "timeout_sec=1e9", "--project", "shop"], "above 0", "aiframe set", id="huge timeout"),
        pytest.param(["set", "timeout_sec=nan", "--project", "shop"], "above 0", "aiframe set", id="nan timeout"),
        pytest.param(["set", "plan_locked=maybe", "--project", "shop"], "true or false", "aiframe set", id="flag"),
        pytest.param(["set", "review_every_n_tasks=-1", "--project", "shop"], "whole number", "=5", id="count"),
        pytest.param(["retry", "T9", "--project", "shop"], "no task T9", "known tasks", id="unknown task"),
        pytest.param(["answer", "Q7", "yes", "--project", "shop"], "no open question Q7", "none", id="question"),
        pytest.param(["answer", "Q7", "--project", "shop"], "no answer to Q7", "aiframe answer Q7", id="no answer"),
        pytest.param(["answer", "Q7", "--done", "--project", "shop"], "no single question", "--done", id="two wishes"),
        pytest.param(["note", "  ", "--project", "shop"], "is empty", "quotes", id="blank note"),
        pytest.param(["approve", "--project", "shop"], "no review waits", "aiframe why", id="nothing to approve"),
        pytest.param(["reject", "--notes", "x", "--project", "shop"], "no review waits", "why", id="nor to reject"),
        pytest.param(["resume", "--project", "shop"], "nothing to resume", "aiframe why", id="nothing to resume"),
        pytest.param(["accept", "--project", "shop"], "no change to TASKS.yaml", "edit TASKS.yaml", id="no offer"),
        pytest.param(["accept", "--diff", "--project", "shop"], "no change", "edit TASKS.yaml", id="no difference"),
        pytest.param(["accept", "--discard", "--project", "shop"], "no change", "edit", id="nothing to drop"),
    ],
)
def test_what_is_not_there_or_does_not_fit(a_frame: Path, words: list[str], says: str, cure: str) -> None:
    before = {path: path.read_bytes() for path in a_frame.rglob("*") if path.is_file() and ".git" not in path.parts}
    ended = run(a_frame, *words)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert says in ended.err
    assert cure in line_after(ended.err, "cure: ")
    assert "Traceback" not in ended.err
    after = {path: path.read_bytes() for path in a_frame.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert after == before


@pytest.fixture(scope="module")
def laid_frame(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame with the project shop in it, which waits for nothing but a tick."""
    folder = tmp_path_factory.mktemp("laid")
    assert run(folder, "frame", str(folder / "frame")).code == 0
    assert run(folder / "frame", "init", "shop", "--agent", "scripted").code == 0
    return folder / "frame"


@pytest.fixture
def a_frame(laid_frame: Path, tmp_path: Path) -> Path:
    """A copy of it, to do with as one likes."""
    return Path(shutil.copytree(laid_frame, tmp_path / "frame", symlinks=True))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        pytest.param("STATUS_LANG", "fr_FR", "STATUS_LANG is 'fr_FR'", id="language"),
        pytest.param("STATUS_TAIL", "all", "STATUS_TAIL", id="tail"),
        pytest.param("AIFRAME_FRAME", "/nowhere/at/all", "AIFRAME_FRAME", id="frame"),
        pytest.param("DEV_CHAIN_LIMIT", "x", "DEV_CHAIN_LIMIT", id="chain limit"),
    ],
)
def test_a_wrong_variable_is_named(a_frame: Path, variable: str, value: str, says: str) -> None:
    command = "why" if variable == "DEV_CHAIN_LIMIT" else "status"
    ended = run(a_frame, command, "--project", "shop", **{variable: value})
    assert ended.code == 2
    assert says in ended.err
    assert "cure: " in ended.err


def test_every_mistake_of_a_file_is_told_at_once_with_its_line(a_frame: Path) -> None:
    project = a_frame / "projects" / "shop"
    (project / "TASKS.yaml").write_text("tasks:\n  - id: a b\n    title: x\n  - id: T2\n    status: dunno\n")
    ended = run(project, "why")
    assert ended.code == 2
    assert "TASKS.yaml:2" in ended.err
    assert "TASKS.yaml:5" in ended.err
    assert ended.err.count("error: ") >= 2
    assert "cure: " in ended.err


def test_words_that_are_no_text_are_refused(a_frame: Path) -> None:
    words = ["-m", "aiframe", "note", os.fsdecode(b"caf\xe9"), "--project", "shop"]
    argv = [sys.executable, *words]
    ended = subprocess.run(argv, cwd=a_frame, capture_output=True, check=False)
    assert ended.returncode == 2
    assert b"is no UTF-8 text" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_control_characters_in_an_argument_do_not_reach_the_terminal(tmp_path: Path) -> None:
    ended = run(tmp_path, "status", "--project", "a\x1b[2Jb")
    assert ended.code == 2
    assert "\x1b" not in ended.err


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -m aiframe status'
    ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "the current folder is gone" in ended.stderr


# Faults of our own ----------------------------------------------------------------------------------------------------

_FAULTY = (
    "import sys, aiframe.cli.looking as looking\n"
    "def version(args): raise ZeroDivisionError('one\\ntwo')\n"
    "looking.version = version\n"
    "from aiframe.cli.main import run\n"
    "sys.exit(run(['version']))\n"
)


def _fault(tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "TMPDIR": str(tmp_path), **env}
    return subprocess.run([sys.executable, "-c", _FAULTY], env=environ, capture_output=True, text=True, check=False)


def test_a_fault_is_one_line_and_the_rest_is_in_a_file(tmp_path: Path) -> None:
    ended = _fault(tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: aiframe has a fault: ZeroDivisionError: one two\n  cure: ")
    (details,) = tmp_path.glob("aiframe-error-*.txt")
    assert str(details) in ended.stderr
    assert "Traceback" in details.read_text()


def test_with_debug_a_fault_shows_everything(tmp_path: Path) -> None:
    ended = _fault(tmp_path, AIFRAME_DEBUG="1")
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr
    assert list(tmp_path.iterdir()) == []


# Help -----------------------------------------------------------------------------------------------------------------


def test_the_overview_has_every_command_and_the_first_five_first() -> None:
    text = overview()
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert tuple(listed[:5]) == FIRST == ("init", "tick", "watch", "status", "answer")
    assert sorted(listed) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]], ids=["bare", "long", "short", "word"])
def test_asking_for_help_is_no_error(tmp_path: Path, words: list[str]) -> None:
    ended = run(tmp_path, *words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == overview() + "\n"


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_the_help_of_every_command_has_an_example_that_is_right(command: object) -> None:
    import shlex

    from aiframe.cli.parser import parse
    from aiframe.cli.table import Command

    assert isinstance(command, Command)
    text = parser_of(command).format_help()
    assert "example" in text
    for example in command.examples:
        assert example in text
        name, words = split(shlex.split(example)[1:])
        parse(find(name), words)


def test_help_of_one_command_is_printed(tmp_path: Path) -> None:
    asked = [run(tmp_path, "tick", "--help"), run(tmp_path, "help", "tick")]
    assert [ended.code for ended in asked] == [0, 0]
    assert asked[0].out == asked[1].out
    assert "aiframe tick --all --no-wait" in asked[0].out


def test_version(tmp_path: Path) -> None:
    import aiframe

    assert run(tmp_path, "version").out == run(tmp_path, "--version").out == f"aiframe {aiframe.__version__}\n"


# The words may come in any order --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["status", "--project", "shop"], id="behind"),
        pytest.param(["--project", "shop", "status"], id="before"),
        pytest.param(["--project", "projects/shop", "status"], id="path"),
        pytest.param(["status", "--project=shop"], id="with an equals sign"),
    ],
)
def test_the_project_may_be_named_before_or_behind(a_frame: Path, words: list[str]) -> None:
    ended = run(a_frame, *words)
    assert ended.code == 0
    assert str(a_frame / "projects" / "shop") in ended.out


def test_options_may_stand_between_words(a_frame: Path) -> None:
    assert run(a_frame, "note", "use", "--project", "shop", "tabs").code == 0
    assert "use tabs" in (a_frame / "projects/shop/notes/interaction_notes.md").read_text()


def test_words_behind_two_dashes_are_no_options(a_frame: Path) -> None:
    assert run(a_frame, "note", "--project", "shop", "--", "--all is a bad name").code == 0
    assert "--all is a bad name" in (a_frame / "projects/shop/notes/interaction_notes.md").read_text()


def test_inside_a_project_nothing_has_to_be_named(tmp_path: Path) -> None:
    bench = lay_project(tmp_path)
    (bench.root / "src" / "deep").mkdir(parents=True)
    assert bench.run("status", cwd=bench.root / "src" / "deep").code == 0


# Speed ----------------------------------------------------------------------------------------------------------------


def _imported(cwd: Path, *words: str) -> set[str]:
    argv = [sys.executable, "-X", "importtime", "-m", "aiframe", *words]
    ended = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    names = (line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:"))
    return set(names)


@pytest.mark.parametrize("words", [["--help"], ["tick", "--help"], ["stauts"], ["version"]], ids=" ".join)
def test_help_and_mistakes_import_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    imported = _imported(tmp_path, *words)
    assert "aiframe.cli.main" in imported
    assert {name.partition(".")[0] for name in imported}.isdisjoint(HEAVY)


def test_a_tick_with_nothing_to_do_imports_nothing_heavy(a_frame: Path) -> None:
    bench = Bench(a_frame / "projects" / "shop")
    assert bench.do("pause").code == 0
    time.sleep(0.2)  # a file that is too fresh is not trusted
    assert bench.tick().code == 0
    imported = _imported(bench.root, "tick")
    assert "aiframe.idle" in imported
    assert imported.isdisjoint({"argparse", "json", "pathlib", "aiframe.cli.main"})
    assert {name.partition(".")[0] for name in imported}.isdisjoint(HEAVY)


def test_a_step_in_place_loads_nothing_of_other_ways_to_work(tmp_path: Path) -> None:
    line = "/bin/sh -c 'echo made > made.txt'"
    bench = lay_project(tmp_path, task("T1", "test -s made.txt"), agent={"name": "command", "line": line})
    said = bench.tick(PYTHONPROFILEIMPORTTIME="1").err + (bench.control_dir / "runner.log").read_text()
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
    assert bench.statuses() == {"T1": "done"}
    assert "aiframe.app.steps" in imported
    assert sorted(name for name in imported if name.startswith(OTHER_WAYS)) == []
