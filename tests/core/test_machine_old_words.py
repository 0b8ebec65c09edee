"""What a person said about a review counts for that review alone."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import at, seen, task, tick

from aiframe.core.effects import Archive
from aiframe.core.model import State, TaskStatus
from aiframe.core.seen import Rejection

DONE = task("T1", TaskStatus.DONE)


@pytest.mark.parametrize(
    ("words", "archived"),
    [
        pytest.param({"approval": True}, {"approval"}, id="approval"),
        pytest.param({"rejection": Rejection("no")}, {"rejection"}, id="rejection"),
        pytest.param({"approval": True, "rejection": Rejection("no")}, {"approval", "rejection"}, id="both"),
    ],
)
def test_words_from_before_the_review_do_not_count(words: dict[str, Any], archived: set[str]) -> None:
    decision = tick(at(State.DEV_READY), seen(DONE, **words))
    assert decision.project.state is State.REVIEW_WAITING
    assert {effect.what for effect in decision.effects if isinstance(effect, Archive)} == archived


def test_a_rejection_uses_up_the_approval_beside_it() -> None:
    waiting = at(State.REVIEW_WAITING, review_items=("T1",))
    decision = tick(waiting, seen(DONE, approval=True, rejection=Rejection("no")))
    assert decision.project.requests == {"T1": "no"}
    assert {Archive("approval"), Archive("rejection")} <= set(decision.effects)
