"""Why a project rests or works: one plain sentence, what it waits for, and the commands to go on.

Pure: nothing here reads a clock. Times are epoch seconds; whoever shows them renders them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from aiframe.core.events import Seen, StartStep, Tick
from aiframe.core.machine import decide
from aiframe.core.model import (
    Failure,
    FailureKind,
    HeldWork,
    Project,
    Question,
    Role,
    Rules,
    Run,
    State,
    Task,
    TaskStatus,
    Unknown,
)
from aiframe.core.scheduling import CLOSED, all_closed, is_all_jobs, is_job, is_plan_gone
from aiframe.core.timing import is_past_its_time, rebased, remaining
from aiframe.core.transitions.holding import undecided
from aiframe.core.transitions.merging import waits_for_word

TICK = "aiframe tick"
GO_ON = "aiframe run"
LOOK = "look at "
"""How a cure begins that says what to look at, which may be long."""
PLAN_GONE = "holds no task, and there was a plan: nothing goes on, and nothing is concluded from that"
BRING_BACK = "bring TASKS.yaml back (`git log -- TASKS.yaml` in the project shows what it was)"
NEW_PLAN = "aiframe replan"
KNOWN_STATES = tuple(state.value for state in State if state is not State.RUNNING)
"""The states that a person may write into STATE.json."""
_SHOWN = 5
"""How many things to look at a task has in a review's line."""


class Explanation(Struct, frozen=True):
    """Where a project stands. *waiting_for* is empty where nothing is; *cures* come in the order to try them.

    *since* and *until* are epoch seconds; None where it is not known or has no end. A cure is a command to type, or a
    few words where the way on is an edit.
    """

    headline: str
    waiting_for: str = ""
    since: float | None = None
    until: float | None = None
    cures: tuple[str, ...] = ()


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
        about = _count(asked, "question of an agent waits", "questions of agents wait")
        said = replace(said, cures=(*said.cures, f"aiframe questions ({about} for you)"))
    return replace(said, cures=tuple(dict.fromkeys(said.cures)))


def _meanwhile(project: Project, seen: Seen) -> tuple[str, ...]:
    """What waits for the person while the project goes on without."""
    if project.state not in (State.DEV_READY, State.RUNNING):
        return ()
    reviews = sum(task.status is TaskStatus.REVIEW for task in seen.tasks)
    return (f"aiframe digest (meanwhile for you: {_count(reviews, 'review', 'reviews')})",) if reviews else ()


def _open_questions(project: Project, seen: Seen) -> int:
    """How many questions still matter to somebody."""
    closed = {task.id for task in seen.tasks if task.status in CLOSED}
    return sum(question.task_id not in closed for question in project.open_questions())


def _where_it_stands(
    project: Project, seen: Seen, rules: Rules, open_form_questions: int, repo: str, landed: str
) -> Explanation:
    match project.state:
        case State.RUNNING:
            return _running(project, seen, rules)
        case State.INTAKE_WAITING:
            return _interview(project, seen, rules, open_form_questions)
        case State.REVIEW_WAITING:
            return _review(project, seen, repo)
        case State.QUESTION_WAITING:
            return _questions(project, seen, rules)
        case State.WORK_WAITING:
            return _work(project, seen, rules)
        case State.PAUSE_INTERACT:
            return _interrupted(project, seen)
        case State.PAUSED:
            return _paused(project)
        case State.DONE:
            return _done(seen, landed)
        case State.ERROR:
            return _error(project, seen)
        case Unknown(name):
            return Explanation(
                f'STATE.json names the state "{name}", which aiframe does not know',
                "a state that it knows",
                cures=(f'set "state" in STATE.json to one of {", ".join(KNOWN_STATES)}',),
            )
        case State.INTAKE_READY | State.SPEC_READY | State.DEV_READY | State.DIAGNOSE_READY | State.REVIEW_READY:
            return _ready(project, seen, rules)
        case _:
            assert_never(project.state)


# Work -----------------------------------------------------------------------------------------------------------------


def _running(project: Project, seen: Seen, rules: Rules) -> Explanation:
    run = project.run
    assert run is not None  # a project that runs has a run
    step, since = _jobs(run, seen.tasks) or _step(run.role, run.task_id, run.attempt), run.started.wall
    what = step[0].upper() + step[1:]
    if run.runner.host and run.runner.host != seen.clock.host:
        return _elsewhere(run, what, seen, rules)
    if not seen.lock_held:
        return Explanation(f"{what} has lost its runner", "the next tick, which recovers it", since, cures=(TICK,))
    if is_past_its_time(run, seen.clock, rules):
        return Explanation(
            f"{what} hangs: it is past its time and does not end", "the next tick, which stops it", since, cures=(TICK,)
        )
    until = since + run.timeout_s
    if project.pause_requested:
        return Explanation(
            f"{what} runs; then the project pauses",
            "the step",
            since,
            until,
            ("aiframe logs --follow", "aiframe resume"),
        )
    return Explanation(f"{what} runs", "the step", since, until, ("aiframe logs --follow", "aiframe stop"))


def _jobs(run: Run, tasks: Sequence[Task]) -> str:
    """The run of jobs, with those at work as far as TASKS.yaml says; empty where it is another run."""
    if not is_job(tasks, run.task_id):
        return ""
    jobs = [task for task in tasks if task.is_job]
    at_work = [task.id for task in jobs if task.status is TaskStatus.IN_PROGRESS]
    over = sum(task.status in (*CLOSED, TaskStatus.FAILED) for task in jobs)
    return f"the run of jobs ({over} of {len(jobs)} over{f'; at work: {shortened(at_work)}' if at_work else ''})"


def _elsewhere(run: Run, what: str, seen: Seen, rules: Rules) -> Explanation:
    """A run of another host: never judged by the lock. Its runner ends it in time, if it lives."""
    host, since = run.runner.host, run.started.wall
    look = f"aiframe status (on {host})"
    if is_past_its_time(run, seen.clock, rules):
        return Explanation(
            f"{what} ran on the host {host} and is past its time; whether it is alive cannot be seen from here",
            "you",
            since,
            cures=(look, "aiframe stop (here, if that host is gone: the step is looked after then)"),
        )
    return Explanation(
        f"{what} runs on the host {host}; whether it is alive cannot be seen from here",
        "that host",
        since,
        since + run.timeout_s + rules.hung_grace_sec,
        (look, "aiframe stop (here once its time is over, if that host is gone)"),
    )


def _ready(project: Project, seen: Seen, rules: Rules) -> Explanation:
    """A state from which the next tick goes on: the machine itself says how."""
    wait = rebased(project.wait, seen.clock)
    interrupted = seen.interrupt_flag and project.settings.interactive_mode
    if project.state is not State.REVIEW_READY and wait and remaining(wait, seen.clock) > 0 and not interrupted:
        why = f": {project.last_error}" if project.last_error else ""
        by_budget = project.failure is not None and project.failure.kind is FailureKind.BUDGET
        at_once = () if by_budget else ("aiframe resume --now",)  # it would meet the same limit again
        cures = (*_hint(project.failure), *at_once)
        return Explanation(f"The next step waits{why}", "a time", wait.set_at, wait.until, cures)
    worked_off = project.state is State.DEV_READY or (
        project.state is State.SPEC_READY and project.settings.plan_locked
    )
    if worked_off and is_plan_gone(project, seen):
        anew = f"{NEW_PLAN} (if a new one is to be made)"
        return Explanation(f"TASKS.yaml {PLAN_GONE}", "TASKS.yaml", cures=(BRING_BACK, anew))
    if seen.lanes and project.state is State.DEV_READY:
        return _side_by_side(seen)
    together = rules.capacity.slots > 1 and project.state is State.DEV_READY
    return Explanation(_headline(project, seen), _next(project, seen, rules), cures=(GO_ON if together else TICK,))


def _side_by_side(seen: Seen) -> Explanation:
    """Tasks that are worked at in lanes: which go on, and which rest. What each waits for its own project says."""
    again = to_take_up(seen)
    idle = {lane.task_id for lane in seen.lanes if lane.rests or lane.stuck or lane.failure is not None} - again
    at_work = [lane.task_id for lane in seen.lanes if lane.task_id not in idle]
    rest = [lane.task_id for lane in seen.lanes if lane.task_id in idle]
    nobody = not any(lane.running or lane.waits for lane in seen.lanes)  # the runners may have been killed
    said = [f"{', '.join(at_work)} {'to go on' if nobody else 'at work'}"] if at_work else []
    said += [f"{', '.join(rest)} waiting"] if rest else []
    going = "the next run, which goes on with them" if nobody else "the steps"
    waiting = going if at_work else "what those tasks wait for"
    return Explanation(f"Side by side: {'; '.join(said)}", waiting, cures=(GO_ON,) if at_work else ())


def to_take_up(seen: Seen) -> set[str]:
    """The tasks with a lane that are to be begun again, whatever their lane has come to."""
    todo = {task.id for task in seen.tasks if task.status is TaskStatus.TODO}
    return {lane.task_id for lane in seen.lanes if not lane.running} & todo


def _headline(project: Project, seen: Seen) -> str:
    match project.state:
        case State.INTAKE_READY if is_all_jobs(project, seen):
            return "The jobs can begin"
        case State.INTAKE_READY if project.settings.interactive_mode:
            return "The interview can begin"
        case State.INTAKE_READY:
            return "The work can begin, without an interview"
        case State.INTAKE_WAITING if project.settings.interactive_mode:
            return "Your answers are there"
        case State.INTAKE_WAITING:
            return "The interview goes on without answers"
        case State.SPEC_READY:
            return "The specification is there; the plan is not"
        case State.DIAGNOSE_READY:
            return f"A step went wrong ({project.last_error or 'timeout'}) and is to be diagnosed"
        case State.REVIEW_READY:
            return "Work is ready for a review"
        case _:
            return "The plan is there to be worked off"


def _next(project: Project, seen: Seen, rules: Rules) -> str:
    """What the next tick would do."""
    decision = decide(project, Tick(seen), rules)
    step = next((effect for effect in decision.effects if isinstance(effect, StartStep)), None)
    if step is not None:
        return f"the next tick, which starts {_step(step.role, step.task_id, step.attempt)}"
    return f"the next tick, which goes on to {decision.project.state}"


def _step(role: Role, task_id: str, attempt: int) -> str:
    about = f" on {task_id}" if task_id else ""
    return f"the {role} step{about} (attempt {attempt})"


# Waiting for a person -------------------------------------------------------------------------------------------------


def _interview(project: Project, seen: Seen, rules: Rules, open_form_questions: int) -> Explanation:
    if seen.form_done or project.answers_done or not project.settings.interactive_mode:
        return _ready(project, seen, rules)
    waiting = f"{_count(open_form_questions, 'question waits', 'questions wait')} for you"
    headline = f"{waiting if open_form_questions else 'The interview waits for you'} in INTAKE_ANSWERS.md"
    return Explanation(
        headline, "your answers", cures=("write into INTAKE_ANSWERS.md", "aiframe answer", "aiframe answer --done")
    )


def _review(project: Project, seen: Seen, repo: str) -> Explanation:
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


def shortened(texts: Sequence[str]) -> str:
    """*texts* on one line that a person can still read."""
    more = len(texts) - _SHOWN
    return "; ".join((*texts[:_SHOWN], *((f"and {more} more",) if more > 0 else ())))


def show_command(work: HeldWork, repo: str = "") -> str:
    """The command that shows held *work*; *repo* as in `explain`."""
    return f"git{f' -C {repo}' if repo else ''} show {work.ref}"


def _reviewed(project: Project, tasks: Sequence[Task]) -> tuple[str, ...]:
    in_review = (task.id for task in tasks if task.status is TaskStatus.REVIEW)
    return tuple(dict.fromkeys((*project.review_items, *in_review)))


def _questions(project: Project, seen: Seen, rules: Rules) -> Explanation:
    if decide(project, Tick(seen), rules).project.state is not State.QUESTION_WAITING:
        return Explanation("No open question is in the way", _next(project, seen, rules), cures=(TICK,))
    asked = "; ".join(_question(question) for question in project.open_questions())
    return Explanation(f"A question waits for you: {asked}", "your answer", cures=("aiframe answer",))


def _work(project: Project, seen: Seen, rules: Rules) -> Explanation:
    work = project.handed
    if work is None or decide(project, Tick(seen), rules).project.state is not State.WORK_WAITING:
        return Explanation("No work is in your hands", _next(project, seen, rules), cures=(TICK,))
    what = f"{work.task_id} is" if work.task_id else f"The work of {work.role} is"
    why = f": {project.last_error}" if project.last_error else ""
    cures = (f"do what {work.prompt} asks for, in {work.workspace}", f"aiframe done {work.task_id}".rstrip())
    back = (f"aiframe retry {work.task_id} (once PROJECT.yaml names another agent)",) if work.task_id else ()
    return Explanation(f"{what} in your hands{why}", "your work", cures=(*_hint(project.failure), *cures, *back))


def _question(question: Question) -> str:
    about = f" about {question.task_id}" if question.task_id else ""
    return f"{question.id}{about}: {question.text}"


def _interrupted(project: Project, seen: Seen) -> Explanation:
    if seen.interrupt_flag and project.settings.interactive_mode:
        return Explanation(
            "You have interrupted the work; what you write into notes/interaction_notes.md reaches the next step",
            "you",
            cures=("aiframe continue", "delete notes/interrupt.flag"),
        )
    return Explanation("The interrupt is over", f"the next tick, which goes back to {_back(project)}", cures=(TICK,))


def _paused(project: Project) -> Explanation:
    failure = project.failure
    stopped = failure is not None and failure.kind in (FailureKind.CANCELLED, FailureKind.BUDGET)
    stopped = stopped or waits_for_word(project)
    if project.planning is not None and project.planning.made:
        shown, dropped = "aiframe accept --diff (shows it)", "aiframe accept --discard (keeps the old one)"
        return Explanation("A new plan waits for your word", "you", cures=(shown, "aiframe accept", dropped))
    if failure is not None and stopped:
        return Explanation(f"Paused: {failure.message}", "you", cures=(*_hint(failure), "aiframe resume"))
    return Explanation(f"Paused on request, on the way to {_back(project)}", "you", cures=("aiframe resume",))


def _back(project: Project) -> str:
    return project.paused_from or "where it was"


def _done(seen: Seen, landed: str) -> Explanation:
    left = [task.id for task in seen.tasks if task.status not in CLOSED]
    if not left:
        more = "for more, add a task with status todo to TASKS.yaml, then `aiframe resume`"
        taken_in = (f"{landed} (takes in what has landed)",) if landed else ()
        return Explanation("Done: no task is open", cures=(*taken_in, more))
    there = _count(len(left), "task is", "tasks are")
    return Explanation(f"Done once, but {there} open: {', '.join(left)}", "you", cures=("aiframe resume",))


def _error(project: Project, seen: Seen) -> Explanation:
    failure = project.failure
    said = failure.message if failure is not None else project.last_error or "no reason is recorded"
    code = f" ({project.last_error})" if project.last_error and project.last_error not in said else ""
    found = f". The diagnosis: {project.diagnosis}" if project.diagnosis and project.diagnosis_done else ""
    failed = [task.id for task in seen.tasks if task.status is TaskStatus.FAILED]
    retries = tuple(f"aiframe retry {task_id}" for task_id in failed)
    on = () if failed else ("aiframe resume",)
    hints = () if _is_for_a_task_gone(failure, seen) else _hint(failure)
    return Explanation(f"Stopped by an error: {said}{code}{found}", "you", cures=(*hints, *retries, *on))


def _is_for_a_task_gone(failure: Failure | None, seen: Seen) -> bool:
    """Whether the cure is to retry a task that TASKS.yaml has no more: a person has planned anew since."""
    named = re.search(r"`aiframe retry ([^`\s]+)`", failure.hint) if failure is not None else None
    return named is not None and named[1] not in ("TASK", *(task.id for task in seen.tasks))


def _hint(failure: Failure | None) -> tuple[str, ...]:
    return (failure.hint,) if failure is not None and failure.hint else ()


def _spec_changed(project: Project, seen: Seen) -> bool:
    planning = project.state is State.SPEC_READY and not project.settings.plan_locked
    planning = planning or project.planning is not None
    return bool(project.planned_spec and seen.spec_hash and project.planned_spec != seen.spec_hash) and not planning


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
