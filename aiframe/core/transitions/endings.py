"""A step begins, and how its end moves the state: by what its role achieved."""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from aiframe.core.budget import Spent
from aiframe.core.effects import Archive, Decision, Effect, GoOn, SetStatus
from aiframe.core.events import Broken, Ending, Finished, Handed, Held, JobsEnded, Proposal
from aiframe.core.model import (
    READY_STATE,
    STEP_STATES,
    Failure,
    FailureKind,
    Project,
    Role,
    Rules,
    Run,
    State,
    TaskStatus,
)
from aiframe.core.seen import Seen
from aiframe.core.timing import elapsed
from aiframe.core.transitions.budgets import recorded, until_budget
from aiframe.core.transitions.failures import on_broken
from aiframe.core.transitions.handing import is_handed, on_handed
from aiframe.core.transitions.holding import not_held, on_held
from aiframe.core.transitions.jobs import on_jobs_ended
from aiframe.core.transitions.merging import not_returned
from aiframe.core.transitions.notes import counted, subject_of, with_question, without
from aiframe.core.transitions.paths import Refused, in_error, way_back
from aiframe.core.transitions.planning import plan_made


def on_run_started(project: Project, run: Run) -> Decision:
    """A step begins: from its ready state, or with the answers of an interview."""
    if project.state not in STEP_STATES and project.state is not State.INTAKE_WAITING:
        raise Refused(f"no step can start in state {project.state}", hint="run `aiframe tick` again")
    effects = (SetStatus(run.task_id, TaskStatus.IN_PROGRESS),) if run.task_id else ()
    if run.task_id in project.held and not project.held[run.task_id].approved:
        project = not_held(project, run.task_id)  # a person has set the task to todo: it begins anew
    if not is_handed(project, run):
        project = project.evolve(handed=None)
    return Decision(project.evolve(state=State.RUNNING, run=run, wait=None, pause_requested=False, again=()), effects)


def on_step_ended(project: Project, run: Run, seen: Seen, ending: Ending, rules: Rules, spent: Spent) -> Decision:
    """The state that a step's ending leads to; a pause asked for meanwhile turns it into PAUSED."""
    if (
        isinstance(ending, Finished)
        and run.role is Role.PO
        and not seen.tasks
        and not _may_put(project, ending.proposal)
    ):
        # Taken as finished, an empty plan would be planned again and again.
        complaint = "the plan holds no task"
        ending = Broken((Failure(FailureKind.INVALID_OUTPUT, complaint),), complaint)
    ended = recorded(project, run, seen, ending, spent).evolve(run=None, state=READY_STATE[run.role], session=None)
    match ending:
        case Finished():
            decision = _finished(_succeeded(ended, run), run, seen, ending)
        case Held():
            decision = on_held(_succeeded(ended, run), run, ending)
        case Handed():
            decision = on_handed(ended, run, ending)
        case JobsEnded():
            decision = on_jobs_ended(ended, run, seen, ending, rules)
        case Broken():
            decision = until_budget(on_broken(ended, run, seen, ending, rules), run, seen, rules)
        case _:
            assert_never(ending)
    return _paused_if_asked(decision)


def on_run_lost(project: Project, run: Run, seen: Seen, rules: Rules, spent: Spent) -> Decision:
    """A run without a result: interrupted, or too long."""
    if elapsed(run.started, seen.clock) > run.timeout_s:
        failure = Failure(FailureKind.TIMEOUT, f"the run took longer than {run.timeout_s:g} s and its runner is gone")
    else:
        hint = "if nobody killed it, .git/aiframe/runner.log may say why"
        failure = Failure(FailureKind.INTERRUPTED, "the runner died and left no result", hint)
    return on_step_ended(project, run, seen, Broken((failure,)), rules, spent)


def _paused_if_asked(decision: Decision) -> Decision:
    project = decision.project
    if not project.pause_requested:
        return decision
    project = project.evolve(pause_requested=False)
    if project.state in (State.PAUSED, State.ERROR):
        return Decision(project, _without_going_on(decision))
    return Decision(project.evolve(state=State.PAUSED, paused_from=way_back(project)), _without_going_on(decision))


def _without_going_on(decision: Decision) -> tuple[Effect, ...]:
    return tuple(effect for effect in decision.effects if not isinstance(effect, GoOn))


def _succeeded(project: Project, run: Run) -> Project:
    """The step came to its end, and what stood in its way is over."""
    project = counted(project, run).evolve(
        streaks={}, last_error="", failure=None, findings=without(project.findings, subject_of(run)), handed=None
    )
    if project.diagnosed_role is run.role:
        project = project.evolve(diagnosis_done=False, diagnosed_role=None, resume_state=None)
    return project


def _finished(project: Project, run: Run, seen: Seen, ending: Finished) -> Decision:
    match run.role:
        case Role.INTAKE:
            return _intake_finished(project, ending.proposal)
        case Role.PO:
            return _plan_finished(project, seen, ending.proposal)
        case Role.DEV:
            return _task_finished(project, run, seen, ending)
        case Role.DIAGNOSE:
            return _diagnosis_finished(project, ending.proposal)
        case Role.AUDIT:
            raise Refused("an audit is part of a DEV step, and no step of its own")
        case _:
            assert_never(run.role)


def may_ask(project: Project) -> bool:
    """Whether an INTAKE step may put questions: once, and once more while confirmations are wanted."""
    settings = project.settings
    return settings.interactive_mode and (project.interviews == 0 or settings.require_confirmations)


def _intake_finished(project: Project, proposal: Proposal) -> Decision:
    after = project.evolve(answers_done=False)
    if not (proposal.questions_written and may_ask(project)):
        return Decision(after.evolve(state=State.SPEC_READY), (Archive("answers"),))
    settings = after.settings
    if after.interviews:
        settings = replace(settings, require_confirmations=False)
    asked = after.evolve(state=State.INTAKE_WAITING, interviews=after.interviews + 1, settings=settings)
    return Decision(asked, (Archive("answers"),))


def _plan_finished(project: Project, seen: Seen, proposal: Proposal) -> Decision:
    if proposal.question and _may_put(project, proposal):
        questions = (*project.questions, proposal.question)
        return Decision(project.evolve(state=State.QUESTION_WAITING, paused_from=State.SPEC_READY, questions=questions))
    settings = replace(project.settings, plan_locked=True)
    made = project.evolve(state=State.DEV_READY, settings=settings, planned_spec=seen.spec_hash)
    return Decision(plan_made(made, seen))


def _may_put(project: Project, proposal: Proposal) -> bool:
    """Whether the planner's question reaches the person: once, and only where there is one."""
    asked_before = any(not question.task_id for question in project.questions)
    return proposal.question is not None and project.settings.interactive_mode and not asked_before


def _task_finished(project: Project, run: Run, seen: Seen, ending: Finished) -> Decision:
    """The gates passed and the commit is kept: done, or in review where a person has to look."""
    if run.task_id in project.held:  # a person has looked at it, and it has landed
        landed = not_returned(not_held(project, run.task_id), run.task_id).evolve(state=State.DEV_READY)
        return Decision(landed, (SetStatus(run.task_id, TaskStatus.DONE), GoOn()))
    interactive, proposal = project.settings.interactive_mode, ending.proposal
    if interactive and proposal.question is not None:
        # What it has proven so far is kept; the answer has to come before it goes on.
        waits = with_question(project, run, proposal.question).evolve(state=State.DEV_READY)
        return Decision(waits, (SetStatus(run.task_id, TaskStatus.TODO), GoOn()))
    needs_person = any(task.id == run.task_id and task.needs_person for task in seen.tasks)
    status = TaskStatus.REVIEW if needs_person and interactive else TaskStatus.DONE
    items = tuple(dict.fromkeys((*project.review_items, run.task_id)))
    project = project.evolve(
        review_items=items,
        to_look_at={**project.to_look_at, run.task_id: proposal.to_look_at},
        trees=without(project.trees, run.task_id),
    )
    project = with_question(not_returned(project, run.task_id), run, proposal.question)
    effects: tuple[Effect, ...] = (SetStatus(run.task_id, status),)
    every = project.settings.review_every_n_tasks
    review_due = needs_person or 0 < every <= len(items) or proposal.state is State.REVIEW_READY
    if proposal.state is State.ERROR:
        failure = Failure(
            FailureKind.SETUP, proposal.reason or "the agent asks for a person", "`aiframe resume` goes on"
        )
        return Decision(in_error(project, failure, State.DEV_READY), effects)
    if interactive and review_due:
        return Decision(project.evolve(state=State.REVIEW_READY), effects)
    if proposal.state is State.SPEC_READY and not project.settings.plan_locked:
        return Decision(project.evolve(state=State.SPEC_READY), effects)
    return Decision(project.evolve(state=State.DEV_READY), (*effects, GoOn()))


def _diagnosis_finished(project: Project, proposal: Proposal) -> Decision:
    settings = project.settings
    if proposal.timeout_sec is not None:
        settings = replace(settings, timeout_sec=proposal.timeout_sec)
    back = project.resume_state or READY_STATE[project.diagnosed_role or Role.DEV]
    if proposal.state is State.SPEC_READY and back is not State.SPEC_READY:
        back, settings = State.SPEC_READY, replace(settings, plan_locked=False)
    return Decision(
        project.evolve(
            state=back, diagnosis_done=True, diagnosis=proposal.diagnosis or project.diagnosis, settings=settings
        )
    )
