"""Gates: the checks that aiframe runs itself, each a function from the work to a report.

A gate's commands run in the work's folder, in the project's sandbox: `start_gate_command` is the one place where they
are started.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from aiframe.app.attempts.agent_run import beat, time_left
from aiframe.app.attempts.attempt import Work
from aiframe.app.attempts.gate_log import GateLog
from aiframe.app.attempts.results import GateResult
from aiframe.app.project.steplines import STAGES
from aiframe.app.protection.log_holds import hold_log
from aiframe.app.protection.sandboxing import granted, policy_for, sandbox_of
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.errors import StepError
from aiframe.core.model import Failure, FailureKind
from aiframe.core.ports import Answer, Command, Exit
from aiframe.process import Limits, supervise
from aiframe.store.atomic import make_folder, storage_errors


class GateReport(Struct, frozen=True):
    """What gates found. *failure* is None where all passed; *findings* tells the next attempt what to mend.

    *held* is what only a person may let pass, each in words, and *reason* says in short why; the work is kept for them.
    *answers* are those of agents that judged the work, *found* tells them what other gates say of it in words, *notes*
    tell people what was put back after them, or could not be looked at. *causes* name what failed, the same way each
    time.
    """

    results: tuple[GateResult, ...] = ()
    failure: Failure | None = None
    findings: str = ""
    reason: str = ""
    held: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    notes: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


class Ran(Struct, frozen=True):
    """How one command of a gate ended. *tail* is the end of what it printed, *failure* is None where it passed."""

    result: GateResult
    ended: Exit
    tail: str
    failure: Failure | None = None

    @property
    def is_red(self) -> bool:
        """Whether it came to an end of its own, and that was no success."""
        return self.ended.reason == "exit" and self.ended.code != 0 and not was_killed(self.ended)

    @property
    def was_cut_short(self) -> bool:
        """Whether a person stopped the step, or its time is over: that says nothing about what was checked."""
        return self.failure is not None and self.failure.kind in (FailureKind.CANCELLED, FailureKind.TIMEOUT)


Gate: TypeAlias = Callable[[Work], GateReport]


def run_gates(work: Work, gates: Sequence[Gate]) -> GateReport:
    """Run *gates* one after the other; the first that fails ends it. What is to be held does not: the rest is told too.

    Raises StepError, StorageError.
    """
    so_far = GateReport()
    for gate in gates:
        report = gate(replace(work, results=so_far.results, found=so_far.found))
        so_far = GateReport(
            (*so_far.results, *report.results),
            report.failure,
            report.findings,
            "; ".join(filter(None, [so_far.reason, report.reason])),
            (*so_far.held, *report.held),
            (*so_far.answers, *report.answers),
            (*so_far.notes, *report.notes),
            (*so_far.found, *report.found),
            report.causes,
        )
        if report.failure is not None:
            break
    return so_far


def verify(work: Work) -> GateReport:
    """Run the task's verify commands, as they stood before the attempt."""
    return run_commands(work, "verify", work.attempt.task.commands)


def doctor(work: Work) -> GateReport:
    """Run the command of the whole project, where PROJECT.yaml names one, on what will land."""
    command = work.attempt.site.settings.gates.doctor
    return run_commands(work, "doctor", (command,) if command else ())


def run_commands(
    work: Work,
    gate: str,
    lines: Sequence[str],
    *,
    timeout_s: float | None = None,
    network: bool | None = None,
    ran_on: str = "",
) -> GateReport:
    """Run the shell commands *lines* of *gate* in their order; the first that fails ends it.

    *timeout_s* is for each (None: what PROJECT.yaml says of gates), *network* whether they may use it (None: as the
    task says), *ran_on* what is in the work's folder, where that is not the work itself.
    """
    results = list[GateResult]()
    if lines and gate in STAGES:
        work.attempt.log.stage(gate)
    for number, line in enumerate(lines, start=1):
        name = gate if gate == "doctor" else f"{gate}-{number}"
        title = f"{gate} {number}/{len(lines)}"
        ran = run_command(work, name, line, title=title, timeout_s=timeout_s, network=network, ran_on=ran_on)
        results.append(ran.result)
        if ran.failure is not None:
            findings = _findings(line, ran.ended, ran.tail, ran.result.log_file)
            return GateReport(tuple(results), ran.failure, findings, causes=(name,))
    return GateReport(tuple(results))


def run_command(
    work: Work,
    name: str,
    line: str,
    *,
    title: str = "",
    timeout_s: float | None = None,
    network: bool | None = None,
    ran_on: str = "",
) -> Ran:
    """Run the shell command *line* under the *name* that its log and its result have; *title* heads its lines in the
    log of the step.

    The rest is as for `run_commands`. Raises StepError, StorageError.
    """
    attempt, sandbox = work.attempt, sandbox_of(work.attempt.site).name
    allowed = attempt.task.network if network is None else network
    where = "no sandbox" if sandbox == "none" else sandbox
    said = f"-- {title or name} ({where}{f', on {ran_on}' if ran_on else ''}): {line}"
    attempt.log.say(said, "gate_started", name=name, command=line, sandbox=sandbox, ran_on=ran_on)
    path = attempt.site.layout.run_dir(attempt.run.run_id) / "gates" / f"{name}.log"
    began, output = time.monotonic(), GateLog(path, redactor_of(attempt.site))
    limit = _limit(work, timeout_s)
    ended = start_gate_command(work, line, output, timeout_s=limit, network=allowed)
    if was_killed(ended):
        attempt.log.say("-- somebody killed it, which says nothing about the work: it runs once more")
        limit = _limit(work, timeout_s)
        ended = start_gate_command(work, line, output, timeout_s=limit, network=allowed)
    seconds = round(time.monotonic() - began, 3)
    log_file = str(path.relative_to(attempt.site.root))
    tree, clean = work.candidate.tree, work.is_clean
    result = GateResult(name, line, ended.code, seconds, log_file, tree, sandbox, clean, ran_on)
    gate = "setup" if "setup" in name else name.partition("-")[0]
    failure = _failure(work, gate, line, ended, limit)
    tail = output.tail()
    attempt.log.say(
        f"{tail}\n-- {failure.message}" if failure is not None else f"-- passed in {seconds:.1f} s",
        "gate_ended", name=name, command=line, passed=failure is None, exit_code=ended.code, seconds=seconds,
        log_file=log_file,
    )  # fmt: skip
    return Ran(result, ended, tail, failure)


def start_gate_command(work: Work, line: str, output: GateLog, *, timeout_s: float, network: bool) -> Exit:
    """Run the shell command *line* in the work's folder to its end, its output to a file. Raises StorageError."""
    site, run = work.attempt.site, work.attempt.run
    sandbox, policy = sandbox_of(site), policy_for(site, work.folder, network=network, run_id=run.run_id)
    command = sandbox.wrap(Command(("/bin/sh", "-c", line), work.folder, env=granted(site)), policy)
    make_folder(output.path.parent)
    with storage_errors(output.path, "write"), output:
        hold_log(site, output.path)
        try:
            ended = supervise(
                command,
                run_id=run.run_id,
                limits=Limits(timeout_s=timeout_s, stall_s=0),
                on_stdout=output.take,
                on_stderr=output.take,
                beat=lambda: beat(site),
                fingerprint=lambda: None,
                should_stop=work.attempt.stop,
                env_base=sandbox.environment(),
            )
        finally:
            sandbox.clean(policy)
        output.finish()
    if (said := sandbox.start_failure(ended)) and ended.reason == "exit":
        cure = "`aiframe doctor` tries it and says what it binds"
        raise StepError(f"{sandbox.name} did not start: {said}", hint=cure)
    return ended


def was_killed(ended: Exit) -> bool:
    """Whether somebody else ended the command, such as a person or the kernel for want of memory."""
    return ended.reason == "exit" and ended.code in (-signal.SIGKILL, -signal.SIGTERM)


def _limit(work: Work, timeout_s: float | None) -> float:
    own = work.attempt.site.settings.gates.timeout_s if timeout_s is None else timeout_s
    left = time_left(work.attempt.run)
    return left if own is None else min(own, left)


def _failure(work: Work, gate: str, line: str, ended: Exit, limit: float) -> Failure | None:
    if ended.reason == "stopped":
        return Failure(FailureKind.CANCELLED, "a person stopped the step")
    if ended.reason != "exit" and time_left(work.attempt.run) > 1:
        said = f"the {gate} command `{line}` did not end within {limit:g} s"
        return Failure(FailureKind.VERIFY_FAILED, said, "gates.timeout_min in PROJECT.yaml is how long it may take")
    if ended.reason != "exit":
        return Failure(FailureKind.TIMEOUT, f"the {gate} command `{line}` did not end before the step's timeout")
    if was_killed(ended):
        said = f"the {gate} command `{line}` was killed, twice"
        cure = "see who did it: for want of memory the kernel does (`dmesg`)"
        return Failure(FailureKind.VERIFY_FAILED, said, cure)
    if ended.code != 0:
        return Failure(FailureKind.VERIFY_FAILED, f"the {gate} command `{line}` failed with exit code {ended.code}")
    return None


def _findings(line: str, ended: Exit, tail: str, name: str) -> str:
    how = f"ended with exit code {ended.code}" if ended.reason == "exit" else "did not end in time"
    return f"The command `{line}` {how}. The end of its output (all of it: {name}):\n\n{tail}"
