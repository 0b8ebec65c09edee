"""`answer`: in one line, without a terminal, question by question on one, and in an editor."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.projects import Bench, lay_project

from aiframe.app.project.intake import blank_form, form_done, parse_answers, parse_questions

QUESTIONS = "## Q1 Storage\n\nA file or SQLite?\n\n## Q2 Colours\n\nWhich ones?\n"


@pytest.fixture
def asked(tmp_path: Path) -> Bench:
    """An interview with two questions and a blank form."""
    bench = lay_project(tmp_path, state={"state": "INTAKE_WAITING"})
    bench.write("INTAKE_QUESTIONS.md", QUESTIONS)
    bench.write("INTAKE_ANSWERS.md", blank_form(parse_questions(QUESTIONS)))
    return bench


def answers(bench: Bench) -> dict[str, str]:
    return dict(parse_answers(bench.text("INTAKE_ANSWERS.md"), parse_questions(QUESTIONS)).answers)


def on_terminal(bench: Bench, *words: str, **env: str) -> Any:
    argv = ["-m", "aiframe", "answer", *words, "--project", str(bench.root)]
    environ = {name: value for name, value in os.environ.items() if name not in ("EDITOR", "VISUAL")} | env
    return pexpect.spawn(sys.executable, argv, env=environ, encoding="utf-8", timeout=60, echo=False)


def test_without_a_terminal_it_says_which_file(asked: Bench) -> None:
    ended = asked.do("answer")
    assert ended.code == 0
    assert str(asked.root / "INTAKE_ANSWERS.md") in ended.out
    assert "Q1: Storage" in ended.out
    assert "A file or SQLite?" in ended.out
    assert answers(asked) == {}


def test_one_answer_after_the_other(asked: Bench) -> None:
    assert "1 still open" in asked.do("answer", "Q1", "SQLite", "please").out
    assert answers(asked) == {"Q1": "SQLite please"}
    assert "none is open" in asked.do("answer", "Q2", "# none\n\nreally").out
    assert answers(asked) == {"Q1": "SQLite please", "Q2": "# none\n\nreally"}
    assert form_done(QUESTIONS, asked.text("INTAKE_ANSWERS.md"))
    assert asked.do("answer").out == "No question waits for you.\n"


def test_an_answer_can_be_given_anew_and_other_words_stay(asked: Bench) -> None:
    form = asked.text("INTAKE_ANSWERS.md").replace("## Q1", "By the way: hurry.\n\n## Q1")
    asked.write("INTAKE_ANSWERS.md", form)
    asked.do("answer", "Q1", "a file")
    asked.do("answer", "Q1", "SQLite")
    assert answers(asked) == {"Q1": "SQLite"}
    assert asked.text("INTAKE_ANSWERS.md").count("By the way: hurry.") == 1


def test_free_text_in_the_form_is_not_overwritten(asked: Bench) -> None:
    asked.write("INTAKE_ANSWERS.md", "Just do what you think is best.\n")
    ended = asked.do("answer", "Q1", "SQLite")
    assert ended.code == 2
    assert asked.text("INTAKE_ANSWERS.md") == "Just do what you think is best.\n"


def test_done_lets_the_interview_go_on(asked: Bench) -> None:
    ended = asked.do("answer", "--done")
    assert ended.code == 0
    assert "Next: aiframe tick" in ended.out
    assert asked.control["answers_done"] is True


def test_an_unknown_question_names_the_known_ones(asked: Bench) -> None:
    ended = asked.do("answer", "Q9", "x")
    assert ended.code == 2
    assert "Q9" in ended.err


def test_question_by_question_on_a_terminal(asked: Bench) -> None:
    with on_terminal(asked) as terminal:
        terminal.expect("A file or SQLite")
        terminal.sendline("SQLite")
        terminal.expect("Which ones")
        terminal.sendline("")
        terminal.expect("1 left open")
        terminal.sendline("y")
        terminal.expect("Next: aiframe tick")
        terminal.expect(pexpect.EOF)
    assert terminal.wait() == 0
    assert answers(asked) == {"Q1": "SQLite"}
    assert form_done(QUESTIONS, asked.text("INTAKE_ANSWERS.md"))


def test_leaving_in_the_middle_keeps_what_was_given(asked: Bench) -> None:
    with on_terminal(asked) as terminal:
        terminal.expect("A file or SQLite")
        terminal.sendline("SQLite")
        terminal.expect("Which ones")
        terminal.sendeof()
        terminal.expect("1 left open")
        terminal.sendline("n")
        terminal.expect(pexpect.EOF)
    assert answers(asked) == {"Q1": "SQLite"}
    assert not form_done(QUESTIONS, asked.text("INTAKE_ANSWERS.md"))


def editor(folder: Path, script: str) -> str:
    """An editor with an option, which does *script* to its file."""
    program = folder / "my editor"
    program.write_text(f'#!/bin/sh\ntest "$1" = --wait || exit 9\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"'{program}' --wait"


def test_the_form_opens_in_the_editor(asked: Bench, tmp_path: Path) -> None:
    both = editor(tmp_path, r"""sed -i 's/^> A file.*/&\n\nSQLite/; s/^> Which.*/&\n\nred/' "$2" """)
    with on_terminal(asked, EDITOR="false", VISUAL=both) as terminal:
        terminal.expect("Every question is answered")
        terminal.expect(pexpect.EOF)
    assert terminal.wait() == 0
    assert answers(asked) == {"Q1": "SQLite", "Q2": "red"}


@pytest.mark.parametrize(
    ("script", "says"), [("exit 0", "2 of the questions have no answer"), ("exit 3", "ended with 3")]
)
def test_an_editor_that_did_nothing(asked: Bench, tmp_path: Path, script: str, says: str) -> None:
    with on_terminal(asked, EDITOR=editor(tmp_path, script)) as terminal:
        terminal.expect(says)
        terminal.expect(pexpect.EOF)


def test_an_editor_that_is_not_there(asked: Bench) -> None:
    with on_terminal(asked, EDITOR="no-such-editor") as terminal:
        terminal.expect("error: the program 'no-such-editor' was not found")
        terminal.expect("cure: ")
        terminal.expect(pexpect.EOF)
    assert terminal.wait() == 1


# What agents ask ------------------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(tmp_path: Path) -> Bench:
    """A project whose PO asked something."""
    question = {"text": "Tabs or blanks?", "choices": ["tabs", "blanks"], "default": ""}
    turn = {"role": "PO", "closing": {"summary": "s", "question": question}}
    bench = lay_project(tmp_path, turns=[turn], state={"state": "SPEC_READY"})
    bench.tick()
    assert bench.where == "QUESTION_WAITING"
    return bench


def test_an_agents_question_is_shown_and_answered(doubtful: Bench) -> None:
    (question_id,) = (question["id"] for question in doubtful.control["questions"])
    shown = doubtful.do("answer")
    assert f"{question_id}: Tabs or blanks? (1 tabs / 2 blanks)" in shown.out
    assert f"aiframe answer {question_id} TEXT" in shown.out
    refused = doubtful.do("answer", question_id, "both")
    assert (refused.code, "1 tabs, 2 blanks" in refused.err) == (2, True)
    assert f"Answered {question_id}: blanks" in doubtful.do("answer", question_id, "2").out
    assert doubtful.control["questions"][0]["answer"] == "blanks"
    assert doubtful.do("answer").out == "No question waits for you.\n"


def test_an_agents_question_is_asked_on_a_terminal(doubtful: Bench) -> None:
    with on_terminal(doubtful, EDITOR="false") as terminal:
        terminal.expect("Tabs or blanks")
        terminal.sendline("neither")
        terminal.expect("one of the choices")
        terminal.sendline("BLANKS")
        terminal.expect("Answered")
        terminal.expect(pexpect.EOF)
    assert doubtful.control["questions"][0]["answer"] == "blanks"


def test_questions_lists_what_waits(doubtful: Bench) -> None:
    (question_id,) = (question["id"] for question in doubtful.control["questions"])
    assert doubtful.do("questions").out == f"{question_id}: Tabs or blanks?\n  1  tabs\n  2  blanks\n"
    (listed,) = json.loads(doubtful.do("questions", "--json").out)
    assert (listed["id"], listed["choices"], listed["in_form"]) == (question_id, ["tabs", "blanks"], False)
    doubtful.do("answer", question_id, "tabs")
    assert doubtful.do("questions").out == "No question waits for you.\n"
    assert json.loads(doubtful.do("questions", "--json").out) == []


def test_questions_lists_the_interview_too(asked: Bench) -> None:
    assert "Q1 of the interview" in asked.do("questions").out
