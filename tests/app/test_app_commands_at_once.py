"""Commands given at the same moment by two processes: each is taken or refused, and none is lost or left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, lay_project, task

ROUNDS = 6
"""How often a pair meets; without the mutex nearly every meeting goes wrong."""

ACTOR = """
import json, os, sys, time
from pathlib import Path
from aiframe.app.project import answers
from aiframe.app import commands, reviewing
from aiframe.app.project.advance import advance
from aiframe.app.project.site import open_site
from aiframe.core.errors import AiframeError
from aiframe.core.events import Tick

ACTS = {
    "approve": lambda site, text: reviewing.approve(site, text),
    "reject": lambda site, text: reviewing.reject(site, text),
    "answer": lambda site, name: answers.write_answers(site, {name: f"the answer to {name}"}),
    "go on": lambda site, text: commands.go_on(site),
    "look": lambda site, text: str(advance(site, lambda seen: Tick(seen, may_start=False)).project.state),
}
for line in sys.stdin:
    at, root, verb, word = json.loads(line)
    site = open_site(Path(root), os.environ)
    while time.monotonic() < at:
        pass
    try:
        said = [True, ACTS[verb](site, word)]
    except AiframeError as error:
        said = [False, error.message]
    print(json.dumps(said), flush=True)
"""


class Pair:
    """Two processes that act at the same moment."""

    def __init__(self, stack: ExitStack) -> None:
        argv = [sys.executable, "-c", ACTOR]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.actors = [stack.enter_context(subprocess.Popen(argv, text=True, **pipes)) for _ in range(2)]  # type: ignore[call-overload]

    def act(self, bench: Bench, *acts: tuple[str, str]) -> list[tuple[bool, str]]:
        """Have each do its act on *bench*: whether it was taken, and what was said."""
        import time

        at = time.monotonic() + 0.05
        for actor, act in zip(self.actors, acts, strict=True):
            actor.stdin.write(json.dumps([at, str(bench.root), *act]) + "\n")
            actor.stdin.flush()
        return [tuple(json.loads(actor.stdout.readline())) for actor in self.actors]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def in_state(folder: Path, number: int, state: str, **fields: Any) -> Bench:
    """A project in *state*, recorded already, with a task in review and one to do."""
    tasks = task("T1", status="review"), task("T2", "true")
    bench = lay_project(folder, *tasks, state={"state": state, "interactive_mode": True, **fields}, name=f"p{number}")
    from aiframe.app.project.advance import advance
    from aiframe.app.project.site import open_site

    advance(open_site(bench.root, os.environ))
    return bench


@pytest.mark.parametrize("number", range(ROUNDS))
def test_of_yes_and_no_at_once_one_is_taken(tmp_path: Path, pair: Pair, number: int) -> None:
    bench = in_state(tmp_path, number, "REVIEW_WAITING")
    said = pair.act(bench, ("approve", "yes"), ("reject", "no"))
    there = [(bench.root / f"notes/review_{name}.md").exists() for name in ("approval", "rejection")]
    assert there == [taken for taken, _ in said]
    assert sum(there) == 1, said


@pytest.mark.parametrize("verb", ["approve", "reject"])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_the_words_of_both_are_kept(tmp_path: Path, pair: Pair, number: int, verb: str) -> None:
    bench = in_state(tmp_path, number, "REVIEW_WAITING")
    assert [taken for taken, _ in pair.act(bench, (verb, "one"), (verb, "two"))] == [True, True]
    text = bench.text("notes/review_approval.md") + bench.text("notes/review_rejection.md")
    assert sorted(text.split()) == ["one", "two"]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_two_answers_at_once_are_both_in_the_form(tmp_path: Path, pair: Pair, number: int) -> None:
    bench = in_state(tmp_path, number, "INTAKE_WAITING")
    bench.write("INTAKE_QUESTIONS.md", "## Q1 One\n\nfirst?\n\n## Q2 Two\n\nsecond?\n")
    assert [taken for taken, _ in pair.act(bench, ("answer", "Q1"), ("answer", "Q2"))] == [True, True]
    assert all(f"the answer to {name}" in bench.text("INTAKE_ANSWERS.md") for name in ("Q1", "Q2"))


@pytest.mark.parametrize("number", range(ROUNDS))
def test_an_approval_beside_a_look_is_taken_or_refused_but_never_left_for_the_next_review(
    tmp_path: Path, pair: Pair, number: int
) -> None:
    """Unattended, a look ends the review: what comes after it is no answer to it any more."""
    bench = in_state(tmp_path, number, "REVIEW_WAITING")
    bench.edit_state(interactive_mode=False)
    (approved, _), (looked, state) = pair.act(bench, ("approve", "yes"), ("look", ""))
    assert (looked, state) == (True, "DEV_READY")
    archived = list((bench.root / "notes" / "reviews").glob("approval-*.md"))
    assert not (bench.root / "notes/review_approval.md").exists()
    assert len(archived) == approved


@pytest.mark.parametrize("number", range(ROUNDS))
def test_continue_beside_a_watcher_that_sees_the_flag_go(tmp_path: Path, pair: Pair, number: int) -> None:
    bench = in_state(tmp_path, number, "PAUSE_INTERACT")
    bench.write("notes/interrupt.flag", "")
    (went_on, said), _ = pair.act(bench, ("go on", ""), ("look", ""))
    assert went_on, said
    assert (bench.where, (bench.root / "notes/interrupt.flag").exists()) == ("DEV_READY", False)
