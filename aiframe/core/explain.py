"""Why a project rests or works: one plain sentence, what it waits for, and the commands to go on.

Pure: nothing here reads a clock. Times are epoch seconds; whoever shows them renders them.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from aiframe.core.explanations.waiting import (
    explain_end,
    explain_error,
    explain_interrupt,
    explain_interview,
    explain_pause,
    explain_questions,
    explain_review,
    explain_work,
)
from aiframe.core.explanations.words import Explanation, counted
from aiframe.core.explanations.working import explain_ready, explain_run
from aiframe.core.model import Project, Rules, State, TaskStatus, Unknown
from aiframe.core.scheduling import CLOSED
from aiframe.core.seen import Seen

KNOWN_STATES = tuple(state.value for state in State if state is not State.RUNNING)
"""The states that a person may write into STATE.json."""


def explain(
    project: Project, seen: Seen, rules: Rules, *, open_form_questions: int = 0, repo: str = "", landed: str = ""
) -> Explanation:
    """What *project* waits for. *open_form_questions* counts the blank answers of the interview's form.

    *repo* is where held work is, as a shell reads it; empty for the project's own repository. *landed* is the command
    that takes in what has landed there; empty where there is nothing to take in.
    """
    said = _where_it_stands(project, seen, rules, open_form_questions, repo, landed)
    said = replace(said, cures=(*said.cures, *_meanwhile(project, seen)))
    if _spec_changed(project, seen):
        said = replace(said, cures=(*said.cures, "aiframe replan (SPEC.md has changed since the plan was made)"))
    if project.planning is not None and not project.planning.made and project.state is not State.RUNNING:
        back = "aiframe accept --discard (brings back what was there before `aiframe plan`)"
        said = replace(said, cures=(*said.cures, back))
    asked = _open_questions(project, seen)
    if asked and project.state is not State.QUESTION_WAITING:
        about = counted(asked, "question of an agent waits", "questions of agents wait")
        said = replace(said, cures=(*said.cures, f"aiframe questions ({about} for you)"))
    return replace(said, cures=tuple(dict.fromkeys(said.cures)))


def _meanwhile(project: Project, seen: Seen) -> tuple[str, ...]:
    """What waits for the person while the project goes on without."""
    if project.state not in (State.DEV_READY, State.RUNNING):
        return ()
    reviews = sum(task.status is TaskStatus.REVIEW for task in seen.tasks)
    return (f"aiframe digest (meanwhile for you: {counted(reviews, 'review', 'reviews')})",) if reviews else ()


def _open_questions(project: Project, seen: Seen) -> int:
    """How many questions still matter to somebody."""
    closed = {task.id for task in seen.tasks if task.status in CLOSED}
    return sum(question.task_id not in closed for question in project.open_questions())


def _where_it_stands(
    project: Project, seen: Seen, rules: Rules, open_form_questions: int, repo: str, landed: str
) -> Explanation:
    match project.state:
        case State.RUNNING:
            return explain_run(project, seen, rules)
        case State.INTAKE_WAITING:
            return explain_interview(project, seen, rules, open_form_questions)
        case State.REVIEW_WAITING:
            return explain_review(project, seen, repo)
        case State.QUESTION_WAITING:
            return explain_questions(project, seen, rules)
        case State.WORK_WAITING:
            return explain_work(project, seen, rules)
        case State.PAUSE_INTERACT:
            return explain_interrupt(project, seen)
        case State.PAUSED:
            return explain_pause(project)
        case State.DONE:
            return explain_end(seen, landed)
        case State.ERROR:
            return explain_error(project, seen)
        case Unknown(name):
            return Explanation(
                f'STATE.json names the state "{name}", which aiframe does not know',
                "a state that it knows",
                cures=(f'set "state" in STATE.json to one of {", ".join(KNOWN_STATES)}',),
            )
        case State.INTAKE_READY | State.SPEC_READY | State.DEV_READY | State.DIAGNOSE_READY | State.REVIEW_READY:
            return explain_ready(project, seen, rules)
        case _:
            assert_never(project.state)


def _spec_changed(project: Project, seen: Seen) -> bool:
    planning = project.state is State.SPEC_READY and not project.settings.plan_locked
    planning = planning or project.planning is not None
    return bool(project.planned_spec and seen.spec_hash and project.planned_spec != seen.spec_hash) and not planning
