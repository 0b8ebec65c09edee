"""What an agent's words may change: its closing block and its edits of STATE.json are proposals, judged here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from aiframe.core.events import Proposal
from aiframe.core.model import Project, Question, Role, Rules, State
from aiframe.core.transitions.endings import may_ask

MAY_PROPOSE: Mapping[Role, frozenset[State]] = MappingProxyType(
    {
        Role.INTAKE: frozenset({State.INTAKE_WAITING, State.SPEC_READY}),
        Role.PO: frozenset({State.DEV_READY}),
        Role.DEV: frozenset({State.DEV_READY, State.REVIEW_READY, State.SPEC_READY, State.DONE, State.ERROR}),
        Role.DIAGNOSE: frozenset({State.SPEC_READY, State.DEV_READY, State.INTAKE_READY}),
        Role.AUDIT: frozenset(),
    }
)
"""The states that a step of each role may ask for."""

UNASKED = "question not passed on"
"""How the refusal of an agent's question begins."""
_QUESTION_LIMIT = 4_000
_LOOKS, _LOOK_LENGTH = 5, 300
"""How many things a step may ask a person to look at, and how many characters each may have."""


class Claim(Struct, frozen=True):
    """What an agent said, unjudged. *state* is empty where it proposed none; *timeout_sec* in seconds."""

    state: str = ""
    reason: str = ""
    question: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    diagnosis: str = ""
    timeout_sec: float | None = None
    questions_written: bool = False
    review_items: tuple[str, ...] = ()


class Verdict(Struct, frozen=True):
    """What of a claim is taken, and in words what is refused."""

    proposal: Proposal
    refused: tuple[str, ...] = ()


def judge(claim: Claim, role: Role, task_id: str, project: Project, rules: Rules, *, open_tasks: bool) -> Verdict:
    """Take from *claim* what a step of *role* may change. *open_tasks*: whether a task is still to be done."""
    refused: list[str] = []
    proposal = Proposal(
        state=_state(claim, role, project, refused, open_tasks=open_tasks),
        reason=claim.reason,
        questions_written=claim.questions_written and role is Role.INTAKE,
        question=_question(claim, role, task_id, project, refused),
        diagnosis=claim.diagnosis if role is Role.DIAGNOSE else "",
        timeout_sec=_timeout(claim, role, project, rules, refused),
        to_look_at=_to_look_at(claim) if role is Role.DEV else (),
    )
    return Verdict(proposal, tuple(refused))


def _state(claim: Claim, role: Role, project: Project, refused: list[str], *, open_tasks: bool) -> State | None:
    if not claim.state:
        return None
    if claim.state not in MAY_PROPOSE[role]:
        refused.append(f"state {claim.state}: a {role} step may not set it")
        return None
    state = State(claim.state)
    if state is State.DONE and open_tasks:
        refused.append("state DONE: a task is still open")
        return None
    if state is State.SPEC_READY and role is Role.DEV and project.settings.plan_locked:
        refused.append("state SPEC_READY: the plan is locked")
        return None
    if state is State.INTAKE_WAITING and not claim.questions_written:
        refused.append("state INTAKE_WAITING: no question was written")
        return None
    return state


def _question(claim: Claim, role: Role, task_id: str, project: Project, refused: list[str]) -> Question | None:
    if claim.questions_written and role is Role.INTAKE and not may_ask(project):
        refused.append(f"{UNASKED}, for the interview is over: it is in INTAKE_QUESTIONS.md")
    text = claim.question.strip()[:_QUESTION_LIMIT]
    if not text:
        return None
    why = why_unasked(role, project)
    if why:
        refused.append(f"{UNASKED}, for {why}: {' '.join(text.split())[:_LOOK_LENGTH]}")
    number = len(project.questions) + 1
    return Question(f"Q{number}", text, task_id, choices=claim.choices, default=claim.default)


def why_unasked(role: Role, project: Project) -> str:
    """Why a question of a step in *role* does not reach the person; empty where it does."""
    if not project.settings.interactive_mode:
        return "interactive_mode is false"
    if role is Role.PO and any(not question.task_id for question in project.questions):
        return "the planner may ask once"
    return {
        Role.INTAKE: "an interview asks in INTAKE_QUESTIONS.md", Role.DIAGNOSE: "a diagnosis cannot wait for an answer"
    }.get(role, "")  # fmt: skip


def _to_look_at(claim: Claim) -> tuple[str, ...]:
    """What the agent wants a person to look at, each on one line."""
    lines = (" ".join(item.split())[:_LOOK_LENGTH] for item in claim.review_items)
    return tuple(line for line in lines if line)[:_LOOKS]


def _timeout(claim: Claim, role: Role, project: Project, rules: Rules, refused: list[str]) -> float | None:
    wanted, now = claim.timeout_sec, project.settings.timeout_sec
    if wanted is None or wanted == now:
        return None
    if role is not Role.DIAGNOSE:
        refused.append(f"timeout_sec {wanted:g}: only a diagnosis may change it")
        return None
    if not now < wanted <= now * rules.timeout_growth:
        refused.append(f"timeout_sec {wanted:g}: it may only grow, to at most {now * rules.timeout_growth:g}")
        return None
    return wanted
