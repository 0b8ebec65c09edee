"""Every transition of a project: ``decide(project, event, rules)`` says what it becomes and what to do.

Pure: time and files come in with the event. A late event (of a run that is no longer the project's) changes nothing; a
command that does not fit the state raises `Refused` and changes nothing. The rows are in `aiframe.core.transitions`.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from aiframe.core.effects import Decision
from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Approve,
    Change,
    DropPlan,
    Event,
    HandSet,
    JobsWent,
    Pause,
    PlanFrom,
    Replan,
    Resume,
    Retry,
    RunLost,
    RunStarted,
    RunTakenUp,
    SendBack,
    StepEnded,
    TakeOver,
    TakePlan,
    Tick,
    WorkDone,
)
from aiframe.core.model import Project, Rules
from aiframe.core.transitions.commands import (
    on_answer_given,
    on_answers_done,
    on_hand_set,
    on_pause,
    on_replan,
    on_resume,
    on_retry,
    on_take_over,
)
from aiframe.core.transitions.endings import may_ask, on_run_lost, on_run_started, on_step_ended
from aiframe.core.transitions.failures import JUDGED
from aiframe.core.transitions.handing import is_handed, on_work_done
from aiframe.core.transitions.holding import on_approve, on_send_back
from aiframe.core.transitions.jobs import on_jobs_went
from aiframe.core.transitions.notes import answer_of
from aiframe.core.transitions.paths import Refused
from aiframe.core.transitions.planning import on_drop_plan, on_plan_from, on_take_plan
from aiframe.core.transitions.ticks import on_tick, seen_after

__all__ = ["JUDGED", "Refused", "answer_of", "decide", "is_handed", "may_ask", "seen_after"]


def decide(project: Project, event: Event, rules: Rules) -> Decision:
    """The project after *event*, and the effects to carry out. Raises `Refused` for a command that does not fit."""
    match event:
        case Tick():
            return on_tick(project, event, rules)
        case RunStarted(run):
            return on_run_started(project, run)
        case RunTakenUp(run_id, runner):
            if project.run is None or project.run.run_id != run_id:
                return Decision(project)
            return Decision(project.evolve(run=replace(project.run, runner=runner)))
        case StepEnded(run_id, seen, ending, spent):
            if project.run is None or project.run.run_id != run_id:
                return Decision(project)
            return on_step_ended(project, project.run, seen, ending, rules, spent)
        case JobsWent(run_id):
            if project.run is None or project.run.run_id != run_id:
                return Decision(project)
            return on_jobs_went(project, project.run, event)
        case RunLost(run_id, seen, spent):
            if project.run is None or project.run.run_id != run_id:
                return Decision(project)
            return on_run_lost(project, project.run, seen, rules, spent)
        case HandSet():
            return on_hand_set(project, event)
        case TakeOver(seen):
            return on_take_over(project, seen, rules)
        case Pause():
            return on_pause(project)
        case Resume(seen, now):
            return on_resume(project, seen, now, rules)
        case Retry(seen, task_id):
            return on_retry(project, seen, task_id)
        case Replan():
            return on_replan(project)
        case PlanFrom():
            return on_plan_from(project, event)
        case TakePlan(seen):
            return on_take_plan(project, seen)
        case DropPlan(seen):
            return on_drop_plan(project, seen)
        case AnswersDone():
            return on_answers_done(project)
        case AnswerGiven(question_id, text):
            return on_answer_given(project, question_id, text)
        case WorkDone(seen, task_id):
            return on_work_done(project, seen, task_id)
        case Approve(seen, task_id):
            return on_approve(project, seen, task_id)
        case SendBack(seen, task_id, notes):
            return on_send_back(project, seen, task_id, notes)
        case Change(values):
            return Decision(project.evolve(settings=replace(project.settings, **values)))
        case _:
            assert_never(event)
