"""One attempt at a task, from the prompt to the result: a stage after the other, and each can be called alone.

The order makes every crash harmless: files worth keeping are remembered before the agent starts, and how the attempt
ended is in result.json before anything is made of it (see settling.py).
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from aiframe.app.attempts.agent_run import Stop, time_left
from aiframe.app.attempts.approved import bring_back, is_as_approved
from aiframe.app.attempts.asking import Built, ask, request_for
from aiframe.app.attempts.attempt import Attempt, Work
from aiframe.app.attempts.audit import audit, with_audits
from aiframe.app.attempts.gates import Gate, GateReport, doctor, run_gates, verify
from aiframe.app.attempts.gates_checkout import gate_folder, lay_out, touched
from aiframe.app.attempts.gates_doctor import prove_doctor
from aiframe.app.attempts.gates_scope import scope
from aiframe.app.attempts.gates_tests import prove_tests
from aiframe.app.attempts.integration import integrated, is_on_target, mended, with_what_landed
from aiframe.app.attempts.leftovers import agent_ended, begin
from aiframe.app.attempts.linked import open_place, put_right, standing_on
from aiframe.app.attempts.placing import place_of
from aiframe.app.attempts.proven import Before, proven_before, take_up
from aiframe.app.attempts.results import Kept, Result, result_of, write_result
from aiframe.app.attempts.set_up import set_up
from aiframe.app.attempts.turns import LandingTurn, TimeAwaited
from aiframe.app.attempts.underway import Underway, begin_in_container, works_in_container
from aiframe.app.attempts.vaulting import check_seal, check_whole, renewed
from aiframe.app.project.proposals import inspect, remember
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.events import Broken, Ending, Finished, Held
from aiframe.core.landing import Ticket
from aiframe.core.model import Failure, FailureKind, HeldWork, Project, Run, Task
from aiframe.core.ports import Answer
from aiframe.process import now
from aiframe.store.layout import IGNORED
from aiframe.workspaces.commits import AGENT_TRAILER, BASE_TRAILER, RUN_TRAILER, TASK_TRAILER
from aiframe.workspaces.git_errors import EmbeddedRepositories
from aiframe.workspaces.inplace import candidate, changed_files, ignored_files, work_of
from aiframe.workspaces.trees import GITLINK

INTEGRATIONS = 3
"""How often work is merged and proven anew when its target moves while it is checked."""
SPARE_S = 10.0
"""What is left of a step's time, beside that of its checks, when it stops waiting for its turn to land."""
GATES: tuple[Gate, ...] = (mended, lay_out, verify, prove_tests, scope, audit, doctor)
"""The gates in their order; each is a function from the work to a report."""
LANDING_GATES: tuple[Gate, ...] = (mended, lay_out, verify, doctor)
"""The gates of work that a person has looked at and approved."""


def carry_out(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], task: Task, log: StepLog, stop: Stop,
    turn: LandingTurn,
) -> Result:  # fmt: skip
    """The whole attempt, but for what is made of its result; its *turn* to land is taken once its work is proven.

    Raises AiframeError for what a person has to mend.
    """
    attempt = prepare(site, project, run, tasks, task, log, stop)
    stopped = set_up(attempt) if attempt.place.kind != "inplace" else None
    if stopped is not None:
        return result_of(run, now().wall, Answer(), Broken((stopped,)))
    proven = take_up(site, attempt.place, run, attempt.base)
    if proven is not None:
        log.say(f"-- {proven.notes[0]}")
        return proven
    proof = prove_doctor(attempt)
    if proof.failure is not None:
        return result_of(run, now().wall, Answer(), Broken((proof.failure,)), gates=proof.results)
    attempt = replace(attempt, proof=proof.results)
    approved = _approved(attempt)
    before = proven_before(attempt) if approved is None else None
    if before is not None:
        built = before.built
    else:
        built = build(attempt) if approved is None else bring_back(attempt, approved)
    if built.broken is not None:
        return _result(attempt, built, built.broken)
    return prove(attempt, built, turn, approved, before)


def carry_on(
    site: Site, project: Project, run: Run, begun: Underway, log: StepLog, stop: Stop, turn: LandingTurn
) -> Result:
    """The rest of an attempt whose runner died while its agent worked in a container, or later.

    Nothing in the workspace is touched before that agent has ended. Raises AiframeError.
    """
    task = next(task for task in begun.tasks if task.id == run.task_id)
    place = open_place(site, task.id)
    base = standing_on(place)
    attempt = Attempt(site, project, run, begun.tasks, task, place, base, log, stop, begun.since, begun.proof)
    built = build(attempt, again=True)
    if built.broken is not None:
        return _result(attempt, built, built.broken)
    place = put_right(site, task.id)
    return prove(replace(attempt, place=place, base=standing_on(place)), built, turn, None, None)


def prove(
    attempt: Attempt, built: Built, turn: LandingTurn, approved: HeldWork | None, before: Before | None
) -> Result:
    """Check the work on top of its target until it is proven there, and nobody else lands before it does.

    Work that was proven *before* has its turn first: else those whose checks are shorter might always be faster.
    Raises TurnAwaited, TimeAwaited.
    """
    passed_on, proven_at = (before.base, before.proven_at) if before is not None else ("", 0.0)
    waits = before.left if before is not None else None
    took_s = 0.0
    if before is not None:
        attempt.log.stage("wait_to_land")
        wait_for_turn(turn, attempt, proven_at, before.took_s, lambda: attempt.log.say("-- it waits for its turn"))
    for _ in range(INTEGRATIONS):
        if time_left(attempt.run) < took_s:
            raise TimeAwaited(attempt.task.id)
        began = time.monotonic()
        try:
            attempt, built, clash = integrated(attempt, built)
            if waits is not None:
                write_result(attempt.site.layout, replace(waits, key=built.sealed.key))  # under the new seal it counts
            work = measure(attempt)
        except EmbeddedRepositories as error:
            return _result(attempt, built, _embedded(attempt, error))
        if clash is not None:
            return conclude(work, built, clash)
        as_approved = approved is not None and is_as_approved(attempt, work.candidate.tree, approved)
        report, built = check(work, built, LANDING_GATES if as_approved else GATES)
        took_s = time.monotonic() - began
        if report.failure is not None and report.failure.kind is FailureKind.TIMEOUT and passed_on:
            raise TimeAwaited(attempt.task.id)
        if report.failure is not None or report.held or attempt.place.kind == "inplace":
            break
        attempt.log.stage("wait_to_land")
        passed_on, proven_at = attempt.base.commit, proven_at or now().wall
        write = partial(write_proven, work, built, report)
        wait_for_turn(turn, attempt, proven_at, took_s, write)
        if is_on_target(attempt):
            break
        waits = write()
    return conclude(work, built, with_what_landed(attempt, report, passed_on))


def wait_for_turn(
    turn: LandingTurn, attempt: Attempt, proven_at: float, took_s: float, before_waiting: Callable[[], object]
) -> None:
    """Have *turn*, however long that takes, but for the time in which the checks could run once more (*took_s*).

    Raises TurnAwaited.
    """
    site, run, task = attempt.site, attempt.run, attempt.task
    ticket = Ticket(run.run_id, proven_at, task.priority, task.id, str(site.root), os.getpid())
    turn.take(site, ticket, attempt.stop, time_left(run) - 1.5 * took_s - SPARE_S, before_waiting)


def write_proven(work: Work, built: Built, report: GateReport) -> Result:
    """Write down what is proven and does not land at once: whatever becomes of the runner, no agent is asked for it
    again. Raises StorageError."""
    site = work.attempt.site
    work.attempt.log.say("-- proven; it waits for its turn to land")
    result: Result = redactor_of(site).value(replace(conclude(work, built, report), waits=True))
    write_result(site.layout, result)
    return result


def _embedded(attempt: Attempt, error: EmbeddedRepositories) -> Broken:
    """The ending of work that no commit can hold, for a part of it belongs to a repository of its own."""
    attempt.log.say(f"-- {error.message}")
    git_folders = " ".join(shlex.quote(f"{folder}/.git") for folder in error.folders)
    findings = f"{error.message}. {error.hint}: `rm -rf {git_folders}` does the first, and leaves the files."
    return Broken((Failure(FailureKind.VERIFY_FAILED, error.message, error.hint),), findings)


def prepare(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], task: Task, log: StepLog, stop: Stop
) -> Attempt:
    """Make the place of the attempt ready: what a person left there is committed, what others left is taken away."""
    place = place_of(site, task.id)
    for note in place.notes:
        log.say(f"-- {note}")
    base = begin(site, place, task, tasks, log)
    return Attempt(site, project, run, tasks, task, place, base, log, stop, since=base.commit)


def build(attempt: Attempt, *, again: bool = False) -> Built:
    """Have the agent work; with *again* see the work to its end. Raises StepError, StorageError."""
    site, run, tasks = attempt.site, attempt.run, attempt.tasks
    if works_in_container(site) and not again:
        begin_in_container(site, run, tasks, attempt.since, attempt.proof)
    request = request_for(site, attempt.project, run, tasks, attempt.place.root, again=again)
    built = ask(site, attempt.project, run, tasks, request, attempt.log, attempt.stop, again=again)
    agent_ended(site, attempt.place)
    return built


def _approved(attempt: Attempt) -> HeldWork | None:
    """The work of the task that a person has approved and that has not landed yet."""
    held = attempt.project.held.get(attempt.task.id)
    return held if held is not None and held.approved else None


def measure(attempt: Attempt) -> Work:
    """What the attempt left, as a candidate for a commit, and where its checks will run. Raises GitError."""
    place = attempt.place
    work = Work(attempt, candidate(place.repo, attempt.base.commit, place.control), gate_folder(attempt))
    if work.is_clean or not (attempt.task.commands or attempt.site.settings.gates.doctor):
        return work
    return replace(work, ignored_inputs=_has_ignored_files(work))


def _has_ignored_files(work: Work) -> bool:
    """Whether there are files that the gates' commands may read and that the commit will not hold."""
    found = _ignored(work)
    if found:
        work.attempt.log.say(f"-- here, and not in the commit, because git ignores them: {found}")
    return bool(found)


def _ignored(work: Work) -> str:
    """The first of the files that git ignores, by name; empty where there is none."""
    found = ignored_files(work.attempt.place.repo, work.candidate.tree, IGNORED)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def check(work: Work, built: Built, gates: tuple[Gate, ...]) -> tuple[GateReport, Built]:
    """Run *gates* on the very files that are kept, then put back what their commands spoiled, which *built* tells."""
    site, run = work.attempt.site, work.attempt.run
    remember(site)
    sealed = renewed(site, built.sealed)
    try:
        report = run_gates(replace(work, sealed=sealed), gates)
    finally:
        breaches = check_seal(site, sealed)
        found = inspect(site, run)  # a check may run what the agent wrote, and that may do what the agent may not
    check_whole(sealed)
    notes = (*built.notes, *report.notes, *breaches, *found.complaints, *found.notes)
    built = replace(built, answer=with_audits(built.answer, report.answers), notes=notes)
    changed = touched(work) if report.failure is None else ()
    if changed:
        said = f"the verify commands changed the files they were to prove: {', '.join(changed[:5])}"
        cure = "let them write only to ignored files (add what they make to .gitignore), or to a temporary folder"
        report = replace(report, failure=Failure(FailureKind.VERIFY_FAILED, said, cure), findings=f"{said}; {cure}")
    return report, built


def conclude(work: Work, built: Built, report: GateReport) -> Result:
    """How the attempt ended: a candidate to keep, one to hold for a person, or work that goes back to the agent."""
    attempt, tree, proposal = work.attempt, work.candidate.tree, built.verdict.proposal
    if report.failure is not None:
        left = work_of(attempt.place.repo, tree, attempt.place.control)
        broken = Broken((report.failure,), report.findings, left, proposal.question, causes=report.causes)
        return _result(attempt, built, broken, report, work)
    if report.held:
        return _result(attempt, built, Held(report.reason, report.held, tree, "", proposal=proposal), report, work)
    unverified = _unverified(attempt)
    taken = tuple(f"{attempt.task.id} is taken unverified, nobody is there to look: {check}" for check in unverified)
    for note in taken:
        attempt.log.say(f"-- {note}")
    built = replace(built, notes=(*built.notes, *taken))
    unverified = (*unverified, *_nothing_kept(work), *_submodules_left(work))
    return replace(_result(attempt, built, Finished(proposal), report, work), unverified=unverified)


def _nothing_kept(work: Work) -> tuple[str, ...]:
    """That the commit holds nothing of work whose checks have passed where files lie that git ignores."""
    attempt = work.attempt
    if not work.ignored_inputs or work.candidate.tree != attempt.place.repo.tree_of(attempt.base.commit):
        return ()
    told = f"nothing of it is in the commit; git ignores {_ignored(work)}"
    attempt.log.say(f"-- {told}")
    return (told,)


def _submodules_left(work: Work) -> tuple[str, ...]:
    """That commits of the agent's own moved submodules, which stay where they are: to look into one runs its git."""
    attempt, parent = work.attempt, work.candidate.parent
    changes = changed_files(attempt.place.repo, attempt.base.commit, parent) if parent != attempt.base.commit else ()
    moved = [change.path for change in changes if GITLINK in (change.mode, change.old_mode)]
    if not moved:
        return ()
    told = f"its commits move submodules, which stay as they are: {', '.join(moved[:5])}"
    attempt.log.say(f"-- {told}")
    return (told,)


def _result(
    attempt: Attempt, built: Built, ending: Ending, report: GateReport | None = None, work: Work | None = None
) -> Result:
    report = report or GateReport()
    keeps = work is not None and not isinstance(ending, Broken)
    return result_of(
        attempt.run,
        now().wall,
        built.answer,
        ending,
        agent=built.agent,
        model=built.model,
        notes=built.notes,
        gates=(*attempt.proof, *report.results),
        key=built.sealed.key,
        ignored_inputs=work is not None and work.ignored_inputs,
        kept=_kept(work, built.agent, report) if work is not None and keeps else None,
    )


def _kept(work: Work, agent: str, report: GateReport) -> Kept:
    """What commit to make of a candidate."""
    run, task, base = work.attempt.run, work.attempt.task, work.attempt.base
    count = sum(result.name.startswith("verify") for result in report.results)
    proven = f"{count} verify command{'' if count == 1 else 's'} passed" if count else "no verify command"
    names = {result.name for result in report.results}
    more = "".join(f", {name} passed" for name in ("audit", "doctor") if name in names)
    return Kept(
        base=base.commit,
        branch=base.branch,
        tree=work.candidate.tree,
        parent=work.candidate.parent,
        message=f"{task.id}: {task.title}",
        trailers={
            RUN_TRAILER: run.run_id,
            TASK_TRAILER: run.task_id,
            AGENT_TRAILER: agent,
            BASE_TRAILER: base.commit,
            "Aiframe-Gates": proven + more,
        },
        date=now().wall,
    )


def _unverified(attempt: Attempt) -> tuple[str, ...]:
    """What of the task only a person could check, where no person has looked: it is taken all the same."""
    task = attempt.task
    if attempt.project.settings.interactive_mode or _approved(attempt) is not None:
        return ()
    nothing = () if task.verify else ("it has no verify command",)
    review = ("it asks for a review",) if task.review else ()
    return (*task.manual_checks, *nothing, *review)
