"""The words of aiframe as values: states, roles, tasks, runs, failures and the project they make up.

All times are seconds. *wall* is seconds since the epoch, *mono* the machine's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.core.budget import Budget, Spending
from aiframe.core.resources import Capacity, Resources

Counts: TypeAlias = Mapping[str, int]
Texts: TypeAlias = Mapping[str, str]


class Role(StrEnum):
    """Who an agent is in a step. AUDIT has no step of its own: it judges the work of a DEV step before that ends."""

    INTAKE = "INTAKE"
    PO = "PO"
    DEV = "DEV"
    DIAGNOSE = "DIAGNOSE"
    AUDIT = "AUDIT"


class State(StrEnum):
    """Where a project stands, as STATE.json spells it."""

    INTAKE_READY = "INTAKE_READY"
    INTAKE_WAITING = "INTAKE_WAITING"
    SPEC_READY = "SPEC_READY"
    DEV_READY = "DEV_READY"
    DIAGNOSE_READY = "DIAGNOSE_READY"
    RUNNING = "RUNNING"
    REVIEW_READY = "REVIEW_READY"
    REVIEW_WAITING = "REVIEW_WAITING"
    QUESTION_WAITING = "QUESTION_WAITING"
    WORK_WAITING = "WORK_WAITING"
    PAUSE_INTERACT = "PAUSE_INTERACT"
    PAUSED = "PAUSED"
    DONE = "DONE"
    ERROR = "ERROR"


class Unknown(Struct, frozen=True):
    """A state that STATE.json names and aiframe does not know; kept as it is."""

    name: str

    def __str__(self) -> str:
        return self.name


READY_STATE: Mapping[Role, State] = MappingProxyType(
    {
        Role.INTAKE: State.INTAKE_READY,
        Role.PO: State.SPEC_READY,
        Role.DEV: State.DEV_READY,
        Role.DIAGNOSE: State.DIAGNOSE_READY,
    }
)
"""The state from which a step of the role starts, and to which it comes back."""

STEP_ROLES = tuple(READY_STATE)
STEP_STATES = frozenset(READY_STATE.values())
READY_STATES = STEP_STATES | {State.REVIEW_READY}


class FailureKind(StrEnum):
    """How a step can fail, the gravest first: of two at once the earlier one decides."""

    CANCELLED = "cancelled"
    AUTH = "auth"
    SETUP = "setup"
    BUDGET = "budget"
    QUOTA = "quota"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    TRANSIENT = "transient"
    INVALID_OUTPUT = "invalid_output"
    MERGE_FAILED = "merge_failed"
    VERIFY_FAILED = "verify_failed"
    AUDIT_REJECTED = "audit_rejected"
    NO_PROGRESS = "no_progress"
    INTERRUPTED = "interrupted"


class Failure(Struct, frozen=True):
    """Why a step did not succeed. *reset_at* (epoch seconds) is when the agent's service says to come back.

    *agent* is the one that met it, empty for the one that plays the step. *outage*: what every step needs is
    away; it is waited for, however long that takes, and no task has a part in it.
    """

    kind: FailureKind
    message: str
    hint: str = ""
    reset_at: float | None = None
    agent: str = ""
    outage: bool = False


class TaskStatus(StrEnum):
    """What a task's line in TASKS.yaml may say."""

    TODO = "todo"
    IN_PROGRESS = "in_progress"
    REVIEW = "review"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """Which task comes first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class CommandStep(Struct, frozen=True):
    """One command of a job, a *line* for the shell, and in words what it is *about*."""

    line: str
    about: str = ""


class Task(Struct, frozen=True):
    """One piece of work with its definition of done (*dod*) and the commands that prove it (*verify*).

    With *steps* it is a job: those commands are the work, and no agent has a part in it.
    """

    id: str
    title: str
    description: str = ""
    status: TaskStatus = TaskStatus.TODO
    priority: Priority = Priority.MEDIUM
    size: str = ""
    max_duration_min: float | None = None
    blocked_by: tuple[str, ...] = ()
    dod: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    steps: tuple[CommandStep, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    network: bool = False
    review: bool = False
    agent: str = ""
    notes: str = ""

    @property
    def definition(self) -> Task:
        """The task without what is no part of its definition, its status and its notes: for comparing two versions."""
        return replace(self, status=TaskStatus.TODO, notes="")

    @property
    def commands(self) -> tuple[str, ...]:
        """The verify entries that aiframe can run itself."""
        return tuple(entry for entry in self.verify if not is_manual(entry))

    @property
    def manual_checks(self) -> tuple[str, ...]:
        """The verify entries that only a person can carry out."""
        return tuple(entry for entry in self.verify if is_manual(entry))

    @property
    def is_job(self) -> bool:
        """Whether commands do the work, and no agent."""
        return bool(self.steps)

    @property
    def needs_person(self) -> bool:
        """Whether a person has to look before the task counts as done."""
        return self.review or bool(self.manual_checks) or not (self.commands or self.steps)


def is_manual(entry: str) -> bool:
    """Whether a verify entry is ``manual`` or ``manual: what to look at``."""
    head = entry.strip().lower()
    return head == "manual" or head.startswith("manual:")


class Moment(Struct, frozen=True):
    """A point in time that survives clock jumps on the same boot of the same host."""

    wall: float
    mono: float = 0.0
    boot: str = ""
    host: str = ""


class Runner(Struct, frozen=True):
    """The process that carries a run: a process id alone is reused, with its start time it is not."""

    pid: int
    started: float
    boot: str = ""
    host: str = ""


class Run(Struct, frozen=True):
    """One supervised step that is, or was, alive. *input_key* names what an attempt is counted against.

    *agent* says who plays it, empty where that is not known; *instead_of* names the agent whose quota is used up, for
    which it stands in.
    """

    run_id: str
    role: Role
    started: Moment
    timeout_s: float
    runner: Runner
    task_id: str = ""
    attempt: int = 1
    input_key: str = ""
    agent: str = ""
    instead_of: str = ""

    def __post_init__(self) -> None:
        """Refuse a run of what is no step."""
        if self.role not in READY_STATE:
            raise ValueError(f"{self.role} has no step of its own")


class Session(Struct, frozen=True):
    """A conversation of an agent's that its next try may take up: at the same input, with the same agent and model."""

    id: str
    input_key: str
    agent: str
    model: str = ""


class Wait(Struct, frozen=True):
    """A pause until *set_at* + *wait_s* (seconds), kept as two numbers so that a clock set back can be rebased."""

    set_at: float
    wait_s: float

    @property
    def until(self) -> float:
        """Epoch seconds at which the pause ends."""
        return self.set_at + self.wait_s


class Question(Struct, frozen=True):
    """What an agent wants to know from a person; *answer* is empty until there is one."""

    id: str
    text: str
    task_id: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    answer: str = ""


class HeldWork(Struct, frozen=True):
    """A candidate that passed its own checks and needs a person, who approves this very *tree* or sends it back.

    *commit* holds the tree on top of what the attempt started from, *ref* keeps it. *findings* are what to look at.
    """

    reason: str
    tree: str
    ref: str
    commit: str
    findings: tuple[str, ...] = ()
    approved: bool = False


class HandedWork(Struct, frozen=True):
    """Work of *role* that a person does by hand, on *task_id* (empty for a role without tasks).

    *prompt* is the file that says what is asked, relative to the project; *workspace* the folder to work in. *done*:
    the person says that it is, and its checks are due.
    """

    role: Role
    task_id: str
    prompt: str
    workspace: str
    done: bool = False


class PlanMode(StrEnum):
    """What becomes of the plan that is there when one is made from a person's document."""

    NEW = "new"
    APPEND = "append"
    REPLACE = "replace"


class Planning(Struct, frozen=True):
    """A plan that is being made from a person's document, called *source*, and what it may have to give way to again.

    *spec* and *tasks_text* are SPEC.md and TASKS.yaml as they were before, *tasks* the tasks in there; *state*,
    *paused_from*, *plan_locked* and *planned_spec* say where the project stood. *confirmed*: it is taken without
    another word. *made*: PO has made it, and it waits for the person's word.
    """

    mode: PlanMode
    source: str
    spec: str
    tasks_text: str
    tasks: tuple[Task, ...]
    state: State
    paused_from: State | None = None
    plan_locked: bool = False
    planned_spec: str = ""
    confirmed: bool = False
    made: bool = False


class Settings(Struct, frozen=True):
    """The settings that live in STATE.json; times in seconds."""

    timeout_sec: float = 1800
    interactive_mode: bool = True
    plan_locked: bool = False
    review_every_n_tasks: int = 5
    require_confirmations: bool = True


class Rules(Struct, frozen=True):
    """The limits that PROJECT.yaml may change; times in seconds.

    *max_tries* bounds the steps on one input that may end without success, whatever their failure. *agents* says who
    plays a role: the first, then who stands in for those before while their quota is used up. *unattended* is no limit
    but how this look is meant: while a task can go on, no review is waited for, and what needs a person is collected.
    *resources* are what tasks share that are worked at side by side, as far as *capacity* lets them. *job_slots* is how
    many jobs one run has at work at once.
    """

    stall_sec: float = 300
    max_attempts: int = 3
    audit_rounds: int = 3
    dev_chain_limit: int = 3
    continue_on_task_failure: bool = False
    unattended: bool = False
    hung_grace_sec: float = 60
    transient_limit: int = 6
    transient_base_sec: float = 10
    transient_max_sec: float = 300
    interrupted_limit: int = 4
    quota_base_sec: float = 900
    quota_max_sec: float = 18_000
    repairs: int = 2
    timeout_growth: float = 4
    max_tries: int = 20
    budget: Budget = field(default_factory=Budget)
    agents: Mapping[Role, tuple[str, ...]] = field(default_factory=dict)
    resources: Resources = field(default_factory=dict)
    capacity: Capacity = field(default_factory=Capacity)
    job_slots: int = 1


class Project(Struct, frozen=True):
    """All that decides what a project does next: the control record's content.

    *run* is there exactly while the state is RUNNING. *attempts* counts what was used up per input key, *audits* how
    often an audit sent work back, *tries* every step that ended without success per input key or role, *shown* the
    number people see per role or task (it never falls). *resting* says of which agents the quota is used up, and how
    long. *trees* is the candidate tree that the last failed attempt of a task left, *findings* what the next step has
    to mend (by task or role), *requests* what a person asked of a task (it is part of the task's input). *interviews*
    says how often questions were put, *paused_from* the state that ``resume`` goes back to, *review_items* the tasks
    done since the last review, *to_look_at* what the agent asks the reviewer to look at (by task), *held* the
    candidates that wait for a person's word or for their landing (by task), *handed* the work that is in a person's
    hands instead of an agent's, *planned_spec* the hash of SPEC.md when the plan was made, *planning* a plan that
    is being made from a document, *session* the conversation of the step before, where that ended with a verdict on its
    work. *returned* says for which causes the work of a task was sent back, each time that it did not go together with
    what had landed meanwhile. *closed_lanes* names the tasks whose spending, in a project of their own, is counted here
    already. *again* names the jobs that have failed in the run at work and that a person wants begun once more,
    *ended* how jobs have ended, by their input keys, while TASKS.yaml was gone and could not take it.
    """

    state: State | Unknown = State.INTAKE_READY
    run: Run | None = None
    settings: Settings = field(default_factory=Settings)
    diagnosis_done: bool = False
    diagnosed_role: Role | None = None
    resume_state: State | None = None
    diagnosis: str = ""
    last_error: str = ""
    failure: Failure | None = None
    wait: Wait | None = None
    streaks: Counts = field(default_factory=dict)
    attempts: Counts = field(default_factory=dict)
    audits: Counts = field(default_factory=dict)
    tries: Counts = field(default_factory=dict)
    resting: Mapping[str, Wait] = field(default_factory=dict)
    spending: Spending = field(default_factory=Spending)
    shown: Counts = field(default_factory=dict)
    trees: Texts = field(default_factory=dict)
    findings: Texts = field(default_factory=dict)
    requests: Texts = field(default_factory=dict)
    paused_from: State | None = None
    pause_requested: bool = False
    answers_done: bool = False
    interviews: int = 0
    review_items: tuple[str, ...] = ()
    to_look_at: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    held: Mapping[str, HeldWork] = field(default_factory=dict)
    handed: HandedWork | None = None
    questions: tuple[Question, ...] = ()
    planned_spec: str = ""
    planning: Planning | None = None
    session: Session | None = None
    returned: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    closed_lanes: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    ended: Mapping[str, TaskStatus] = field(default_factory=dict)
    generation: int = 0

    def __post_init__(self) -> None:
        """Refuse a project that runs without a run, or keeps one while nothing runs."""
        if (self.state is State.RUNNING) != (self.run is not None):
            raise ValueError(f"state {self.state} does not go with run {self.run}")

    def evolve(self, **changes: Any) -> Self:
        """A copy with *changes*; the original is never touched."""
        return replace(self, **changes)

    def open_questions(self) -> tuple[Question, ...]:
        """The questions that no one has answered yet."""
        return tuple(question for question in self.questions if not question.answer)
