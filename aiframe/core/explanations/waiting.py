"""Projects that wait for a person: for answers, a review, work by hand, a word to go on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiframe.core.events import Tick
from aiframe.core.explanations.words import LOOK, TICK, Explanation, counted, hint_of, shortened, show_command
from aiframe.core.explanations.working import explain_ready, next_move
from aiframe.core.machine import decide
from aiframe.core.model import Failure, FailureKind, Project, Question, Rules, State, Task, TaskStatus
from aiframe.core.scheduling import CLOSED, all_closed
from aiframe.core.seen import Seen
from aiframe.core.transitions.holding import undecided
from aiframe.core.transitions.merging import waits_for_word


def explain_interview(project: Project, seen: Seen, rules: Rules, open_form_questions: int) -> Explanation:
    """The answers of a person, or what the next tick does where they are not waited for."""
    if seen.form_done or project.answers_done or not project.settings.interactive_mode:
        return explain_ready(project, seen, rules)
    waiting = f"{counted(open_form_questions, 'question waits', 'questions wait')} for you"
    headline = f"{waiting if open_form_questions else 'The interview waits for you'} in INTAKE_ANSWERS.md"
    return Explanation(
        headline, "your answers", cures=("write into INTAKE_ANSWERS.md", "aiframe answer", "aiframe answer --done")
    )


def explain_review(project: Project, seen: Seen, repo: str) -> Explanation:
    """Which tasks are to be looked at, and how; *repo* as in `explain`."""
    if seen.rejection is not None or seen.approval:
        said = "rejection" if seen.rejection is not None else "approval"
        return Explanation(f"Your {said} is there", "the next tick, which takes it", cures=(TICK,))
    items = _reviewed(project, seen.tasks)
    about = f" of {', '.join(items)}" if items else ""
    last = "; it is the last one, every task is done" if seen.tasks and all_closed(seen.tasks) else ""
    checks = {task.id: task.manual_checks for task in seen.tasks}
    looks = ((name, (*checks.get(name, ()), *project.to_look_at.get(name, ()))) for name in items)
    look = tuple(f"{LOOK}{name}: {shortened(texts)}" for name, texts in looks if texts)
    shows = tuple(show_command(project.held[name], repo) for name in undecided(project, seen.tasks))
    single = tuple(f"aiframe approve {name}" for name in undecided(project, seen.tasks))
    return Explanation(
        f"A review{about} waits for you{last}",
        "your review",
        cures=(*look, *shows, *single, "aiframe approve", 'aiframe reject --notes "..."'),
    )


def _reviewed(project: Project, tasks: Sequence[Task]) -> tuple[str, ...]:
    in_review = (task.id for task in tasks if task.status is TaskStatus.REVIEW)
    return tuple(dict.fromkeys((*project.review_items, *in_review)))


def explain_questions(project: Project, seen: Seen, rules: Rules) -> Explanation:
    """Which questions of agents wait."""
    if decide(project, Tick(seen), rules).project.state is not State.QUESTION_WAITING:
        return Explanation("No open question is in the way", next_move(project, seen, rules), cures=(TICK,))
    asked = "; ".join(_question(question) for question in project.open_questions())
    return Explanation(f"A question waits for you: {asked}", "your answer", cures=("aiframe answer",))


def explain_work(project: Project, seen: Seen, rules: Rules) -> Explanation:
    """Which work is in a person's hands, and where."""
    work = project.handed
    if work is None or decide(project, Tick(seen), rules).project.state is not State.WORK_WAITING:
        return Explanation("No work is in your hands", next_move(project, seen, rules), cures=(TICK,))
    what = f"{work.task_id} is" if work.task_id else f"The work of {work.role} is"
    why = f": {project.last_error}" if project.last_error else ""
    cures = (f"do what {work.prompt} asks for, in {work.workspace}", f"aiframe done {work.task_id}".rstrip())
    back = (f"aiframe retry {work.task_id} (once PROJECT.yaml names another agent)",) if work.task_id else ()
    return Explanation(f"{what} in your hands{why}", "your work", cures=(*hint_of(project.failure), *cures, *back))


def _question(question: Question) -> str:
    about = f" about {question.task_id}" if question.task_id else ""
    return f"{question.id}{about}: {question.text}"


def explain_interrupt(project: Project, seen: Seen) -> Explanation:
    """That a person has stopped it for a talk, or has ended that."""
    if seen.interrupt_flag and project.settings.interactive_mode:
        return Explanation(
            "You have interrupted the work; what you write into notes/interaction_notes.md reaches the next step",
            "you",
            cures=("aiframe continue", "delete notes/interrupt.flag"),
        )
    return Explanation("The interrupt is over", f"the next tick, which goes back to {_back(project)}", cures=(TICK,))


def explain_pause(project: Project) -> Explanation:
    """Why it is paused: on request, or by what has to be decided first."""
    failure = project.failure
    stopped = failure is not None and failure.kind in (FailureKind.CANCELLED, FailureKind.BUDGET)
    stopped = stopped or waits_for_word(project)
    if project.planning is not None and project.planning.made:
        shown, dropped = "aiframe accept --diff (shows it)", "aiframe accept --discard (keeps the old one)"
        return Explanation("A new plan waits for your word", "you", cures=(shown, "aiframe accept", dropped))
    if failure is not None and stopped:
        return Explanation(f"Paused: {failure.message}", "you", cures=(*hint_of(failure), "aiframe resume"))
    return Explanation(f"Paused on request, on the way to {_back(project)}", "you", cures=("aiframe resume",))


def _back(project: Project) -> str:
    return project.paused_from or "where it was"


def explain_end(seen: Seen, landed: str) -> Explanation:
    """That all is done; *landed* as in `explain`."""
    left = [task.id for task in seen.tasks if task.status not in CLOSED]
    if not left:
        more = "for more, add a task with status todo to TASKS.yaml, then `aiframe resume`"
        taken_in = (f"{landed} (takes in what has landed)",) if landed else ()
        return Explanation("Done: no task is open", cures=(*taken_in, more))
    there = counted(len(left), "task is", "tasks are")
    return Explanation(f"Done once, but {there} open: {', '.join(left)}", "you", cures=("aiframe resume",))


def explain_error(project: Project, seen: Seen) -> Explanation:
    """What has stopped it, and what to try."""
    failure = project.failure
    said = failure.message if failure is not None else project.last_error or "no reason is recorded"
    code = f" ({project.last_error})" if project.last_error and project.last_error not in said else ""
    found = f". The diagnosis: {project.diagnosis}" if project.diagnosis and project.diagnosis_done else ""
    failed = [task.id for task in seen.tasks if task.status is TaskStatus.FAILED]
    retries = tuple(f"aiframe retry {task_id}" for task_id in failed)
    on = () if failed else ("aiframe resume",)
    hints = () if _is_for_a_task_gone(failure, seen) else hint_of(failure)
    return Explanation(f"Stopped by an error: {said}{code}{found}", "you", cures=(*hints, *retries, *on))


def _is_for_a_task_gone(failure: Failure | None, seen: Seen) -> bool:
    """Whether the cure is to retry a task that TASKS.yaml has no more: a person has planned anew since."""
    named = re.search(r"`aiframe retry ([^`\s]+)`", failure.hint) if failure is not None else None
    return named is not None and named[1] not in ("TASK", *(task.id for task in seen.tasks))
