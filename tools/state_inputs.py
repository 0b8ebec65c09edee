"""The inputs that the pages of docs/ put to the state machine: one that is usual, and one thing different at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from aiframe.core.budget import Budget, Limits, Spending, Spent
from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Approve,
    DropPlan,
    Ending,
    Event,
    Handed,
    HandSet,
    Held,
    Pause,
    PlanFrom,
    Proposal,
    Replan,
    Resume,
    Retry,
    SendBack,
    TakePlan,
    WorkDone,
)
from aiframe.core.model import (
    FailureKind,
    HandedWork,
    HeldWork,
    Moment,
    PlanMode,
    Planning,
    Project,
    Question,
    Role,
    Rules,
    Run,
    Runner,
    State,
    Task,
    TaskStatus,
    Unknown,
    Wait,
)
from aiframe.core.scheduling import input_key
from aiframe.core.seen import Rejection, Seen

S, K = State, FailureKind
LIMITS = Rules()
ALONE = Rules(unattended=True)
CONTINUE = Rules(continue_on_task_failure=True)
NOW = Moment(wall=1_000_000.0, mono=1000.0, boot="boot", host="this host")
TODO = Task("T1", "T1", verify=("make check",))
ASK = Question("Q1", "?")
NOTHING = Proposal()
BEING_MADE = Planning(PlanMode.REPLACE, "plan.md", "", "", (TODO,), State.DEV_READY)
BY_HAND = HandedWork(Role.DEV, "T1", "notes/prompt.md", "")
UNKNOWN = Unknown("any other")
STATES: tuple[State | Unknown, ...] = (*State, UNKNOWN)


def run_of(role: Role) -> Run:
    """A run of *role* that has just begun on this host."""
    dev = role is Role.DEV
    return Run(
        "run",
        role,
        NOW,
        1800,
        Runner(1, 0, "boot", "this host"),
        "T1" if dev else "",
        1,
        input_key(TODO) if dev else "",
    )


def in_state(state: State | Unknown, role: Role = Role.DEV) -> Project:
    """A project in *state*, as it usually gets there."""
    if state is S.RUNNING:
        return Project(state, run=run_of(role), resume_state=S.DEV_READY)
    back = S.DEV_READY if state in (S.PAUSED, S.PAUSE_INTERACT, S.ERROR, S.QUESTION_WAITING) else None
    asked = (replace(ASK, task_id="T1"),) if state is S.QUESTION_WAITING else ()
    handed = BY_HAND if state is S.WORK_WAITING else None
    return Project(state, paused_from=back, questions=asked, handed=handed, resume_state=S.DEV_READY)


def usual_look(state: State | Unknown) -> Seen:
    """One task to do, nothing said by the person; the lock is held exactly while a step runs."""
    return Seen(NOW, lock_held=state is S.RUNNING, tasks=(TODO,), interrupt_flag=state is S.PAUSE_INTERACT)


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing that is different from the usual when somebody ticks.

    It is told of the states in *only* (empty: of all) where it changes what the tick does, or *always*. *flow*: the
    diagram shows it.
    """

    when: str
    project: Callable[[Project], Project] = lambda project: project
    seen: Callable[[Seen], Seen] = lambda seen: seen
    rules: Rules = LIMITS
    tasks_taken: int = 0
    only: frozenset[State] = frozenset()
    always: bool = False
    flow: bool = True


def setting(**changes: object) -> Callable[[Project], Project]:
    """A project with other settings."""
    return lambda project: project.evolve(settings=replace(project.settings, **changes))


def having(**changes: object) -> Callable[[Project], Project]:
    """A project with other fields."""
    return lambda project: project.evolve(**changes)


def tasks(*statuses: TaskStatus) -> Callable[[Seen], Seen]:
    """The look at a project whose tasks have these statuses."""
    there = tuple(replace(TODO, id=f"T{n}", status=status) for n, status in enumerate(statuses, 1))
    return lambda seen: replace(seen, tasks=there)


def later(seconds: float) -> Callable[[Seen], Seen]:
    """The same look, later."""
    return lambda seen: replace(seen, clock=replace(NOW, wall=NOW.wall + seconds, mono=NOW.mono + seconds))


USUAL = "as usual"
DEV, REVIEWS, QUESTIONS, WORK, RUNS = (
    frozenset({state}) for state in (S.DEV_READY, S.REVIEW_WAITING, S.QUESTION_WAITING, S.WORK_WAITING, S.RUNNING)
)
UNATTENDED = setting(interactive_mode=False)
IN_REVIEW = tasks(TaskStatus.REVIEW)
HELD = having(held={"T1": HeldWork("exceeds its scope", "tree", "ref", "commit")})
TAKEN = having(held={"T1": HeldWork("exceeds its scope", "tree", "ref", "commit", approved=True)})


def held_and_unattended(project: Project) -> Project:
    """A held candidate in a project that nobody attends."""
    return HELD(UNATTENDED(project))


SPENT = Spending(Spent(tokens=100, attempts=1), {"": Spent(tokens=100, attempts=1)})
BUDGET, DAY_BUDGET = (replace(LIMITS, budget=Budget(**{scope: Limits(tokens=100)})) for scope in ("project", "day"))
TRIED_OUT = {input_key(TODO): LIMITS.max_tries} | dict.fromkeys(map(str, Role), LIMITS.max_tries)
USED_UP = having(attempts={input_key(TODO): LIMITS.max_attempts})
VARIANTS = (
    Variant(USUAL),
    Variant("`interactive_mode` is false", UNATTENDED),
    Variant("`aiframe watch --unattended`, a task can go on", rules=ALONE, flow=False),
    Variant(
        "`aiframe watch --unattended`, none can go on",
        seen=tasks(TaskStatus.REVIEW),
        rules=ALONE,
        only=frozenset({S.REVIEW_READY, S.REVIEW_WAITING}),
        always=True,
        flow=False,
    ),
    Variant("`plan_locked` is true", setting(plan_locked=True)),
    Variant('the form is filled in, or its "done" box is set', seen=lambda s: replace(s, form_done=True)),
    Variant("`aiframe answer --done` was given", having(answers_done=True)),
    Variant("the question of a task is answered", having(questions=()), only=QUESTIONS),
    Variant("another task has become ready", seen=tasks(TaskStatus.TODO, TaskStatus.TODO), only=QUESTIONS),
    Variant("the question of the plan is answered", having(questions=(), paused_from=S.SPEC_READY), only=QUESTIONS),
    Variant("the task is cancelled by hand", seen=tasks(TaskStatus.CANCELLED, TaskStatus.TODO), only=WORK),
    Variant("notes/interrupt.flag is there", seen=lambda s: replace(s, interrupt_flag=True)),
    Variant("notes/interrupt.flag is deleted", seen=lambda s: replace(s, interrupt_flag=False)),
    Variant("`not_before` is in the future", having(wait=Wait(NOW.wall, 60)), flow=False),
    Variant("DEV_CHAIN_LIMIT tasks were worked off in this tick", tasks_taken=LIMITS.dev_chain_limit, flow=False),
    Variant("every ready task waits for an answer", having(questions=(replace(ASK, task_id="T1"),)), only=DEV),
    Variant("a task is in review, none is ready", seen=tasks(TaskStatus.REVIEW), only=DEV),
    Variant("the same, unattended", UNATTENDED, tasks(TaskStatus.REVIEW), only=DEV, flow=False),
    Variant("the same, its work is held, unattended", held_and_unattended, IN_REVIEW, only=DEV, flow=False),
    Variant("a task has failed, none is ready", seen=tasks(TaskStatus.FAILED), only=DEV),
    Variant("a task is blocked, none is ready", seen=tasks(TaskStatus.BLOCKED), only=DEV),
    Variant("the next task has no attempts left", USED_UP, only=DEV),
    Variant(
        "the same, `on_task_failure: continue`",
        USED_UP,
        tasks(TaskStatus.TODO, TaskStatus.TODO),
        CONTINUE,
        only=DEV,
        flow=False,
    ),
    Variant("the project's budget is spent", having(spending=SPENT), rules=BUDGET, flow=False),
    Variant(
        "today's budget is spent: `not_before` is midnight",
        having(spending=SPENT),
        rules=DAY_BUDGET,
        only=DEV,
        flow=False,
        always=True,
    ),
    Variant("`max_tries` steps came to nothing", having(tries=TRIED_OUT), flow=False),
    Variant("every task is done or cancelled", seen=tasks(TaskStatus.DONE, TaskStatus.CANCELLED), only=DEV),
    Variant("every task is closed, unattended", UNATTENDED, tasks(TaskStatus.DONE), only=DEV),
    Variant("there is no task, and never was one", seen=tasks(), only=DEV),
    Variant("approved, a task is left", seen=lambda s: replace(s, approval=True), only=REVIEWS),
    Variant(
        "approved, no task is left", seen=lambda s: replace(tasks(TaskStatus.REVIEW)(s), approval=True), only=REVIEWS
    ),
    Variant(
        "approved, work of a task is held",
        HELD,
        lambda s: replace(IN_REVIEW(s), approval=True),
        only=REVIEWS,
        flow=False,
    ),
    Variant("rejected", seen=lambda s: replace(tasks(TaskStatus.REVIEW)(s), rejection=Rejection("why")), only=REVIEWS),
    Variant("past `timeout_sec` + 60 s, the lock is held: it hangs", seen=later(1861), flow=False),
    Variant("the lock is free: the runner is gone", seen=lambda s: replace(s, lock_held=False), flow=False),
    Variant(
        "the lock is free, but another host's run is recorded",
        seen=lambda s: replace(s, clock=replace(NOW, host="that host"), lock_held=False),
        only=RUNS,
        always=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Success:
    """A step that did what its role is for, *when* something holds."""

    role: Role
    when: str
    proposal: Proposal = NOTHING
    project: Callable[[Project], Project] = lambda project: project
    task: Task = TODO
    ending: Ending | None = None


ASKS = Proposal(questions_written=True)
LOOKED_AT = replace(TODO, verify=("manual",))
SUCCESSES = (
    Success(Role.INTAKE, "questions are written", ASKS),
    Success(Role.INTAKE, "questions once more, `require_confirmations` is true", ASKS, having(interviews=1)),
    Success(
        Role.INTAKE,
        "questions once more, `require_confirmations` is false: stated assumptions",
        ASKS,
        lambda project: setting(require_confirmations=False)(project.evolve(interviews=1)),
    ),
    Success(Role.INTAKE, "questions, unattended: stated assumptions", ASKS, UNATTENDED),
    Success(Role.INTAKE, "no questions"),
    Success(Role.PO, "a valid plan"),
    Success(Role.PO, "a valid plan, by `plan --replace` without `--yes`", project=having(planning=BEING_MADE)),
    Success(Role.PO, "a question, the first", Proposal(question=ASK)),
    Success(Role.PO, "a question, unattended", Proposal(question=ASK), UNATTENDED),
    Success(Role.DEV, "the gates passed"),
    Success(Role.DEV, "passed; `review_every_n_tasks` is reached", project=setting(review_every_n_tasks=1)),
    Success(Role.DEV, "passed; `review: true`, a manual check, or no verify", task=LOOKED_AT),
    Success(Role.DEV, "the same, unattended", project=UNATTENDED, task=LOOKED_AT),
    Success(Role.DEV, "passed, and is held: only a person may take it", ending=Held("why", (), "tree", "ref")),
    Success(Role.DEV, "`agent: human`: the work is a person's", ending=Handed("notes/prompt.md", "")),
    Success(Role.DEV, "passed; held work that a person has approved", project=TAKEN),
    Success(Role.DEV, "passed; proposes REVIEW_READY", Proposal(S.REVIEW_READY)),
    Success(Role.DEV, "passed; proposes SPEC_READY", Proposal(S.SPEC_READY)),
    Success(
        Role.DEV,
        "passed; proposes SPEC_READY, `plan_locked` is true",
        Proposal(S.SPEC_READY),
        setting(plan_locked=True),
    ),
    Success(Role.DEV, "passed; proposes DONE", Proposal(S.DONE)),
    Success(Role.DEV, "passed; proposes ERROR", Proposal(S.ERROR)),
    *(
        Success(Role.DIAGNOSE, f"`resume_state` is {state}", project=having(resume_state=state))
        for state in (S.INTAKE_READY, S.SPEC_READY, S.DEV_READY)
    ),
    Success(Role.DIAGNOSE, "proposes SPEC_READY", Proposal(S.SPEC_READY), setting(plan_locked=True)),
)
COMMANDS: tuple[tuple[str, Event], ...] = (
    ("pause", Pause()),
    ("resume, continue", Resume(Seen(NOW, tasks=(TODO,)))),
    ("resume --now", Resume(Seen(NOW, tasks=(TODO,)), now=True)),
    ("retry T1", Retry(Seen(NOW, tasks=(replace(TODO, status=TaskStatus.FAILED),)), "T1")),
    ("replan", Replan()),
    ("plan --input FILE", PlanFrom(Seen(NOW, tasks=(TODO,)), PlanMode.APPEND, "plan.md", "")),
    ("the same while a plan is being made", PlanFrom(Seen(NOW, tasks=(TODO,)), PlanMode.REPLACE, "plan.md", "")),
    ("accept, a new plan waits", TakePlan(Seen(NOW, tasks=(TODO,)))),
    ("accept --discard, a plan is being made or waits", DropPlan(Seen(NOW, tasks=(TODO,)))),
    ("answer --done", AnswersDone()),
    ("approve T1, whose work is held", Approve(IN_REVIEW(Seen(NOW)), "T1")),
    ("reject T1, whose work is held", SendBack(IN_REVIEW(Seen(NOW)), "T1", "why")),
    ("answer, to a question", AnswerGiven("Q1", "this")),
    ("done, with work in hand", WorkDone(Seen(NOW, tasks=(TODO,)), "T1")),
    ("STATE.json set to DEV_READY by hand", HandSet(Seen(NOW, tasks=(TODO,)), S.DEV_READY)),
    ("STATE.json set to PAUSED by hand", HandSet(Seen(NOW, tasks=(TODO,)), S.PAUSED)),
)
