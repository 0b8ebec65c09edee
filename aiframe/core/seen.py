"""What a look at a project sees: its files, its runner, its lanes, at one moment."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from aiframe.core.budget import Spending, Spent
from aiframe.core.model import Failure, Moment, Task, Wait


class Rejection(Struct, frozen=True):
    """A person's review that sends work back: *notes* say why, *task_ids* which tasks (empty: all reviewed)."""

    notes: str
    task_ids: tuple[str, ...] = ()


class SeenLane(Struct, frozen=True):
    """What the project of one task, which is worked at beside others, says at one moment.

    *granted*: it holds its locks, its slot and *values*. *rests*: nothing goes on there until a person acts or a wait
    is over. *halted*: it rests because its project does. *waits*: nothing is due there before a certain time; *stuck*:
    for it could not be looked after, and until then that is not tried. *problem*: what of it cannot be read.
    *running*: a step lives there. *landed*: the task is done. *failure*: it has given up. *spending* is all that it has
    spent, *unsettled* what its step has since it began, *place* its folder, *state* where its project stands, *words*
    the key of the task's words that it works by (empty: not known). *resting* are the agents that refused it for a used
    up quota, and for how long.
    """

    task_id: str
    agent: str = ""
    granted: bool = True
    rests: bool = False
    landed: bool = False
    failure: Failure | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    spending: Spending = field(default_factory=Spending)
    unsettled: Spent = field(default_factory=Spent)
    place: str = ""
    halted: bool = False
    waits: bool = False
    stuck: bool = False
    problem: Failure | None = None
    running: bool = False
    state: str = ""
    words: str = ""
    resting: Mapping[str, Wait] = field(default_factory=dict)


class Seen(Struct, frozen=True):
    """What the files and the lock say at one moment; *form_done*: the interview's form is filled in.

    *lanes* are the tasks that are worked at side by side. *day* names the local day (``2026-02-28``), which ends at
    *day_ends* (epoch seconds).
    """

    clock: Moment
    lock_held: bool = False
    tasks: tuple[Task, ...] = ()
    form_done: bool = False
    interrupt_flag: bool = False
    approval: bool = False
    rejection: Rejection | None = None
    spec_hash: str = ""
    day: str = ""
    day_ends: float = 0.0
    lanes: tuple[SeenLane, ...] = ()
