"""Write the pages of docs/ that are made from the code: ``python tools/gen_docs.py [--check]``.

With ``--check`` nothing is written: a page that is stale is shown as a diff, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Broken,
    Decision,
    Event,
    Finished,
    HandSet,
    Pause,
    Proposal,
    Recover,
    Rejection,
    Replan,
    Resume,
    Retry,
    RunStarted,
    Seen,
    SetStatus,
    StartStep,
    StepEnded,
    StopRunner,
    Tick,
)
from aiframe.core.machine import JUDGED, Refused, decide
from aiframe.core.model import (
    READY_STATE,
    Failure,
    FailureKind,
    Moment,
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

ROOT = Path(__file__).resolve().parent.parent
S, K = State, FailureKind
LIMITS = Rules()
CONTINUE = Rules(continue_on_task_failure=True)

# The inputs -----------------------------------------------------------------------------------------------------------

NOW = Moment(wall=1_000_000.0, mono=1000.0, boot="boot", host="this host")
TODO = Task("T1", "T1", verify=("make check",))
ASK = Question("Q1", "?")
NOTHING = Proposal()
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
    return Project(state, paused_from=back, questions=asked, resume_state=S.DEV_READY)


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
    return lambda project: project.evolve(settings=replace(project.settings, **changes))  # type: ignore[arg-type]


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
DEV, REVIEWS, QUESTIONS, RUNS = (
    frozenset({state}) for state in (S.DEV_READY, S.REVIEW_WAITING, S.QUESTION_WAITING, S.RUNNING)
)
UNATTENDED = setting(interactive_mode=False)
USED_UP = having(attempts={input_key(TODO): LIMITS.max_attempts})
VARIANTS = (
    Variant(USUAL),
    Variant("`interactive_mode` is false", UNATTENDED),
    Variant("`plan_locked` is true", setting(plan_locked=True)),
    Variant('the form is filled in, or its "done" box is set', seen=lambda s: replace(s, form_done=True)),
    Variant("`aiframe answer --done` was given", having(answers_done=True)),
    Variant("the question of a task is answered", having(questions=()), only=QUESTIONS),
    Variant("another task has become ready", seen=tasks(TaskStatus.TODO, TaskStatus.TODO), only=QUESTIONS),
    Variant("the question of the plan is answered", having(questions=(), paused_from=S.SPEC_READY), only=QUESTIONS),
    Variant("notes/interrupt.flag is there", seen=lambda s: replace(s, interrupt_flag=True)),
    Variant("notes/interrupt.flag is deleted", seen=lambda s: replace(s, interrupt_flag=False)),
    Variant("`not_before` is in the future", having(wait=Wait(NOW.wall, 60)), flow=False),
    Variant("DEV_CHAIN_LIMIT tasks were worked off in this tick", tasks_taken=LIMITS.dev_chain_limit, flow=False),
    Variant("every ready task waits for an answer", having(questions=(replace(ASK, task_id="T1"),)), only=DEV),
    Variant("a task is in review, none is ready", seen=tasks(TaskStatus.REVIEW), only=DEV),
    Variant("the same, unattended", UNATTENDED, tasks(TaskStatus.REVIEW), only=DEV, flow=False),
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
    Variant("every task is done or cancelled", seen=tasks(TaskStatus.DONE, TaskStatus.CANCELLED), only=DEV),
    Variant("every task is closed, unattended", UNATTENDED, tasks(TaskStatus.DONE), only=DEV),
    Variant("there is no task at all", seen=tasks(), only=DEV),
    Variant("approved, a task is left", seen=lambda s: replace(s, approval=True), only=REVIEWS),
    Variant(
        "approved, no task is left", seen=lambda s: replace(tasks(TaskStatus.REVIEW)(s), approval=True), only=REVIEWS
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
class Row:
    """A transition that was observed: from *source*, *when* something holds, to *target*, and what is done."""

    source: str
    when: str
    target: str
    done: str = ""
    flow: bool = True


def on_a_tick() -> Iterator[Row]:
    """What a tick does in each state; a variant is told only where it changes something."""
    for state in STATES:
        usual: Decision | None = None
        for variant in VARIANTS:
            if variant.only and state not in variant.only:
                continue
            project = variant.project(in_state(state))
            look = variant.seen(usual_look(state))
            decision = decide(project, Tick(look, tasks_taken=variant.tasks_taken), variant.rules)
            result = decision.project.state, decision.effects
            if usual is not None and not variant.always and result == (usual.project.state, usual.effects):
                continue
            usual = usual or decision
            yield Row(str(state), variant.when, str(decision.project.state), told(decision), variant.flow)


@dataclass(frozen=True, slots=True)
class Success:
    """A step that did what its role is for, *when* something holds."""

    role: Role
    when: str
    proposal: Proposal = NOTHING
    project: Callable[[Project], Project] = lambda project: project
    task: Task = TODO


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
    Success(Role.PO, "a question, the first", Proposal(question=ASK)),
    Success(Role.PO, "a question, unattended", Proposal(question=ASK), UNATTENDED),
    Success(Role.DEV, "the gates passed"),
    Success(Role.DEV, "passed; `review_every_n_tasks` is reached", project=setting(review_every_n_tasks=1)),
    Success(Role.DEV, "passed; `review: true`, a manual check, or no verify", task=LOOKED_AT),
    Success(Role.DEV, "the same, unattended", project=UNATTENDED, task=LOOKED_AT),
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


def on_success() -> Iterator[Row]:
    """What becomes of a step that did what its role is for."""
    for case in SUCCESSES:
        project = case.project(in_state(S.RUNNING, case.role))
        decision = decide(project, StepEnded("run", Seen(NOW, tasks=(case.task,)), Finished(case.proposal)), LIMITS)
        yield Row(case.role, case.when, str(decision.project.state), "; ".join(success_notes(project, decision)))


def success_notes(before: Project, decision: Decision) -> Iterator[str]:
    """What else a success changes."""
    for name in ("plan_locked", "require_confirmations"):
        old, new = getattr(before.settings, name), getattr(decision.project.settings, name)
        if old != new:
            yield f"`{name}` {str(new).lower()}"
    if told(decision):
        yield told(decision)


def told(decision: Decision) -> str:
    """The effects in words; what only the runner cares for is left out."""
    words = []
    for effect in decision.effects:
        match effect:
            case StartStep(role):
                words.append(f"starts the {role} step")
            case StopRunner():
                words.append("stops the runner")
            case Recover():
                words.append("replays its result, else the interrupted or timeout rule")
            case SetStatus(_, status):
                words.append(f"task {status}")
            case _:
                pass
    return ", ".join(words)


MORE_THAN_ANY_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Fate:
    """Where the same failure leads, again and again: in a *line*, in states, and the *attempts* the first costs."""

    line: str
    targets: tuple[str, ...]
    attempts: int


def fate_of(kind: FailureKind, role: Role) -> Fate:
    """Let a step of *role* fail with *kind* until something new no longer happens."""
    project, seen, stops = in_state(S.RUNNING, role), Seen(NOW, tasks=(TODO,)), []
    for _ in range(MORE_THAN_ANY_LIMIT):
        failed = Broken((Failure(kind, kind.value),))
        project = decide(project, StepEnded("run", seen, failed), LIMITS).project
        stops.append(project)
        if project.state is S.DIAGNOSE_READY and role is not Role.DIAGNOSE:
            diagnosed = decide(project, RunStarted(run_of(Role.DIAGNOSE)), LIMITS).project
            project = decide(diagnosed, StepEnded("run", seen, Finished()), LIMITS).project
        if project.state is not READY_STATE[role]:
            break
        project = decide(project, RunStarted(run_of(role)), LIMITS).project
    return Fate(told_as_a_line(stops), tuple(str(stop.state) for stop in stops), sum(stops[0].attempts.values()))


def told_as_a_line(stops: Sequence[Project]) -> str:
    """Several endings in a row, equal ones together: ``1-5: DEV_READY after 10, 20 s; 6: ERROR``."""
    parts = []
    numbered = list(enumerate(stops, 1))
    for state, group in groupby(numbered, key=lambda pair: str(pair[1].state)):
        several = list(group)
        first, last = several[0][0], several[-1][0]
        waits = [f"{stop.wait.wait_s:g}" for _, stop in several if stop.wait]
        numbers = "" if len(stops) == 1 else f"{first}: " if first == last else f"{first}-{last}: "
        open_end = ", ..." if len(several) == len(stops) > 1 else ""
        after = f" after {', '.join(waits)} s" if waits and state != S.ERROR else ""
        last_error = several[-1][1].last_error
        code = f" (`{last_error}`)" if "_" in last_error and " " not in last_error and state == S.ERROR else ""
        parts.append(f"{numbers}{state}{after}{open_end}{code}")
    return "; ".join(parts)


COMMANDS: tuple[tuple[str, Event], ...] = (
    ("pause", Pause()),
    ("resume, continue", Resume(Seen(NOW, tasks=(TODO,)))),
    ("resume --now", Resume(Seen(NOW, tasks=(TODO,)), now=True)),
    ("retry T1", Retry(Seen(NOW, tasks=(replace(TODO, status=TaskStatus.FAILED),)), "T1")),
    ("replan", Replan()),
    ("answer --done", AnswersDone()),
    ("answer, to a question", AnswerGiven("Q1", "this")),
    ("STATE.json set to DEV_READY by hand", HandSet(Seen(NOW, tasks=(TODO,)), S.DEV_READY)),
    ("STATE.json set to PAUSED by hand", HandSet(Seen(NOW, tasks=(TODO,)), S.PAUSED)),
)


def on_a_command() -> Iterator[Row]:
    """What each command does in each state; refusals with their words."""
    for name, command in COMMANDS:
        for state in STATES:
            project = in_state(state)
            try:
                after = decide(project, replaced_lock(command, state), LIMITS).project
            except Refused:
                yield Row(str(state), name, "refused")
                continue
            done = "paused when the step ends" if after.pause_requested else ""
            yield Row(str(state), name, str(after.state), done)


def replaced_lock(command: Event, state: State | Unknown) -> Event:
    """A hand edit sees the lock held while a step runs."""
    if isinstance(command, HandSet):
        return replace(command, seen=replace(command.seen, lock_held=state is S.RUNNING))
    return command


# The page -------------------------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def tick_table() -> str:
    """States and what a tick does."""
    rows, named = [], ""
    for row in on_a_tick():
        goes = "nothing" if row.source == row.target and not row.done else row.done
        if row.source != row.target:
            goes = ", ".join(filter(None, [row.target, row.done]))
        rows.append((row.source if row.source != named else "", row.when, goes))
        named = row.source
    return table(("state", "when", "the tick"), rows)


def failure_table() -> str:
    """How each class of failures ends, the first time and when it goes on."""
    rows = []
    for kind in FailureKind:
        dev, diagnose = fate_of(kind, Role.DEV), fate_of(kind, Role.DIAGNOSE)
        of_diagnose = "only of a task" if kind in JUDGED or kind is K.NO_PROGRESS else diagnose.line
        rows.append((kind.value, dev.line, "yes" if dev.attempts else "no", of_diagnose))
    return table(("failure", "of a DEV step, again and again", "costs an attempt", "of a DIAGNOSE step"), rows)


def command_table() -> str:
    """What each command does, states with the same result in one row."""
    rows = []
    for name, group in groupby(on_a_command(), key=lambda row: row.when):
        results: dict[str, list[str]] = {}
        for row in group:
            same = "stays" if row.target == row.source else row.target
            results.setdefault(", ".join(filter(None, [same, row.done])), []).append(row.source)
        rows += [(name if n == 0 else "", ", ".join(states), what) for n, (what, states) in enumerate(results.items())]
    return table(("what a person does", "in", "then"), rows)


ANYWHERE = "ready"


def edges() -> Iterator[tuple[str, str, str]]:
    """Source, target and label of what the diagram shows; what leads anywhere back is drawn to ANYWHERE."""
    for row in on_a_tick():
        if row.source == row.target and row.done.startswith("starts") and row.flow:
            yield row.source, S.RUNNING, row.done.removeprefix("starts the ").removesuffix(" step")
        elif row.source != row.target and row.flow:
            source = ANYWHERE if row.target == S.PAUSE_INTERACT else row.source
            target = ANYWHERE if row.source == S.PAUSE_INTERACT else row.target
            yield source, target, "" if row.when == USUAL else row.when
    for row in on_success():
        yield S.RUNNING, row.target, row.source
    for kind in FailureKind:
        for target in fate_of(kind, Role.DEV).targets:
            if target != S.DEV_READY:
                yield S.RUNNING, target, "failures"
    for row in on_a_command():
        if row.when == "pause" and row.target == S.PAUSED != row.source:
            yield ANYWHERE, row.target, row.when
        elif row.when == "resume, continue" and row.target not in ("refused", row.source):
            yield row.source, row.target if row.source == S.DONE else ANYWHERE, "resume"


def diagram() -> str:
    """The flow as a Mermaid diagram: one edge for each pair of states, with every reason once."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for source, target, label in edges():
        labels.setdefault((source, target), {})[plain(label)] = None
    lines = ["stateDiagram-v2", f'    state "any ready or waiting state" as {ANYWHERE}', "    [*] --> INTAKE_READY"]
    for (source, target), reasons in labels.items():
        why = "<br/>".join(reason for reason in reasons if reason)
        lines.append(f"    {source} --> {target}{f' : {why}' if why else ''}")
    return "```mermaid\n" + "\n".join([*lines, "    DONE --> [*]"]) + "\n```"


def plain(label: str) -> str:
    """A label without the characters that mean something in a diagram."""
    return label.replace("`", "").replace('"', "").replace(":", ",").replace(";", ",")


STATE_MACHINE = """\
# The states of a project

This page is made from the code: `make docs` puts the inputs below to `decide`, the one function in
[aiframe/core/machine.py](../aiframe/core/machine.py) that holds every transition, and writes down what it answers
([tools/gen_docs.py](../tools/gen_docs.py)). `make test` fails when the page is stale. What the fields mean:
[files.md](files.md); what to do after a failure: [failures.md](failures.md).

{diagram}

"failures" stands for the table of failures below; a failure that leads back to the ready state of its role is not
drawn. A step that was diagnosed goes back to the state it came from.

## What a tick does

As usual: one task is to do, the form is empty, there is no flag and no note, a person attends, and a run is alive. Each
further line tells what is different. A tick follows the states until one rests or a step starts.

{ticks}

## How a step that succeeds moves the state

What an agent proposes is taken where it fits. A pause asked for meanwhile turns the new state into PAUSED, and `resume`
leads to it.

{successes}

## How a step that fails moves the state

The same failure several times, each time after its wait and, after a hang, a diagnosis that succeeds. Of two failures
at once the one further up decides. INTAKE and PO steps go the way of DEV, to their own ready states and without
attempts. A task has {max_attempts} attempts for the same input; then `on_task_failure: continue` goes on with other
tasks.

{failures}

## What a person does

PAUSED, PAUSE_INTERACT and ERROR were reached from DEV_READY here, RUNNING has a live runner, and one task is open.

{commands}
"""


def state_machine() -> str:
    """docs/state-machine.md."""
    successes = [(row.source, row.when, row.target, row.done) for row in on_success()]
    return STATE_MACHINE.format(
        diagram=diagram(),
        ticks=tick_table(),
        successes=table(("role", "when", "becomes", "and"), successes),
        max_attempts=LIMITS.max_attempts,
        failures=failure_table(),
        commands=command_table(),
    )


PAGES: Mapping[str, Callable[[], str]] = {"docs/state-machine.md": state_machine}
"""Each generated page and what makes it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check every page."""
    parser = argparse.ArgumentParser(description="Write the pages of docs/ that are made from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff when a page is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that holds docs/")
    asked = parser.parse_args(argv)
    stale = False
    for name, make in PAGES.items():
        path, text = asked.root / name, make()
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == text:
            continue
        stale = True
        if asked.check:
            lines = difflib.unified_diff(
                old.splitlines(), text.splitlines(), name, f"{name}, as the code has it", lineterm=""
            )
            print("\n".join(lines))
            print(f"{name} is stale; cure: make docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if asked.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
