"""The interview's files: whatever a person or an agent writes is read for what it most likely means."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aiframe.app.project.intake import (
    BOX,
    FormQuestion,
    blank_form,
    form_done,
    history_entry,
    in_history,
    open_questions,
    parse_answers,
    parse_questions,
)

TWO = "## Q1 Database\n\nWhich one?\n\n## Q2\n\nWho uses it?\nMy proposal: all.\n"


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        pytest.param(
            TWO, [("Q1", "Database", "Which one?"), ("Q2", "", "Who uses it?\nMy proposal: all.")], id="plain"
        ),
        pytest.param("## Q1: Database\nWhich?", [("Q1", "Database", "Which?")], id="colon"),
        pytest.param("### Q1.\nWhich?\n### Q2.\nWho?", [("Q1", "", "Which?"), ("Q2", "", "Who?")], id="dot"),
        pytest.param("# Question 3) Who?", [("Q3", "Who?", "")], id="word"),
        pytest.param("## **Q1** - Database ##\nWhich?", [("Q1", "Database", "Which?")], id="bold"),
        pytest.param("##Q1\nWhich?", [("Q1", "", "Which?")], id="no space"),
        pytest.param("\ufeff## Q1\r\n\r\nWhich?\r\nSay.\r\n", [("Q1", "", "Which?\nSay.")], id="BOM and CRLF"),
        pytest.param("Hello!\n\n## Q1\nWhich?", [("Q1", "", "Which?")], id="greeting before"),
        pytest.param("## Q1\nA?\n## Q1\nB?", [("Q1", "", "A?"), ("Q1-2", "", "B?")], id="same number twice"),
        pytest.param("## Q1\n```\n## Q2\n```\n", [("Q1", "", "```\n## Q2\n```")], id="heading in a code block"),
        pytest.param("## Q1\n```\n## Q2\nB?", [("Q1", "", "```"), ("Q2", "", "B?")], id="code block never closed"),
        pytest.param("Q1: Which?\nQ2: Who?", [("Q1", "", "Which?"), ("Q2", "", "Who?")], id="lines"),
        pytest.param("**Q1.** Which?\nMore.", [("Q1", "", "Which?\nMore.")], id="bold lines"),
        pytest.param(
            "# Title\n## Database\nA?\n## Users\nB?", [("Q1", "Database", "A?"), ("Q2", "Users", "B?")], id="headings"
        ),
        pytest.param("## Questions\n\n1. A?\n   more\n2) B?", [("Q1", "", "A?\n   more"), ("Q2", "", "B?")], id="list"),
        pytest.param("Which database shall it be?", [("Q1", "", "Which database shall it be?")], id="free text"),
        pytest.param("## Quality\nHow good?", [("Q1", "", "## Quality\nHow good?")], id="a word with Q"),
        pytest.param("# Questions\n<!-- none -->\n\n", [], id="only a title"),
        pytest.param("", [], id="empty"),
    ],
)
def test_parse_questions(text: str, questions: list[tuple[str, str, str]]) -> None:
    assert parse_questions(text) == tuple(FormQuestion(*question) for question in questions)


def filled(form: str, *answers: str) -> str:
    """*form* with the answers written at the end of its sections."""
    head, *sections = form.split("\n## ")
    return head + "".join(f"\n## {section}\n{answer}\n" for section, answer in zip(sections, answers, strict=False))


FORM = blank_form(parse_questions(TWO))


@pytest.mark.parametrize(
    ("form", "answers", "still_open"),
    [
        pytest.param(FORM, {}, 2, id="blank"),
        pytest.param("", {}, 2, id="empty file"),
        pytest.param(filled(FORM, "sqlite", ""), {"Q1": "sqlite"}, 1, id="one of two"),
        pytest.param(filled(FORM, "sqlite", "all\n\nof us"), {"Q1": "sqlite", "Q2": "all\n\nof us"}, 0, id="both"),
        pytest.param(filled(FORM, "a", "b").replace("\n", "\r\n"), {"Q1": "a", "Q2": "b"}, 0, id="CRLF"),
        pytest.param("\ufeff" + filled(FORM, "a", "b"), {"Q1": "a", "Q2": "b"}, 0, id="BOM"),
        pytest.param(filled(FORM, " \t ", "\n\n"), {}, 2, id="only spaces"),
        pytest.param("## Q1\na\n## Q2\nb\n", {"Q1": "a", "Q2": "b"}, 0, id="headings shortened, quotes deleted"),
        pytest.param("# q1:\na\n### Question 2\nb\n", {"Q1": "a", "Q2": "b"}, 0, id="other headings"),
        pytest.param(
            "## Q1 Database: sqlite\n## Q2 all\n", {"Q1": "sqlite", "Q2": "all"}, 0, id="on the heading's line"
        ),
        pytest.param("## Q2\nb\n\n## Q1\na\n", {"Q1": "a", "Q2": "b"}, 0, id="other order"),
        pytest.param("## Q1\na\n\n## Mine\n### Q9\nb\n", {"Q1": "a\n\n## Mine\n### Q9\nb"}, 1, id="own headings"),
        pytest.param("## Q1\na\n## Q2\nb\n## Q1\nc\n", {"Q1": "a\nc", "Q2": "b"}, 0, id="a heading twice"),
        pytest.param("## Q1\n```\n## Q2\n```\n", {"Q1": "```\n## Q2\n```"}, 1, id="a code block with a heading"),
        pytest.param("## Q1\n> yes, that\n", {"Q1": "> yes, that"}, 1, id="answered as a quote"),
        pytest.param("## Q1\n> Which one?\n> Which one?\n", {"Q1": "> Which one?"}, 1, id="the question said again"),
    ],
)
def test_parse_answers(form: str, answers: dict[str, str], still_open: int) -> None:
    assert parse_answers(form, parse_questions(TWO)).answers == answers
    assert open_questions(TWO, form) == still_open
    assert form_done(TWO, form) == (still_open == 0)


@pytest.mark.parametrize(
    ("form", "done"),
    [
        pytest.param(FORM.replace("[ ]", "[x]"), True, id="box"),
        pytest.param(FORM.replace("[ ]", "[X]").replace("\n", "\r\n"), True, id="capital, CRLF"),
        pytest.param(FORM.replace("[ ]", "[ x ]"), True, id="spaces in the box"),
        pytest.param("[x] done", True, id="nothing but the box"),
        pytest.param(FORM.replace("[ ]", "[]"), False, id="box without its space"),
        pytest.param(FORM + "> - [x] done", False, id="quoted box"),
        pytest.param("Use sqlite, it is for all of us.", True, id="free text answers all"),
        pytest.param("# Intake answers\n<!-- write here -->\n\n", False, id="free form without text"),
        pytest.param(FORM.split("## Q1")[0], False, id="all headings deleted"),
        pytest.param(FORM.split("## Q1")[0] + "sqlite, all", True, id="all headings deleted, text written"),
    ],
)
def test_form_done(form: str, done: bool) -> None:
    assert form_done(TWO, form) is done


def test_the_box_is_no_part_of_what_was_written() -> None:
    answers = parse_answers(FORM.replace("[ ]", "[x]"), parse_questions(TWO))
    assert (answers.done_box, answers.rest, answers.answers) == (True, "", {})


def test_an_interview_without_questions_waits_for_nothing() -> None:
    assert form_done("", "")


def test_history_tells_questions_answers_and_all_else() -> None:
    form = filled(FORM.replace(BOX, f"{BOX}\n\nBy the way: hurry."), "sqlite")
    entry = history_entry("r1", 1_740_820_502.0, TWO, form)
    assert entry == (
        "<!-- interview r1 -->\n\n## Interview, 2025-03-01 09:15 UTC\n\n"
        "### Q1 Database\n\n> Which one?\n\nsqlite\n\n"
        "### Q2\n\n> Who uses it?\n> My proposal: all.\n\n(no answer: decide for me)\n\n"
        "### Written without a question\n\nBy the way: hurry.\n\n"
    )
    assert in_history("# History\r\n" + entry.replace("\n", "\r\n"), "r1")
    assert not in_history(entry, "r")


# Anything at all

titles = st.text(max_size=30).map(lambda text: " ".join(text.split()))
texts = st.text(alphabet=st.sampled_from("ab >#`~-[]xQ12.:)\n\r\t*é"), max_size=60) | st.text(max_size=60)
questionnaires = st.lists(st.tuples(titles, texts), min_size=1, max_size=4).map(
    lambda pairs: "".join(f"## Q{number} {title}\n\n{text}\n\n" for number, (title, text) in enumerate(pairs, start=1))
)


@settings(deadline=None, max_examples=150)
@given(questionnaires)
def test_a_blank_form_is_never_done(questions_text: str) -> None:
    questions = parse_questions(questions_text)
    assert open_questions(questions_text, blank_form(questions)) == len(questions) > 0
    assert not form_done(questions_text, blank_form(questions))


@settings(deadline=None, max_examples=150)
@given(questionnaires, st.data())
def test_a_form_is_done_when_each_question_is_answered(questions_text: str, data: st.DataObject) -> None:
    questions = parse_questions(questions_text)
    head, *sections = blank_form(questions).split("\n## Q")
    assume(len(sections) == len(questions))
    form = head
    for left, section in zip(range(len(questions), 0, -1), sections, strict=True):
        assert open_questions(questions_text, form + "".join(f"\n## Q{rest}" for rest in sections[-left:])) == left
        form += f"\n## Q{section}\n{data.draw(st.text(alphabet='ab é.,', min_size=1).filter(str.strip))}\n"
    assert form_done(questions_text, form)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.sampled_from(["## Q1", "## Q2", "## Q3 x", "# a", "> Which one?", "```", BOX, "", "w"]), max_size=12)
)
def test_no_word_of_a_form_is_lost(skeleton: list[str]) -> None:
    form = "\n".join(f"{line}\nword{number}" for number, line in enumerate(skeleton))
    answers = parse_answers(form, parse_questions(TWO))
    kept = "\n".join([answers.rest, *answers.answers.values()]).split()
    assert sorted(word for word in kept if word.startswith("word")) == sorted(
        f"word{number}" for number in range(len(skeleton))
    )


@settings(deadline=None, max_examples=100)
@given(texts, texts)
def test_any_text_is_read(questions_text: str, answers_text: str) -> None:
    assert 0 <= open_questions(questions_text, answers_text) <= len(parse_questions(questions_text))
    assert in_history(history_entry("r-1", 0, questions_text, answers_text), "r-1")
