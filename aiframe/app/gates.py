"""Gates: the checks that aiframe runs itself. In this version verify commands run without a sandbox."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from aiframe.app.agent_run import Stop, agent_environment, beat, time_left
from aiframe.app.log_holds import hold_log
from aiframe.app.results import GateResult
from aiframe.app.site import Site
from aiframe.app.steplog import StepLog, plain
from aiframe.core.model import Failure, FailureKind, Run, Task
from aiframe.core.ports import Command, Exit
from aiframe.process import Limits, supervise
from aiframe.store.atomic import make_folder, storage_errors

_TAIL = 4_000
"""How many bytes of a failed command's output go back to the agent."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gates found. *failure* is None when all passed; *findings* tells the next attempt what to mend."""

    results: tuple[GateResult, ...] = ()
    failure: Failure | None = None
    findings: str = ""


def verify(site: Site, run: Run, task: Task, log: StepLog, stop: Stop) -> GateReport:
    """Run the task's verify commands, one after the other, in the project folder; the first that fails ends it."""
    results: list[GateResult] = []
    for number, line in enumerate(task.commands, start=1):
        log.say(f"-- verify {number}/{len(task.commands)} (no sandbox): {line}")
        path = site.layout.run_dir(run.run_id) / "gates" / f"verify-{number}.log"
        began = time.monotonic()
        output = _Output(path)
        ended = _run(site, run, line, output, stop)
        seconds = time.monotonic() - began
        name = str(path.relative_to(site.root))
        results.append(GateResult(f"verify-{number}", line, ended.code, round(seconds, 3), name))
        failure = _failure(line, ended)
        if failure is not None:
            log.say(output.tail() + f"\n-- {failure.message}")
            return GateReport(tuple(results), failure, _findings(line, ended, output.tail(), name))
        log.say(f"-- passed in {seconds:.1f} s")
    return GateReport(tuple(results))


def _run(site: Site, run: Run, line: str, output: _Output, stop: Stop) -> Exit:
    make_folder(output.path.parent)
    with storage_errors(output.path, "write"), output.path.open("wb", buffering=0) as file:
        hold_log(site, output.path)

        def take(chunk: bytes) -> None:
            file.write(chunk)
            output.keep(chunk)

        return supervise(
            Command(("/bin/sh", "-c", line), site.root),
            run_id=run.run_id,
            limits=Limits(timeout_s=time_left(run), stall_s=0),
            on_stdout=take,
            on_stderr=take,
            beat=lambda: beat(site),
            fingerprint=lambda: None,
            should_stop=stop,
            env_base=agent_environment(site.environ),
        )


@dataclass(slots=True)
class _Output:
    """The last bytes of a command's output."""

    path: Path
    _end: bytearray = field(default_factory=bytearray)

    def keep(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._end += chunk
        del self._end[:-_TAIL]

    def tail(self) -> str:
        """The end of the output as readable text."""
        return plain(self._end.decode("utf-8", "replace")).strip("\n")


def _failure(line: str, ended: Exit) -> Failure | None:
    if ended.reason == "stopped":
        return Failure(FailureKind.CANCELLED, "a person stopped the step")
    if ended.reason != "exit":
        return Failure(FailureKind.TIMEOUT, f"the verify command `{line}` did not end before the step's timeout")
    if ended.code != 0:
        return Failure(FailureKind.VERIFY_FAILED, f"the verify command `{line}` failed with exit code {ended.code}")
    return None


def _findings(line: str, ended: Exit, tail: str, name: str) -> str:
    return (
        f"The command `{line}` ended with exit code {ended.code}. The end of its output (all of it: {name}):\n\n{tail}"
    )
