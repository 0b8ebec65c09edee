"""The interview's files: questions as an agent writes them, the form a person fills in, and what came of it.

Everything takes and gives text. Both sides are written by hand, so little is demanded of their form: byte order marks,
Windows line ends, changed or missing headings and free text are all read for what they most likely mean.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

BOX = "- [ ] done (go on with the answers as they are)"

_GUIDE = (
    "# Answers",
    "",
    "Write below each question. When all are answered aiframe goes on by itself. Where you leave one empty it decides",
    "for you: then put an x into the box.",
    "",
    BOX,
)
_BOX_SET = re.compile(r"\s*(?:[-*+]\s*)?\[\s*[xX✓✔]\s*\]\s*done\s*(?:\(.*\))?\s*", re.IGNORECASE)
_BOX_ANY = re.compile(r"\s*(?:[-*+]\s*)?\[[^\]]?\s*\]\s*done\s*(?:\(.*\))?\s*", re.IGNORECASE)
_HEADING = re.compile(r" {0,3}(#{1,6})(?:\s+(.*?))?\s*#*\s*")
_NUMBER = r"(?:question|q)[ \t]*(\d+(?:-\d+)?)"
_Q_HEADING = re.compile(r" {0,3}#{1,6}\s*\**" + _NUMBER + r"(?![\w])\**\s*[:.)\]–—-]*\s*\**(.*)", re.IGNORECASE)
_Q_LINE = re.compile(r"(?:[-*+]\s+)?\**" + _NUMBER + r"\**\s*[:.)]+\**(.*)", re.IGNORECASE)
_LIST_ITEM = re.compile(r" {0,3}(\d{1,3})[.)]\s+(.*)")
_COMMENT = re.compile(r"\s*<!--.*-->\s*")


class FormQuestion(Struct, frozen=True):
    """A question for the person. *id* is unique in its file, *title* is one line; *title* or *text* may be empty."""

    id: str
    title: str
    text: str


class Answers(Struct, frozen=True):
    """What a form says: *answers* holds those that were given, *rest* whatever stands under no question."""

    answers: Mapping[str, str]
    done_box: bool
    rest: str = ""
    free: bool = False

    def open(self, questions: Sequence[FormQuestion]) -> tuple[FormQuestion, ...]:
        """The questions without an answer. Free text without a form answers them all."""
        return () if self.free else tuple(question for question in questions if question.id not in self.answers)


# Questions


def parse_questions(text: str) -> tuple[FormQuestion, ...]:
    """The questions in INTAKE_QUESTIONS.md.

    They begin with a heading ``## Q1 title``; where there is none of those, with lines ``Q1: ...``, with any headings
    below the first level, or as the items of a numbered list. Other text is one question; an empty one is none.
    """
    lines = _lines(text)
    plain = _outside_fences(lines)
    for starts in (_numbered_headings, _numbered_lines, _other_headings, _list_items):
        found = starts(lines, plain)
        if found:
            return _cut(lines, found)
    body = "\n".join(lines).strip()
    return (FormQuestion("Q1", "", body),) if _says_something(lines) else ()


_Start = tuple[int, str, str, str]
"""Where a question starts: line, its number or "", its title, and the first line of its text."""


def _numbered_headings(lines: list[str], plain: set[int]) -> list[_Start]:
    found = ((index, _Q_HEADING.fullmatch(lines[index])) for index in sorted(plain))
    return [(index, match[1], _one_line(match[2]), "") for index, match in found if match]


def _numbered_lines(lines: list[str], plain: set[int]) -> list[_Start]:
    found = ((index, _Q_LINE.fullmatch(lines[index])) for index in sorted(plain))
    return [(index, match[1], "", match[2].strip()) for index, match in found if match]


def _other_headings(lines: list[str], plain: set[int]) -> list[_Start]:
    found = ((index, _HEADING.fullmatch(lines[index])) for index in sorted(plain))
    below_first = [(index, "", _one_line(match[2] or ""), "") for index, match in found if match and len(match[1]) > 1]
    return below_first if len(below_first) > 1 else []  # a single one is the title above a list


def _list_items(lines: list[str], plain: set[int]) -> list[_Start]:
    found = ((index, _LIST_ITEM.fullmatch(lines[index])) for index in sorted(plain))
    return [(index, match[1], "", match[2].strip()) for index, match in found if match]


def _cut(lines: list[str], starts: list[_Start]) -> tuple[FormQuestion, ...]:
    questions: list[FormQuestion] = []
    taken: set[str] = set()
    ends = [start[0] for start in starts[1:]] + [len(lines)]
    for position, ((index, number, title, first), end) in enumerate(zip(starts, ends, strict=True), start=1):
        body = "\n".join(line.rstrip() for line in [first, *lines[index + 1 : end]]).strip()
        questions.append(FormQuestion(_unique(f"Q{number or position}", taken), title, body))
    return tuple(questions)


def _unique(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}-{count}"
    taken.add(name)
    return name


# The form


def blank_form(questions: Sequence[FormQuestion]) -> str:
    """INTAKE_ANSWERS.md for *questions*, with room for each answer."""
    sections = ["\n".join(_GUIDE)]
    sections += [
        "\n\n".join(part for part in (_head(question), _quote(question.text)) if part) for question in questions
    ]
    return "\n\n".join(sections) + "\n\n"


def _head(question: FormQuestion) -> str:
    return f"## {question.id} {question.title}".rstrip()


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n")) if text else ""


def parse_answers(form_text: str, questions: Sequence[FormQuestion]) -> Answers:
    """What stands in INTAKE_ANSWERS.md under each of *questions*, without what the blank form had there.

    Only headings with the id of a question divide the form, so an answer may have headings of its own.
    """
    lines = _lines(form_text)
    plain = _outside_fences(lines)
    done_box = any(_BOX_SET.fullmatch(lines[index]) for index in plain)
    sections = _sections(lines, plain, questions)
    rest = _without(sections.pop("", []), _GUIDE)
    answers = {}
    for question in questions:
        given = _without(sections.get(question.id, []), _quote(question.text).split("\n"))
        if given:
            answers[question.id] = given
    free = not sections and _says_something(rest.split("\n"))
    return Answers(answers, done_box, rest, free)


def _sections(lines: list[str], plain: set[int], questions: Sequence[FormQuestion]) -> dict[str, list[str]]:
    """The lines below each question's heading, by id; under "" those above the first."""
    titles = {question.id: question.title for question in questions}
    current = ""
    sections: dict[str, list[str]] = {"": []}
    for index, line in enumerate(lines):
        match = _Q_HEADING.fullmatch(line) if index in plain else None
        if match and f"Q{match[1]}" in titles:
            current = f"Q{match[1]}"
            # An answer may stand on the heading's line, behind the title.
            title, said = titles[current], _one_line(match[2])
            behind = said[len(title) :].strip(" :-") if said.startswith(title) else ""
            sections.setdefault(current, []).extend([behind] if behind else [])
        else:
            sections[current].append(line)
    return sections


def _without(lines: Sequence[str], blank: Sequence[str]) -> str:
    """*lines* less those of the *blank* form, each of them once, and less the box."""
    left = Counter(line for line in blank if line)
    kept = []
    for line in lines:
        bare = line.rstrip()
        if left[bare] > 0:
            left[bare] -= 1
        elif not _BOX_ANY.fullmatch(line):
            kept.append(bare)
    return "\n".join(kept).strip()


def form_done(questions_text: str, answers_text: str) -> bool:
    """Whether the interview can go on: the box is set, or no question is open."""
    questions = parse_questions(questions_text)
    answers = parse_answers(answers_text, questions)
    return answers.done_box or not answers.open(questions)


def open_questions(questions_text: str, answers_text: str) -> int:
    """How many questions have no answer yet."""
    questions = parse_questions(questions_text)
    return len(parse_answers(answers_text, questions).open(questions))


# The record


def in_history(history_text: str, run_id: str) -> bool:
    """Whether the interview that the run *run_id* read is in INTAKE_HISTORY.md already."""
    return _marker(run_id) in _lines(history_text)


def history_entry(run_id: str, when: float, questions_text: str, answers_text: str) -> str:
    """What INTAKE_HISTORY.md keeps of an interview that ended at *when* (epoch seconds).

    It begins with a line by which `in_history` knows it again; the same arguments give the same text.
    """
    questions = parse_questions(questions_text)
    given = parse_answers(answers_text, questions)
    parts = [_marker(run_id), f"## Interview, {datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M} UTC"]
    for question in questions:
        answer = given.answers.get(question.id, "" if given.free else "(no answer: decide for me)")
        head = f"### {question.id} {question.title}".rstrip()
        parts += [part for part in (head, _quote(question.text), answer) if part]
    if given.rest:
        parts += ["### Written without a question", given.rest]
    return "\n\n".join(parts) + "\n\n"


def _marker(run_id: str) -> str:
    return f"<!-- interview {run_id} -->"


# Lines


def _lines(text: str) -> list[str]:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _one_line(text: str) -> str:
    return " ".join(text.strip().strip("#*").split())


def _says_something(lines: Sequence[str]) -> bool:
    """Whether there is more than headings and comments."""
    return any(line.strip() and not _HEADING.fullmatch(line) and not _COMMENT.fullmatch(line) for line in lines)


def _outside_fences(lines: Sequence[str]) -> set[int]:
    """The lines in no code block; a fence that is never closed opens none."""
    outside: set[int] = set()
    opened: int | None = None
    fence = ""
    for index, line in enumerate(lines):
        mark = line.lstrip()[:3]
        if opened is None and mark in ("```", "~~~"):
            opened, fence = index, mark
        elif opened is None:
            outside.add(index)
        elif mark == fence:
            opened = None
    return outside if opened is None else outside | _outside_fences_from(lines, opened)


def _outside_fences_from(lines: Sequence[str], opened: int) -> set[int]:
    later = _outside_fences(lines[opened + 1 :])
    return {opened} | {opened + 1 + index for index in later}
