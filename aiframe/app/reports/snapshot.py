"""Where a project stands, as one value that every face shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field, to_builtins

from aiframe.app.reports.lanes import LaneLine
from aiframe.core.budget import Spent
from aiframe.core.explanations.words import Explanation
from aiframe.core.lanes import Waiting
from aiframe.core.model import Failure, Question, Settings

if TYPE_CHECKING:
    from aiframe.workspaces.probing import Clash


class TaskLine(Struct, frozen=True):
    """A task as the panel shows it; *attempts* counts the tries that people have seen, *spent* is what they took."""

    id: str
    title: str
    status: str
    attempts: int = 0
    spent: Spent = field(default_factory=Spent)


class Trouble(Struct, frozen=True):
    """A file that cannot be used, and the cure. *line* and *column* count from 1; 0 means the whole file."""

    path: str
    message: str
    line: int = 0
    column: int = 0
    hint: str = ""


class Snapshot(Struct, frozen=True):
    """A project at the moment *at*. Times are epoch seconds, durations seconds; None where there is nothing to say.

    *state* is empty where no file tells it. *role*, *task*, *attempt*, *run_id*, *started_at*, *runtime_s* and
    *heartbeat_age_s* are those of the step that runs, *timeout_s* its limit or else the setting; *alive*: a runner
    holds the run lock. *agent* is who plays the role that is on, *instead_of* the agent for which it stands in.
    *resting* are the agents whose quota is used up, with the time at which it is there again. *spent* is what the
    project has spent in all, *spent_today* on this local day; a step that runs is not in it yet. *target* is the branch
    that work lands on, empty where there is none of its own or none yet, *merge* the command that takes it in. *lanes*
    are the tasks that are worked at side by side, *queue* those that are ready and wait for what others have, *clashes*
    those that will not go together.
    """

    name: str
    path: str
    at: float
    state: str = ""
    role: str = ""
    task: str = ""
    attempt: int = 0
    run_id: str = ""
    started_at: float | None = None
    runtime_s: float | None = None
    timeout_s: float = 0
    heartbeat_age_s: float | None = None
    alive: bool = False
    agent: str = ""
    instead_of: str = ""
    resting: Mapping[str, float] = field(default_factory=dict)
    spent: Spent = field(default_factory=Spent)
    spent_today: Spent = field(default_factory=Spent)
    tasks: tuple[TaskLine, ...] = ()
    tasks_by_status: Mapping[str, int] = field(default_factory=dict)
    tasks_total: int = 0
    lanes: tuple[LaneLine, ...] = ()
    queue: tuple[Waiting, ...] = ()
    diagnosis: str = ""
    last_error: str = ""
    failure: Failure | None = None
    waits: Explanation = field(default_factory=lambda: Explanation(""))
    settings: Settings = field(default_factory=Settings)
    target: str = ""
    merge: str = ""
    open_form_questions: int = 0
    questions: tuple[Question, ...] = ()
    review_items: tuple[str, ...] = ()
    spec_changed: bool = False
    offered_tasks: bool = False
    log_file: str = ""
    log_tail: tuple[str, ...] = ()
    problems: tuple[Trouble, ...] = ()
    clashes: tuple[Clash, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values that JSON can carry."""
        return dict(to_builtins(self))
