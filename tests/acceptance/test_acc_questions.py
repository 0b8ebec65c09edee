"""What agents ask in the middle of the work: the task waits, others go on, and the answer reaches the next attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, play, task

ASKS: dict[str, Any] = {
    "summary": "which one?",
    "question": {"text": "Which database?", "choices": ["sqlite", "postgres"], "default": "sqlite"},
}
WITH_PERSON = {"state": "DEV_READY", "interactive_mode": True}


def asking(tmp_path: Path, *checks: str, **more: Any) -> Bench:
    """A project with a person; the agent asks about T1, and does T2."""
    turns = [dev("T1", closing=ASKS), dev("T2", files={"two": ""})]
    return lay_project(tmp_path, task("T1", *checks), task("T2", "test -e two"), turns=turns, state=WITH_PERSON, **more)


@pytest.mark.parametrize(
    "checks",
    [
        pytest.param(["test -e one"], id="its checks fail"),
        pytest.param(["true"], id="its checks pass"),
        pytest.param([], id="it has no checks"),
    ],
)
def test_a_task_that_asks_waits_while_the_other_goes_on(tmp_path: Path, checks: list[str]) -> None:
    bench = asking(tmp_path, *checks)
    bench.tick()
    assert (bench.where, bench.statuses()) == ("QUESTION_WAITING", {"T1": "todo", "T2": "done"})
    assert bench.do("questions").out.splitlines() == [
        "Q1 about T1: Which database?",
        "  1  sqlite (default)",
        "  2  postgres",
    ]
    assert bench.tick().code == 0
    assert len(bench.runs()) == 2  # nobody asks again
    play(bench, [dev("T1", files={"one": ""})])
    assert bench.do("answer", "Q1", "2").code == 0
    bench.tick()
    assert "Question: Which database?\nAnswer: postgres" in bench.prompts()[-1]
    assert bench.where == "REVIEW_WAITING"
    assert bench.do("questions").out == "No question waits for you.\n"


def test_asking_until_the_attempts_are_used_up_fails_no_task(tmp_path: Path) -> None:
    bench = asking(tmp_path, "test -e one", limits={"max_attempts": 1})
    bench.tick()
    assert (bench.where, bench.statuses()["T1"]) == ("QUESTION_WAITING", "todo")
    bench.do("answer", "Q1", "sqlite")
    play(bench, [dev("T1", closing={**ASKS, "question": {**ASKS["question"], "text": "Which port?"}})])
    bench.tick()
    assert (bench.where, bench.statuses()["T1"]) == ("QUESTION_WAITING", "todo")
    assert "Q2 about T1: Which port?" in bench.do("questions").out


def test_an_open_question_is_told_while_others_work(tmp_path: Path) -> None:
    bench = asking(tmp_path, "test -e one")
    bench.tick(DEV_CHAIN_LIMIT="1")
    bench.do("pause")
    assert "(1 question of an agent waits for you)" in bench.do("status").out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(["Q1", "3"], "'3' is none of the choices", id="no such number"),
        pytest.param(["Q1", "mysql"], "answer with the number or the words of one: 1 sqlite", id="no such choice"),
        pytest.param(["Q1"], "no answer to Q1 was given", id="nothing"),
        pytest.param(["Q7", "1"], "there is no open question Q7", id="no such question"),
    ],
)
def test_an_answer_that_is_none_is_refused(tmp_path: Path, words: list[str], complaint: str) -> None:
    bench = asking(tmp_path, "test -e one")
    bench.tick()
    refused = bench.do("answer", *words)
    assert (refused.code, complaint in refused.err) == (2, True)
    assert bench.do("questions").out.startswith("Q1 about T1")


def test_a_question_of_a_task_that_is_closed_waits_for_nobody(tmp_path: Path) -> None:
    bench = asking(tmp_path, "test -e one")
    bench.tick()
    bench.write("TASKS.yaml", bench.text("TASKS.yaml").replace("todo", "cancelled"))
    assert bench.do("questions").out == "No question waits for you.\n"
    assert bench.tick().code == 0
    assert bench.where == "REVIEW_WAITING"
