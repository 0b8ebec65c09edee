"""Whose turn it is to land, of all whose work is proven: by priority, then by who finished first.

None starves: who has waited for `LONGEST_WAIT_S` goes before all that finished later, whatever their priority. So
before each there are only those that finished before it waited for so long, and every landing takes one of them away.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from aiframe.core.model import Priority
from aiframe.core.scheduling import RANK

LONGEST_WAIT_S = 600.0
"""For how long higher priorities may go before."""


class Ticket(Struct, frozen=True):
    """Proven work of run *run_id* that waits for its turn: *finished* (epoch seconds) is when it was proven first.

    *task_id*, *place* (its project's folder) and *pid* are for people to see.
    """

    run_id: str
    finished: float
    priority: Priority = Priority.MEDIUM
    task_id: str = ""
    place: str = ""
    pid: int = 0


def landing_order(tickets: Iterable[Ticket], now: float) -> tuple[Ticket, ...]:
    """All *tickets*, the first to land first; *now* is in epoch seconds."""

    def rank(ticket: Ticket) -> tuple[int, float, str]:
        overdue = now - ticket.finished >= LONGEST_WAIT_S
        return (-1 if overdue else RANK[ticket.priority], ticket.finished, ticket.run_id)

    return tuple(sorted(tickets, key=rank))
