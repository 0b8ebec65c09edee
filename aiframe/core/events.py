"""What can happen to a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

from aiframe.core.budget import Spent
from aiframe.core.model import Failure, PlanMode, Question, Run, Runner, Session, Settings, State, Unknown
from aiframe.core.seen import Seen


class Tick(Struct, frozen=True):
    """Somebody looks at the project. *may_start* is False once this look has had its step.

    *tasks_taken* counts the tasks that this runner has worked off already.
    """

    seen: Seen
    may_start: bool = True
    tasks_taken: int = 0


class RunStarted(Struct, frozen=True):
    """A runner that holds the run lock begins a step."""

    run: Run


class RunTakenUp(Struct, frozen=True):
    """*runner* goes on with the step of run *run_id*, whose own runner is dead: its agent is not, or ended unseen."""

    run_id: str
    runner: Runner


class Proposal(Struct, frozen=True):
    """What an agent asks for, after the verdict took out what it may not have."""

    state: State | None = None
    reason: str = ""
    questions_written: bool = False
    question: Question | None = None
    diagnosis: str = ""
    timeout_sec: float | None = None
    to_look_at: tuple[str, ...] = ()


class Finished(Struct, frozen=True):
    """The step did what its role is for; for DEV: the gates passed on *commit*."""

    proposal: Proposal = field(default_factory=Proposal)
    commit: str = ""


class Broken(Struct, frozen=True):
    """The step did not succeed. *findings* is for the next try, *tree* names the work that was judged, *session* the
    agent's conversation. *causes* are what failed, by names that are the same when it fails again. *proven*: the work
    has passed its checks, and had no time to land."""

    failures: tuple[Failure, ...]
    findings: str = ""
    tree: str = ""
    question: Question | None = None
    session: Session | None = None
    causes: tuple[str, ...] = ()
    proven: bool = False


class Held(Struct, frozen=True):
    """The candidate passed its checks, and only a person may take it: *reason* says why, *findings* what to look at.

    *tree* is what a person approves, *commit* holds it, *ref* keeps that commit.
    """

    reason: str
    findings: tuple[str, ...]
    tree: str
    ref: str
    commit: str = ""
    proposal: Proposal = field(default_factory=Proposal)


class Handed(Struct, frozen=True):
    """The work is in a person's hands: the file *prompt*, relative to the project, says what, *workspace* where.

    *failure* and *findings* say what its checks found, where the person has handed it in before.
    """

    prompt: str
    workspace: str
    failure: Failure | None = None
    findings: str = ""


class JobsEnded(Struct, frozen=True):
    """A run of jobs is over: those *done*, those *failed* with what went wrong, and those *cut* off, to begin anew.

    *failure* says why the run ended although there was more to do. *took* has the seconds of every job that ended in
    the run, also of those that `JobsWent` has told to be done, *keys* the input keys of those that are over.
    """

    done: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    cut: tuple[str, ...] = ()
    failure: Failure | None = None
    took: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


Ending: TypeAlias = Finished | Broken | Held | Handed | JobsEnded


class StepEnded(Struct, frozen=True):
    """The step of run *run_id* ended, and has *spent* that much."""

    run_id: str
    seen: Seen
    ending: Ending
    spent: Spent = field(default_factory=Spent)


class JobsWent(Struct, frozen=True):
    """The run *run_id* goes on: jobs have *begun* since the last word, others are *done* or have *failed*.

    *timeout_s* is the time, from the run's start, within which those that are at work have to end. *again* are those
    that have failed before, and that it begins once more as a person wants it.
    """

    run_id: str
    seen: Seen
    timeout_s: float
    begun: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    again: tuple[str, ...] = ()


class RunLost(Struct, frozen=True):
    """The runner of *run_id* is dead, its processes are ended, and it left no result; it has *spent* that much."""

    run_id: str
    seen: Seen
    spent: Spent = field(default_factory=Spent)


class HandSet(Struct, frozen=True):
    """A person wrote another state, settings or fields into STATE.json while nothing ran."""

    seen: Seen
    state: State | Unknown | None = None
    settings: Settings | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


class TakeOver(Struct, frozen=True):
    """The person says that the host which carries the step is gone."""

    seen: Seen


class Pause(Struct, frozen=True):
    """Stop starting steps; a step that runs may end first."""


class Resume(Struct, frozen=True):
    """Go on from a pause, an interrupt, an error or the end; *now* cuts a waiting time short."""

    seen: Seen
    now: bool = False


class Retry(Struct, frozen=True):
    """Give a failed task (empty id: every failed task) its attempts back and go on."""

    seen: Seen
    task_id: str = ""


class Replan(Struct, frozen=True):
    """Lift the lock of the plan and have the PO plan again."""


class PlanFrom(Struct, frozen=True):
    """Have the PO plan from a document called *source*, without an interview; *spec* is what SPEC.md is to say.

    *spec_before* and *tasks_before* are the texts of SPEC.md and TASKS.yaml, for `DropPlan`. *confirmed*: a plan that
    replaces another one is taken without another word.
    """

    seen: Seen
    mode: PlanMode
    source: str
    spec: str
    spec_before: str = ""
    tasks_before: str = ""
    confirmed: bool = False


class TakePlan(Struct, frozen=True):
    """The person takes the new plan, which replaces the one that was there."""

    seen: Seen


class DropPlan(Struct, frozen=True):
    """The person wants back what was there before a plan was asked for, whether or not that one is made by now."""

    seen: Seen


class AnswersDone(Struct, frozen=True):
    """The person says that the interview's form is as filled in as it will get."""


class AnswerGiven(Struct, frozen=True):
    """The person answers a question that an agent asked."""

    question_id: str
    text: str


class WorkDone(Struct, frozen=True):
    """The person hands in what they did by hand (empty *task_id*: whatever it is); its checks are due."""

    seen: Seen
    task_id: str = ""


class Approve(Struct, frozen=True):
    """The person takes the held candidate of a task: it lands once its checks have passed again."""

    seen: Seen
    task_id: str


class SendBack(Struct, frozen=True):
    """The person sends the held candidate of a task back; *notes* say why."""

    seen: Seen
    task_id: str
    notes: str


class Change(Struct, frozen=True):
    """The person changes settings by command: *values* by their names, checked already; the others stay."""

    values: Mapping[str, Any]


Event: TypeAlias = (
    Tick
    | RunStarted
    | RunTakenUp
    | StepEnded
    | JobsWent
    | RunLost
    | HandSet
    | TakeOver
    | Pause
    | Resume
    | Retry
    | Replan
    | PlanFrom
    | TakePlan
    | DropPlan
    | AnswersDone
    | AnswerGiven
    | WorkDone
    | Approve
    | SendBack
    | Change
)
