"""What a person sees at a terminal while a tick or a run waits: a row for each task, and nothing out of place."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.projects import Bench, dev, git, lay_project, task
from support.terminal import Terminal

from aiframe.app.project.steplines import STAGES
from aiframe.app.reports.rows import Picture, Row
from aiframe.cli.board import lines_of, width_of
from aiframe.cli.screen import Live

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Seen:
    """A program at a terminal, and what is on the screen."""

    def __init__(self, child: pexpect.spawn[str], columns: int) -> None:
        self.child = child
        self.terminal = Terminal(columns)

    def wait_for(self, condition: Callable[[str], Any], what: str, seconds: float = 60) -> str:
        """Read on until the screen is as *condition* wants it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition(self.terminal.text):
                return self.terminal.text
            try:
                self.terminal.feed(self.child.read_nonblocking(65536, 0.2))
            except pexpect.TIMEOUT:
                pass
            except pexpect.EOF:
                break
        assert condition(self.terminal.text), f"{what} did not come; the screen:\n{self.terminal.text}"
        return self.terminal.text

    def end(self) -> str:
        """What is left on the screen at the end."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self.terminal.feed(self.child.read_nonblocking(65536, 0.2))
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                break
        self.child.close()
        return self.terminal.text


@contextmanager
def at_terminal(bench: Bench, *words: str, columns: int = 110, **env: str) -> Iterator[Seen]:
    """``aiframe WORDS`` at a terminal."""
    child = pexpect.spawn(
        sys.executable, bench.argv(*words)[1:], cwd=str(bench.root), dimensions=(30, columns), encoding="utf-8",
        env={**bench.env, "TERM": "xterm-256color", "LANG": "C.UTF-8", **env}, codec_errors="replace",
    )  # fmt: skip
    try:
        yield Seen(child, columns)
    finally:
        child.close(force=True)


def lay(folder: Path, *tasks: dict[str, Any], until: bool = True) -> Bench:
    """Tasks side by side, whose agents end when a file ``go`` is there."""
    repo = folder / "app"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main")
    git(repo, "commit", "-q", "--allow-empty", "-m", "first")
    wait = f"while [ ! -e {folder}/go ]; do sleep 0.1; done"
    turns = [
        dev(each["id"], say="\x1b[2J計畫 \x9b5A\u202eI begin", run=[wait] if until else [],
            usage={"input_tokens": 12_000, "output_tokens": 345}, cost_usd=0.5)
        for each in tasks
    ]  # fmt: skip
    more = {"workspace": {"kind": "worktree", "repo": str(repo)}, "parallel": 2}
    bench = lay_project(folder, *tasks, turns=turns, settings=more)
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return Bench(bench.root, {**env, "XDG_STATE_HOME": str(folder / "state")})


def test_a_run_shows_a_row_for_each_task_and_leaves_plain_lines(tmp_path: Path) -> None:
    bench = lay(tmp_path, task("T1", "true", title="添加登录页面"), task("T2", "true"), task("T3", "true"))
    with at_terminal(bench, "run") as seen:
        shown = seen.wait_for(lambda text: text.count("while [ ! -e") == 2, "two agents at work")
        head, waits, first, second = shown.splitlines()[-4:]
        assert head.startswith("shop  DEV_READY  0/3 done  spent 24.7k tokens, $1.00")
        assert waits == "T3 waits for a slot"
        assert re.match(r"T1  添加登录页面 +build  scripted  0:00:\d\d  12\.3k  \$0\.50  \$ while", first)
        assert second.startswith("T2  Task T2 ")
        assert shown.splitlines()[:2] == ["T1 begins (scripted)", "T2 begins (scripted)"]
        assert seen.terminal.colours
        (tmp_path / "go").touch()
        left = seen.end().splitlines()
    assert seen.child.exitstatus == 0
    assert seen.terminal.strange == []
    assert left[:2] == ["T1 begins (scripted)", "T2 begins (scripted)"]
    assert {"T1 is done", "T2 is done", "T3 is done", "Done: no task is open"} <= set(left)
    assert not [line for line in left if "─" in line or "scripted  " in line], "the board is gone"


def test_ctrl_c_leaves_all_steps_and_a_second_one_stops_them(tmp_path: Path) -> None:
    bench = lay(tmp_path, task("T1", "true"), task("T2", "true"))
    with at_terminal(bench, "run", columns=60, NO_COLOR="1") as seen:
        shown = seen.wait_for(lambda text: text.count("while [ ! -e") == 2, "two agents at work")
        assert [line.split()[:2] for line in shown.splitlines()[-2:]] == [["T1", "build"], ["T2", "build"]]
        assert max(map(width_of, shown.splitlines())) < 60
        seen.child.sendintr()
        said = seen.wait_for(lambda text: "Ctrl-C once more" in text, "the way back")
        assert "detached: 2 steps go on; `aiframe run` takes them up again" in said
        assert len(list(bench.root.glob("lanes/*/.agent_lock"))) == 2, "they do"
        seen.child.sendintr()
        assert "T1, T2 stopped" in seen.end()
    assert seen.child.exitstatus == 130
    assert seen.terminal.colours == 0
    assert bench.where == "PAUSED"


def test_one_step_is_shown_with_what_it_says_above_its_row(tmp_path: Path) -> None:
    flood = "for i in $(seq 300); do echo line $i; sleep 0.005; done"
    line = f"echo one; echo two; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; {flood}; touch made"
    agent = {"name": "command", "argv": ["/bin/sh", "-c", line]}
    bench = lay_project(tmp_path, task("T1", "true"), agent=agent)
    with at_terminal(bench, "tick", columns=300) as seen:
        shown = seen.wait_for(lambda text: "  two" in text.partition("─")[2], "the row")
        above, _, below = shown.partition("─")
        assert above.splitlines()[0].startswith("== DEV task T1 attempt 1")
        assert above.splitlines()[1:3] == ["one", "two"]
        assert "shop  RUNNING  0/1 done" in below
        began, before = time.monotonic(), seen.terminal.pictures
        (tmp_path / "go").touch()
        left = seen.end()
        took = time.monotonic() - began
    assert "line 300" in left
    assert "Done: no task is open" in left
    assert "─" not in left
    assert seen.terminal.pictures - before <= 4 * took + 2, "no more than four pictures a second"
    assert left.splitlines()[: len(bench.log().splitlines())] == bench.log().splitlines()


@pytest.mark.parametrize("terminal", [True, False], ids=["dumb terminal", "pipe"])
def test_elsewhere_lines_are_plain(tmp_path: Path, terminal: bool) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", say="hello")])
    if terminal:
        with at_terminal(bench, "run", TERM="dumb") as seen:
            seen.wait_for(lambda text: "Done" in text, "the end")
            assert (seen.terminal.pictures, seen.terminal.colours, seen.terminal.strange) == (0, 0, [])
            assert "─" not in seen.terminal.text
    else:
        said = bench.do("run").said
        assert "\x1b" not in said
        assert "hello" in said


# The lines themselves -------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=80) | st.sampled_from(["添加登录页面" * 9, "\x1b[31mred", "a\tb\r\nc", "\u202eabc", "x" * 300])
ROWS = st.builds(
    Row, task=TEXTS, place=st.just("/"), title=TEXTS, stage=st.sampled_from(["", *STAGES]), agent=TEXTS,
    since=st.none() | st.floats(0, 2e9), tokens=st.none() | st.integers(0, 10**13),
    cost_usd=st.none() | st.floats(0, 1e6), last_line=TEXTS, waits_for=TEXTS,
)  # fmt: skip


@given(rows=st.lists(ROWS, max_size=6), width=st.integers(1, 160), height=st.integers(1, 12), colour=st.booleans())
@settings(deadline=None, max_examples=80)
def test_no_line_is_too_wide_and_none_has_a_control_code(
    rows: list[Row], width: int, height: int, colour: bool
) -> None:
    picture = Picture("shop", "DEV_READY", 1, 9, 12, 0.5, tuple(rows), ("T9 waits for a slot",))
    lines = lines_of(picture, 1e9, width, height, colour=colour)
    assert 1 <= len(lines) <= height
    assert max(map(width_of, lines)) <= max(width, 8)
    bare = "".join(COLOUR.sub("", line) if colour else line for line in lines)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", bare)


@pytest.mark.parametrize(
    ("width", "told"),
    [
        pytest.param(120, "T1  Fix the search  waiting to land  codex  0:01:05  15.7k  $0.25  passed", id="wide"),
        pytest.param(80, "T1  waiting to land  codex  0:01:05  15.7k  $0.25  passed", id="80"),
        pytest.param(60, "T1  waiting to land  0:01:05  15.7k  passed", id="60"),
        pytest.param(30, "T1  waiting to land  0:01:05 …", id="30"),
    ],
)
def test_what_matters_stays_on_a_narrow_terminal(width: int, told: str) -> None:
    row = Row("T1", "/", "Fix the search", stage="wait_to_land", agent="codex", since=35.0, tokens=15_745,
              cost_usd=0.25, last_line="passed")  # fmt: skip
    picture = Picture("shop", "DEV_READY", 1, 4, None, None, (row,))
    assert lines_of(picture, 100.0, width, 9, colour=False)[1:] == ["shop  DEV_READY  1/4 done", told]


def test_more_rows_than_lines_are_counted() -> None:
    rows = tuple(Row(f"T{number}", "/") for number in range(20))
    lines = lines_of(Picture("shop", "DEV_READY", 0, 20, None, None, rows), 0.0, 60, 6, colour=False)
    assert len(lines) == 6
    assert lines[-1] == "and 17 more"


class Page:
    """A stream that shows what is written on a terminal of so many columns."""

    def __init__(self, columns: int) -> None:
        self.terminal = Terminal(columns)

    def write(self, text: str) -> int:
        self.terminal.feed(text)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("it has none")


def test_what_is_said_scrolls_by_above_lines_that_grow_and_shrink() -> None:
    page: Any = Page(80)
    pictures = iter([["a", "b", "c"], ["d"], ["e", "f"], []])
    current: list[str] = []

    def draw(columns: int, height: int) -> list[str]:
        assert (columns, height) == (79, 23)
        return current

    with Live(draw, width_of, page) as live:
        for number, current in enumerate(pictures, start=1):
            live.say(f"line {number}")
            time.sleep(0.26)
            live.glance()
            live.glance()
            expected = [*(f"line {n}" for n in range(1, number + 1)), *current]
            assert page.terminal.screen.split("\n") == expected
        live.say("the last")
    assert page.terminal.screen.split("\n")[-2:] == ["line 4", "the last"]
    assert page.terminal.strange == []
