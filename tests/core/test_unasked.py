"""Questions that do not reach the person: each is refused in words, and none is dropped silently."""

from __future__ import annotations

from typing import Any

import pytest
from core.builders import RULES, running

from aiframe.core.model import Question, Role
from aiframe.core.verdict import Claim, judge

ASKS = Claim(question=" Which\n colour? ", default="red")
OF_PLAN, OF_TASK = Question("Q1", "How?"), Question("Q1", "How?", "T1")


@pytest.mark.parametrize(
    ("role", "more", "claim", "why"),
    [
        pytest.param(Role.DEV, {}, ASKS, "", id="a developer may ask"),
        pytest.param(Role.DEV, {"interactive_mode": False}, ASKS, "interactive_mode is false", id="nobody is there"),
        pytest.param(Role.PO, {"questions": (OF_TASK,)}, ASKS, "", id="a planner may ask"),
        pytest.param(Role.PO, {"questions": (OF_PLAN,)}, ASKS, "once", id="a planner has asked"),
        pytest.param(Role.PO, {"interactive_mode": False}, ASKS, "interactive_mode is false", id="nobody for a plan"),
        pytest.param(Role.INTAKE, {}, ASKS, "INTAKE_QUESTIONS.md", id="an interview has a form"),
        pytest.param(Role.DIAGNOSE, {}, ASKS, "a diagnosis", id="a diagnosis"),
        pytest.param(Role.INTAKE, {}, Claim(questions_written=True), "", id="the form"),
        pytest.param(
            Role.INTAKE, {"interactive_mode": False}, Claim(questions_written=True), "interview is over", id="no form"
        ),
    ],
)
def test_what_becomes_of_a_question(role: Role, more: dict[str, Any], claim: Claim, why: str) -> None:
    verdict = judge(claim, role, "T1" if role is Role.DEV else "", running(role, **more), RULES, open_tasks=True)
    assert len(verdict.refused) == bool(why)
    assert all(refusal.startswith("question not passed on") and why in refusal for refusal in verdict.refused)
    if why and claim is ASKS:
        assert verdict.refused[0].endswith(": Which colour?")
