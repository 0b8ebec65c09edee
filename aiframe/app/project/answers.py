"""The questions that wait for a person, of the interview's form and of agents, and the form with answers in it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from aiframe.app.project.advance import held
from aiframe.app.project.intake import BOX, FormQuestion, blank_form, parse_answers, parse_questions
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.app.project.texts import checked_text
from aiframe.core.machine import Refused, answer_of
from aiframe.core.model import State
from aiframe.core.scheduling import CLOSED
from aiframe.store.atomic import write_durable
from aiframe.store.tasks_file import load_tasks


class OpenQuestion(Struct, frozen=True):
    """A question without an answer. *in_form*: it belongs to the interview, and its answer into INTAKE_ANSWERS.md.

    Of an agent's question *task* is what waits for the answer (empty: the plan), *choices* are the answers that there
    are (none: any), *default* is taken for an empty one.
    """

    id: str
    text: str
    in_form: bool
    task: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""

    @property
    def shown(self) -> str:
        """The question with its choices, numbered, and its default."""
        choices = " / ".join(f"{number} {choice}" for number, choice in enumerate(self.choices, start=1))
        parts = [f"({choices})" if choices else "", f"[{self.default}]" if self.default else ""]
        return " ".join(filter(None, [self.text, *parts]))

    def takes(self, said: str) -> bool:
        """Whether these words are an answer to it."""
        return bool(answer_of(self.choices, self.default, said))


def open_now(site: Site) -> tuple[OpenQuestion, ...]:
    """What waits for a person now: the form's open questions during an interview, then what agents asked."""
    project = site.store.load(tolerate_unreadable=True).project
    closed = {task.id for task in load_tasks(site.layout.tasks_yaml).tasks if task.status in CLOSED}
    form: tuple[FormQuestion, ...] = ()
    if project.state is State.INTAKE_WAITING:
        questions = parse_questions(read_text(site.layout.questions))
        form = parse_answers(read_text(site.layout.answers), questions).open(questions)
    return (
        *(OpenQuestion(one.id, "\n".join(part for part in (one.title, one.text) if part), True) for one in form),
        *(
            OpenQuestion(one.id, one.text, False, one.task_id, one.choices, one.default)
            for one in project.open_questions()
            if one.task_id not in closed
        ),
    )


def form_question_ids(site: Site) -> tuple[str, ...]:
    """The ids of the interview's questions, while it waits for answers."""
    if site.store.load(tolerate_unreadable=True).project.state is not State.INTAKE_WAITING:
        return ()
    return tuple(question.id for question in parse_questions(read_text(site.layout.questions)))


def write_answers(site: Site, given: Mapping[str, str], *, done: bool = False) -> str:
    """Write answers into INTAKE_ANSWERS.md, in the place of any that are there; others stay. *done* sets the box.

    Raises Refused where no interview waits, UsageError for an answer that is no text.
    """
    words = {name: checked_text(text, f"the answer to {name}") for name, text in given.items()}
    with held(site) as draft:
        if draft.project.state is not State.INTAKE_WAITING:
            raise Refused("no interview waits for answers", hint="see `aiframe why`")
        questions = parse_questions(read_text(site.layout.questions))
        before = parse_answers(read_text(site.layout.answers), questions)
        if before.free:
            raise Refused("INTAKE_ANSWERS.md holds free text", hint="add to that text in an editor")
        text = _filled_form(questions, {**before.answers, **words}, before.rest, done=done or before.done_box)
        write_durable(site.layout.answers, text)
    left = len(parse_answers(text, questions).open(questions))
    told = f"{len(given)} {'answer' if len(given) == 1 else 'answers'} written into INTAKE_ANSWERS.md"
    return f"{told}, {left} still open" if left else f"{told}; none is open"


def _filled_form(questions: tuple[FormQuestion, ...], answers: Mapping[str, str], rest: str, *, done: bool) -> str:
    """A form like the blank one, with the answers below their questions and what else was written above them."""
    parts = [blank_form(())]
    if done:
        parts = [parts[0].replace(BOX, BOX.replace("[ ]", "[x]"))]
    if rest:
        parts.append(f"{rest}\n\n")
    for question in questions:
        section = blank_form((question,)).removeprefix(blank_form(()))
        parts.append(section + (f"{answers[question.id]}\n\n" if question.id in answers else ""))
    return "".join(parts)
