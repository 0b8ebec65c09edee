"""Real watchers around the real command: the system comes to rest, no step is ended, no word of a person is missed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.chaos import AIFRAME, Ground, check_books, check_whole, dev_turn, ground, one_task_plan, wait_until
from support.needs import require

from aiframe.core.model import State
from aiframe.store.journal import read_events
from aiframe.store.locks import is_run_locked

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the watchers' options are Linux's")

REST_S = 3.0
"""For how long nothing may happen before we call it rest."""

ORIGINAL = "ls SPEC.md TASKS.yaml STATE.json | entr -nr {tick}"
ENTR_NR = "ls SPEC.md TASKS.yaml STATE.json INTAKE_ANSWERS.md notes/*.md | entr -nr {tick}"
ENTR_NA = "ls SPEC.md TASKS.yaml STATE.json INTAKE_ANSWERS.md notes/*.md | entr -na {tick}"
ENTR_LOOP = "while sleep 1; do ls -d *.md *.json *.yaml notes/* | entr -dnr {tick}; done"
FSWATCH = (
    "fswatch -o --event Created --event Updated --event Removed --event Renamed --event MovedTo . notes |"
    " while read -r _; do {tick} --no-wait; done"
)
LINES = {"original": ORIGINAL, "entr -nr": ENTR_NR, "entr -na": ENTR_NA, "entr loop": ENTR_LOOP, "fswatch": FSWATCH}
TIMER = "while true; do {tick} --no-wait; sleep 2; done"
"""The documented timer, with a shorter pause."""

QUESTIONS = "# Questions\n\n## Q1 Colour\n\nWhich colour?\n"
ANSWERED = "## Q1\n\nBlue.\n"


def interview_turns(seconds: float) -> list[dict[str, object]]:
    """INTAKE asks, then goes on; PO plans one task; DEV takes *seconds*."""
    done: dict[str, object] = {"closing": {"summary": "Did it."}}
    asks: dict[str, object] = {"role": "INTAKE", "attempt": 1, "files": {"INTAKE_QUESTIONS.md": QUESTIONS}}
    goes_on: dict[str, object] = {"role": "INTAKE", "files": {"SPEC.md": "# Goal\n\nBlue.\n"}}
    plan: dict[str, object] = {"role": "PO", "files": {"TASKS.yaml": one_task_plan()}}
    return [asks | done, goes_on | done, plan | done, dev_turn("T1", seconds=seconds)]


def wrapper(site: Ground) -> Path:
    """`aiframe tick` as a command of its own, that counts its starts in the file ``ticks`` beside the project."""
    script = site.root.parent / "tick"
    line = shlex.join([*AIFRAME, "tick", "--project", str(site.root)])
    script.write_text(f'#!/bin/sh\necho x >>{shlex.quote(str(script))}.count\nexec {line} "$@"\n')
    script.chmod(0o755)
    return script


def ticks(site: Ground) -> int:
    """How often the wrapper was started."""
    count = site.root.parent / "tick.count"
    return len(count.read_bytes().split()) if count.exists() else 0


@contextmanager
def watching(site: Ground, *lines: str) -> Iterator[None]:
    """Run the watcher *lines* in the project's folder."""
    tick = shlex.quote(str(wrapper(site)))
    started = [_start(site, line.format(tick=tick)) for line in lines]
    try:
        time.sleep(0.5)  # until the watcher looks
        yield
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)


def _start(site: Ground, line: str) -> subprocess.Popen[bytes]:
    null = subprocess.DEVNULL
    argv = ["/bin/sh", "-c", line]
    return subprocess.Popen(
        argv, cwd=site.root, env=dict(site.environ), stdin=null, stdout=null, stderr=null, start_new_session=True
    )


def is_in(site: Ground, state: State) -> Callable[[], bool]:
    """Whether the project has come to *state*."""
    return lambda: site.project.state is state


def at_rest(site: Ground) -> Callable[[], bool]:
    """Whether nothing is started and nothing is written for REST_S."""

    def looks() -> tuple[int, float, float, int]:
        files = (site.layout.state_json, site.layout.tasks_yaml)
        times = [file.stat().st_mtime for file in files]
        return ticks(site), times[0], times[1], len(list(read_events(site.layout)))

    def check() -> bool:
        before = looks()
        time.sleep(REST_S)
        return looks() == before

    return check


def save(path: Path, text: str) -> None:
    """Save *path* the way an editor does."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_f25_the_system_comes_to_rest_after_the_last_change(line: str, tmp_path: Path) -> None:
    require("fswatch" if "fswatch" in line else "entr")
    turn = dev_turn("T1", seconds=0.2) | {"delay": 0}
    with ground(tmp_path, state={"state": "DEV_READY"}, turns=[turn], plan=one_task_plan()) as site:
        save(site.layout.answers, "\n")
        save(site.layout.interaction_notes, "- a note\n")
        with watching(site, line):
            save(site.layout.spec, "# Goal\n\nOne part.\n")
            wait_until(is_in(site, State.DONE), 30, "the project is done")
            wait_until(at_rest(site), 15, "the system comes to rest")
            check_books(site)
            settled = ticks(site)
            save(site.layout.spec, "# Goal\n\nOne part, changed.\n")
            wait_until(lambda: ticks(site) > settled, 10, "the watcher still looks")
            wait_until(at_rest(site), 15, "the system comes to rest again")
            assert ticks(site) < 40
        assert site.calls == ["T1"]


def test_f25_entr_in_mid_step_does_not_end_the_step(tmp_path: Path) -> None:
    require("entr")
    turn = dev_turn("T1", seconds=3) | {"delay": 0}
    with ground(tmp_path, state={"state": "DEV_READY"}, turns=[turn], plan=one_task_plan()) as site:
        with watching(site, ORIGINAL):
            save(site.layout.spec, "# Goal\n\nOne part.\n")
            wait_until(lambda: site.calls == ["T1"], 20, "the agent is at work")
            for number in range(4):
                save(site.layout.spec, f"# Goal\n\nOne part, {number}.\n")
                time.sleep(0.4)
            assert ticks(site) > 1, "entr has not restarted the tick: the test shows nothing"
            wait_until(is_in(site, State.DONE), 30, "the project is done")
            wait_until(lambda: not is_run_locked(site.layout), 10, "the runner has gone")
        assert site.calls == ["T1"]
        outcomes = [event["outcome"] for event in read_events(site.layout) if event["kind"] == "step_ended"]
        assert outcomes == ["ok"]
        check_whole(site)


@pytest.mark.parametrize("line", [ENTR_NR, ENTR_NA, FSWATCH], ids=["entr -nr", "entr -na", "fswatch"])
def test_f25_an_approval_given_while_the_tick_still_runs_is_not_missed(line: str, tmp_path: Path) -> None:
    """It comes in the moment the review does, as a file that entr does not know: the timer beside it sees it.

    Before that moment there is nothing to approve, and the note would count as the agent's own.
    """
    require("fswatch" if "fswatch" in line else "entr")
    turn = dev_turn("T1", seconds=1.5) | {"delay": 0}
    state = {"state": "DEV_READY", "interactive_mode": True, "review_every_n_tasks": 1}
    with ground(tmp_path, state=state, turns=[turn], plan=one_task_plan()) as site:
        save(site.layout.answers, "\n")
        save(site.layout.interaction_notes, "- a note\n")
        with watching(site, line, TIMER):
            save(site.layout.spec, "# Goal\n\nOne part.\n")
            wait_until(is_in(site, State.REVIEW_WAITING), 30, "a review waits")
            save(site.layout.approval, "looks good\n")
            wait_until(is_in(site, State.DONE), 30, "the approval is taken")
            wait_until(lambda: not site.layout.approval.exists(), 5, "the approval is archived")
        assert site.calls == ["T1"]


def test_f25_aiframe_watch_goes_from_an_idea_to_done_with_words_given_as_files(tmp_path: Path) -> None:
    state = {"state": "INTAKE_READY", "interactive_mode": True, "review_every_n_tasks": 1}
    with ground(tmp_path, state=state, turns=interview_turns(0.2)) as site:
        watch = _start(site, "exec " + shlex.join([*AIFRAME, "watch", "--project", str(site.root), "--interval", "5"]))
        try:
            wait_until(is_in(site, State.INTAKE_WAITING), 30, "the questions are there")
            save(site.layout.answers, ANSWERED)
            wait_until(is_in(site, State.REVIEW_WAITING), 40, "the answers are taken, the task is done, a review waits")
            save(site.layout.approval, "looks good\n")
            wait_until(is_in(site, State.DONE), 30, "the approval is taken")
            wait_until(lambda: not is_run_locked(site.layout), 10, "the runner has gone")
        finally:
            watch.terminate()
            watch.wait(10)
        assert site.calls.count("T1") == 1
        check_whole(site)
