"""What an explanation is, and the words that several of them share."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from aiframe.core.model import Failure, HeldWork, Role

TICK = "aiframe tick"
GO_ON = "aiframe run"
LOOK = "look at "
"""How a cure begins that says what to look at, which may be long."""
PLAN_GONE = "holds no task, and there was a plan: nothing goes on, and nothing is concluded from that"
BRING_BACK = "bring TASKS.yaml back (`git log -- TASKS.yaml` in the project shows what it was)"
NEW_PLAN = "aiframe replan"
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


def named_step(role: Role, task_id: str, attempt: int) -> str:
    """How a step is spoken of in a sentence."""
    about = f" on {task_id}" if task_id else ""
    return f"the {role} step{about} (attempt {attempt})"


def shortened(texts: Sequence[str]) -> str:
    """*texts* on one line that a person can still read."""
    more = len(texts) - _SHOWN
    return "; ".join((*texts[:_SHOWN], *((f"and {more} more",) if more > 0 else ())))


def show_command(work: HeldWork, repo: str = "") -> str:
    """The command that shows held *work*; *repo* as in `explain`."""
    return f"git{f' -C {repo}' if repo else ''} show {work.ref}"


def hint_of(failure: Failure | None) -> tuple[str, ...]:
    """What is to be done about *failure*, for the cures; none where nothing is known."""
    return (failure.hint,) if failure is not None and failure.hint else ()


def counted(number: int, one: str, many: str) -> str:
    """*number* with the word for one, or for many."""
    return f"{number} {one if number == 1 else many}"
