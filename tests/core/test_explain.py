"""One plain sentence and the commands to go on, for every state and every reason to wait."""

from __future__ import annotations

import re

import pytest
from core.builders import NOW, RULES, T0, at, later, run_of, running, seen, task
from msgspec.structs import replace

from aiframe.core.explain import KNOWN_STATES, explain
from aiframe.core.explanations.words import Explanation
from aiframe.core.model import (
    Failure,
    FailureKind,
    HandedWork,
    PlanMode,
    Planning,
    Project,
    Question,
    Role,
    State,
    TaskStatus,
    Unknown,
    Wait,
)
from aiframe.core.seen import Rejection, Seen

S = State
TICK = ("aiframe tick",)
DONE, REVIEW, FAILED = TaskStatus.DONE, TaskStatus.REVIEW, TaskStatus.FAILED
PLANNING = Planning(PlanMode.REPLACE, "plan.md", "", "", (), State.DEV_READY)
AUTH = Failure(FailureKind.AUTH, "401 from the service", "codex login")
FORM = ("write into INTAKE_ANSWERS.md", "aiframe answer", "aiframe answer --done")
DECIDE = ("aiframe approve", 'aiframe reject --notes "..."')
ASK = Question("Q2", "Which colour?", task_id="T1")


@pytest.mark.parametrize(
    ("project", "look", "said"),
    [
        pytest.param(
            at(S.INTAKE_READY),
            seen(),
            Explanation(
                "The interview can begin", "the next tick, which starts the INTAKE step (attempt 1)", cures=TICK
            ),
            id="INTAKE_READY",
        ),
        pytest.param(
            at(S.INTAKE_READY, interactive_mode=False),
            seen(),
            Explanation(
                "The work can begin, without an interview",
                "the next tick, which starts the PO step (attempt 1)",
                cures=TICK,
            ),
            id="INTAKE_READY, unattended",
        ),
        pytest.param(
            at(S.INTAKE_WAITING),
            seen(form_done=True),
            Explanation(
                "Your answers are there", "the next tick, which starts the INTAKE step (attempt 1)", cures=TICK
            ),
            id="INTAKE_WAITING, answered",
        ),
        pytest.param(
            at(S.INTAKE_WAITING, interactive_mode=False),
            seen(),
            Explanation(
                "The interview goes on without answers",
                "the next tick, which starts the INTAKE step (attempt 1)",
                cures=TICK,
            ),
            id="INTAKE_WAITING, unattended",
        ),
        pytest.param(
            at(S.SPEC_READY),
            seen(),
            Explanation(
                "The specification is there; the plan is not",
                "the next tick, which starts the PO step (attempt 1)",
                cures=TICK,
            ),
            id="SPEC_READY",
        ),
        pytest.param(
            at(S.DEV_READY, shown={"T1": 1}),
            seen(task()),
            Explanation(
                "The plan is there to be worked off",
                "the next tick, which starts the DEV step on T1 (attempt 2)",
                cures=TICK,
            ),
            id="DEV_READY",
        ),
        pytest.param(
            at(S.DEV_READY),
            seen(task("T1", DONE)),
            Explanation(
                "The plan is there to be worked off", "the next tick, which goes on to REVIEW_WAITING", cures=TICK
            ),
            id="DEV_READY, all done",
        ),
        pytest.param(
            at(S.DEV_READY, wait=Wait(T0, 900), last_error="usage limit reached"),
            seen(task(), clock=later(300)),
            Explanation("The next step waits: usage limit reached", "a time", T0, T0 + 900, ("aiframe resume --now",)),
            id="not_before",
        ),
        pytest.param(
            at(S.DEV_READY, wait=Wait(T0, 900), failure=Failure(FailureKind.TRANSIENT, "git is busy", "rm index.lock")),
            seen(task(), clock=later(300)),
            Explanation("The next step waits", "a time", T0, T0 + 900, cures=("rm index.lock", "aiframe resume --now")),
            id="not_before, and a cure",
        ),
        pytest.param(
            at(S.DEV_READY, wait=Wait(T0, 900)),
            seen(task(), clock=later(-5000)),
            Explanation("The next step waits", "a time", T0 - 5000, T0 - 4100, ("aiframe resume --now",)),
            id="not_before, clock set back",
        ),
        pytest.param(
            at(S.DEV_READY, wait=Wait(T0, 900)),
            seen(task(), clock=later(901)),
            Explanation(
                "The plan is there to be worked off",
                "the next tick, which starts the DEV step on T1 (attempt 1)",
                cures=TICK,
            ),
            id="not_before, over",
        ),
        pytest.param(
            at(S.DEV_READY, wait=Wait(T0, 900)),
            seen(task(), interrupt_flag=True),
            Explanation(
                "The plan is there to be worked off", "the next tick, which goes on to PAUSE_INTERACT", cures=TICK
            ),
            id="not_before, but interrupted",
        ),
        pytest.param(
            at(S.DIAGNOSE_READY, last_error="stalled", resume_state=S.DEV_READY),
            seen(),
            Explanation(
                "A step went wrong (stalled) and is to be diagnosed",
                "the next tick, which starts the DIAGNOSE step (attempt 1)",
                cures=TICK,
            ),
            id="DIAGNOSE_READY",
        ),
        pytest.param(
            at(S.REVIEW_READY),
            seen(task("T1", REVIEW)),
            Explanation("Work is ready for a review", "the next tick, which goes on to REVIEW_WAITING", cures=TICK),
            id="REVIEW_READY",
        ),
        pytest.param(
            running(run=run_of(attempt=2)),
            seen(lock_held=True),
            Explanation(
                "The DEV step on T1 (attempt 2) runs",
                "the step",
                T0,
                T0 + 1800,
                ("aiframe logs --follow", "aiframe stop"),
            ),
            id="RUNNING",
        ),
        pytest.param(
            running(Role.PO, pause_requested=True),
            seen(lock_held=True),
            Explanation(
                "The PO step (attempt 1) runs; then the project pauses",
                "the step",
                T0,
                T0 + 1800,
                ("aiframe logs --follow", "aiframe resume"),
            ),
            id="RUNNING, pause requested",
        ),
        pytest.param(
            running(),
            seen(),
            Explanation(
                "The DEV step on T1 (attempt 1) has lost its runner", "the next tick, which recovers it", T0, cures=TICK
            ),
            id="RUNNING, runner gone",
        ),
        pytest.param(
            running(),
            seen(lock_held=True, clock=later(1861)),
            Explanation(
                "The DEV step on T1 (attempt 1) hangs: it is past its time and does not end",
                "the next tick, which stops it",
                T0,
                cures=TICK,
            ),
            id="RUNNING, hung",
        ),
        pytest.param(
            running(),
            seen(clock=replace(NOW, host="there")),
            Explanation(
                "The DEV step on T1 (attempt 1) runs on the host here; whether it is alive cannot be seen from here",
                "that host",
                T0,
                T0 + 1860,
                ("aiframe status (on here)", "aiframe stop (here once its time is over, if that host is gone)"),
            ),
            id="RUNNING, foreign host",
        ),
        pytest.param(
            running(),
            seen(clock=replace(later(1861), host="there")),
            Explanation(
                "The DEV step on T1 (attempt 1) ran on the host here and is past its time; "
                "whether it is alive cannot be seen from here",
                "you",
                T0,
                cures=(
                    "aiframe status (on here)",
                    "aiframe stop (here, if that host is gone: the step is looked after then)",
                ),
            ),
            id="RUNNING, foreign host, past its time",
        ),
        pytest.param(
            at(S.REVIEW_WAITING, review_items=("T1", "T2")),
            seen(task("T1", DONE), task("T2", DONE), task("T3", REVIEW, verify=("manual: look at it",)), task("T4")),
            Explanation(
                "A review of T1, T2, T3 waits for you", "your review", cures=("look at T3: manual: look at it", *DECIDE)
            ),
            id="REVIEW_WAITING",
        ),
        pytest.param(
            at(S.REVIEW_WAITING),
            seen(task("T1", DONE)),
            Explanation("A review waits for you; it is the last one, every task is done", "your review", cures=DECIDE),
            id="REVIEW_WAITING, the final one",
        ),
        pytest.param(
            at(S.REVIEW_WAITING),
            seen(approval=True),
            Explanation("Your approval is there", "the next tick, which takes it", cures=TICK),
            id="REVIEW_WAITING, approved",
        ),
        pytest.param(
            at(S.REVIEW_WAITING),
            seen(rejection=Rejection("no"), approval=True),
            Explanation("Your rejection is there", "the next tick, which takes it", cures=TICK),
            id="REVIEW_WAITING, rejected",
        ),
        pytest.param(
            at(S.QUESTION_WAITING, paused_from=S.DEV_READY, questions=(ASK, Question("Q1", "Who?", answer="me"))),
            seen(task()),
            Explanation(
                "A question waits for you: Q2 about T1: Which colour?", "your answer", cures=("aiframe answer",)
            ),
            id="QUESTION_WAITING, a task",
        ),
        pytest.param(
            at(S.QUESTION_WAITING, paused_from=S.SPEC_READY, questions=(Question("Q1", "Which database?"),)),
            seen(),
            Explanation("A question waits for you: Q1: Which database?", "your answer", cures=("aiframe answer",)),
            id="QUESTION_WAITING, the plan",
        ),
        pytest.param(
            at(S.QUESTION_WAITING, paused_from=S.DEV_READY, questions=(replace(ASK, answer="green"),)),
            seen(task()),
            Explanation(
                "No open question is in the way",
                "the next tick, which starts the DEV step on T1 (attempt 1)",
                cures=TICK,
            ),
            id="QUESTION_WAITING, answered",
        ),
        pytest.param(
            at(S.WORK_WAITING, handed=HandedWork(Role.DEV, "T1", "notes/prompt.md", "/work"), last_error="it failed"),
            seen(task()),
            Explanation(
                "T1 is in your hands: it failed",
                "your work",
                cures=(
                    "do what notes/prompt.md asks for, in /work",
                    "aiframe done T1",
                    "aiframe retry T1 (once PROJECT.yaml names another agent)",
                ),
            ),
            id="WORK_WAITING, a task",
        ),
        pytest.param(
            at(S.WORK_WAITING, handed=HandedWork(Role.PO, "", "notes/prompt.md", "/work")),
            seen(),
            Explanation(
                "The work of PO is in your hands",
                "your work",
                cures=("do what notes/prompt.md asks for, in /work", "aiframe done"),
            ),
            id="WORK_WAITING, the plan",
        ),
        pytest.param(
            at(S.PAUSE_INTERACT, paused_from=S.DEV_READY),
            seen(interrupt_flag=True),
            Explanation(
                "You have interrupted the work; what you write into notes/interaction_notes.md reaches the next step",
                "you",
                cures=("aiframe continue", "delete notes/interrupt.flag"),
            ),
            id="PAUSE_INTERACT",
        ),
        pytest.param(
            at(S.PAUSE_INTERACT, paused_from=S.DEV_READY),
            seen(),
            Explanation("The interrupt is over", "the next tick, which goes back to DEV_READY", cures=TICK),
            id="PAUSE_INTERACT, flag gone",
        ),
        pytest.param(
            at(S.PAUSED, paused_from=S.SPEC_READY),
            seen(),
            Explanation("Paused on request, on the way to SPEC_READY", "you", cures=("aiframe resume",)),
            id="PAUSED",
        ),
        pytest.param(
            at(S.PAUSED, paused_from=S.DEV_READY, planning=replace(PLANNING, made=True)),
            seen(task()),
            Explanation(
                "A new plan waits for your word",
                "you",
                cures=(
                    "aiframe accept --diff (shows it)",
                    "aiframe accept",
                    "aiframe accept --discard (keeps the old one)",
                ),
            ),
            id="PAUSED, a new plan waits",
        ),
        pytest.param(
            at(S.ERROR, failure=AUTH, last_error=AUTH.message, planning=PLANNING, planned_spec="a"),
            seen(task(), spec_hash="b"),
            Explanation(
                "Stopped by an error: 401 from the service",
                "you",
                cures=(
                    "codex login",
                    "aiframe resume",
                    "aiframe accept --discard (brings back what was there before `aiframe plan`)",
                ),
            ),
            id="ERROR on the way to a plan",
        ),
        pytest.param(
            at(S.PAUSED),
            seen(),
            Explanation("Paused on request, on the way to where it was", "you", cures=("aiframe resume",)),
            id="PAUSED by an old file",
        ),
        pytest.param(
            at(S.PAUSED, failure=Failure(FailureKind.BUDGET, "5 USD are spent", "raise limits.cost in PROJECT.yaml")),
            seen(),
            Explanation(
                "Paused: 5 USD are spent", "you", cures=("raise limits.cost in PROJECT.yaml", "aiframe resume")
            ),
            id="PAUSED, budget",
        ),
        pytest.param(
            at(S.DONE),
            seen(task("T1", DONE), task("T2", TaskStatus.CANCELLED)),
            Explanation(
                "Done: no task is open",
                cures=("for more, add a task with status todo to TASKS.yaml, then `aiframe resume`",),
            ),
            id="DONE",
        ),
        pytest.param(
            at(S.DEV_READY, plan_locked=True),
            seen(),
            Explanation(
                "TASKS.yaml holds no task, and there was a plan: nothing goes on, and nothing is concluded from that",
                "TASKS.yaml",
                cures=(
                    "bring TASKS.yaml back (`git log -- TASKS.yaml` in the project shows what it was)",
                    "aiframe replan (if a new one is to be made)",
                ),
            ),
            id="DEV_READY, the plan is gone",
        ),
        pytest.param(
            at(S.DONE),
            seen(task("T1", DONE), task("T2"), task("T3")),
            Explanation("Done once, but 2 tasks are open: T2, T3", "you", cures=("aiframe resume",)),
            id="DONE, new tasks",
        ),
        pytest.param(
            at(S.ERROR, failure=AUTH, last_error=AUTH.message),
            seen(task()),
            Explanation("Stopped by an error: 401 from the service", "you", cures=("codex login", "aiframe resume")),
            id="ERROR",
        ),
        pytest.param(
            at(
                S.ERROR,
                failure=Failure(FailureKind.TIMEOUT, "took too long"),
                last_error="timeout_after_diagnosis",
                diagnosis="a test sleeps",
                diagnosis_done=True,
            ),
            seen(task()),
            Explanation(
                "Stopped by an error: took too long (timeout_after_diagnosis). The diagnosis: a test sleeps",
                "you",
                cures=("aiframe resume",),
            ),
            id="ERROR after a diagnosis",
        ),
        pytest.param(
            at(S.ERROR, failure=Failure(FailureKind.VERIFY_FAILED, "task T1 failed: red")),
            seen(task("T1", FAILED), task("T2")),
            Explanation("Stopped by an error: task T1 failed: red", "you", cures=("aiframe retry T1",)),
            id="ERROR, a failed task",
        ),
        pytest.param(
            at(S.ERROR, failure=Failure(FailureKind.VERIFY_FAILED, "task T1 failed: red", "`aiframe retry T1`")),
            seen(task("T2")),
            Explanation("Stopped by an error: task T1 failed: red", "you", cures=("aiframe resume",)),
            id="ERROR, a failed task that is gone",
        ),
        pytest.param(
            at(S.ERROR, failure=Failure(FailureKind.NO_PROGRESS, "stuck", "`aiframe retry TASK` or `aiframe resume`")),
            seen(task("T2")),
            Explanation(
                "Stopped by an error: stuck",
                "you",
                cures=("`aiframe retry TASK` or `aiframe resume`", "aiframe resume"),
            ),
            id="ERROR, a cure for any task",
        ),
        pytest.param(
            at(S.ERROR),
            seen(),
            Explanation("Stopped by an error: no reason is recorded", "you", cures=("aiframe resume",)),
            id="ERROR by an old file",
        ),
        pytest.param(
            at(Unknown("DAYDREAM")),
            seen(),
            Explanation(
                'STATE.json names the state "DAYDREAM", which aiframe does not know',
                "a state that it knows",
                cures=(f'set "state" in STATE.json to one of {", ".join(KNOWN_STATES)}',),
            ),
            id="unknown state",
        ),
    ],
)
def test_explain(project: Project, look: Seen, said: Explanation) -> None:
    assert explain(project, look, RULES) == said


@pytest.mark.parametrize(
    ("count", "headline"),
    [
        (0, "The interview waits for you in INTAKE_ANSWERS.md"),
        (1, "1 question waits for you in INTAKE_ANSWERS.md"),
        (3, "3 questions wait for you in INTAKE_ANSWERS.md"),
    ],
    ids=str,
)
def test_the_interview_counts_its_questions(count: int, headline: str) -> None:
    said = explain(at(S.INTAKE_WAITING), seen(), RULES, open_form_questions=count)
    assert said == Explanation(headline, "your answers", cures=FORM)


@pytest.mark.parametrize(
    ("planned", "now", "state", "named"),
    [
        pytest.param("a", "b", S.DEV_READY, True, id="changed"),
        pytest.param("a", "a", S.DEV_READY, False, id="the same"),
        pytest.param("", "b", S.DEV_READY, False, id="never planned"),
        pytest.param("a", "", S.DEV_READY, False, id="SPEC.md is gone"),
        pytest.param("a", "b", S.DONE, True, id="changed after the end"),
        pytest.param("a", "b", S.SPEC_READY, False, id="about to be planned anyway"),
    ],
)
def test_a_changed_spec_names_replan(planned: str, now: str, state: State, named: bool) -> None:
    said = explain(at(state, planned_spec=planned), seen(task("T1", DONE), spec_hash=now), RULES)
    assert any("aiframe replan" in cure for cure in said.cures) is named


@pytest.mark.parametrize("state", [*State, Unknown("DAYDREAM")], ids=str)
@pytest.mark.parametrize("look", [seen(), seen(task(), task("T2", FAILED), interrupt_flag=True)], ids=["bare", "busy"])
def test_every_state_has_a_sentence_and_a_way_on(state: State | Unknown, look: Seen) -> None:
    said = explain(running() if state is S.RUNNING else at(state), look, RULES)
    assert re.fullmatch(r"[A-Z0-9][^\n]*[^.]", said.headline)
    assert said.cures
    assert said.waiting_for or state is S.DONE


def test_the_states_offered_to_a_person_are_all_but_running() -> None:
    assert {*KNOWN_STATES, "RUNNING"} == {state.value for state in State}
    assert "RUNNING" not in KNOWN_STATES
