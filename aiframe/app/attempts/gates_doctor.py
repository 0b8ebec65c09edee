"""The proof of the command for the whole project: it passes on the files as they are, and notices a planted fault.

Only then does its word count. All of it happens in a checkout of its own, which is removed afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from aiframe.app.attempts.agent_run import beat, time_left
from aiframe.app.attempts.attempt import Attempt, Work
from aiframe.app.attempts.gates import GateReport, Ran, run_command
from aiframe.app.attempts.gates_checkout import aside, make_ready
from aiframe.app.attempts.results import GateResult
from aiframe.app.attempts.turns import OthersFirst
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.app.protection.sandboxing import sandbox_of
from aiframe.core.model import Failure, FailureKind
from aiframe.flocks import try_lock
from aiframe.process import now
from aiframe.store.atomic import make_folder, storage_errors, write_durable
from aiframe.workspaces.checkout import remove_checkout, switch_checkout
from aiframe.workspaces.inplace import Candidate
from aiframe.workspaces.planting import Source, faulty_tree, source_file, source_files

TRIES = 3
"""In how many files a fault is planted, one after the other, until it is noticed."""
_TAIL_LINES = 20
_POLL_S, _BEAT_S = 0.2, 30.0
_FOR_THE_AGENT = 0.5
"""How much of a step's time is left to it when it stops waiting for another task."""
BASE = "the base"
SWITCH = "`gates: {prove_doctor: false}` relies on it as it is; then `aiframe resume`"


def prove_doctor(attempt: Attempt) -> GateReport:
    """See once that the doctor's command passes on the base and fails on a planted fault; a failure is a person's.

    Once: until the command, `workspace.setup`, the sandbox or `doctor_probe` changes. Raises StepError, StorageError.
    """
    site, gates = attempt.site, attempt.site.settings.gates
    if not gates.doctor or not gates.prove_doctor or _is_proven(site):
        return GateReport()
    if not site.layout.is_lane:
        return _prove(attempt)
    with _alone(attempt):
        return GateReport() if _is_proven(site) else _prove(attempt)


@contextmanager
def _alone(attempt: Attempt) -> Iterator[None]:
    """Be the only one of several tasks side by side that tries the command; what the others find holds for all.

    Raises OthersFirst before that has taken the time that the agent needs.
    """
    path = attempt.site.layout.doctor_proof.with_suffix(".lock")
    with storage_errors(path, "lock"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        next_beat = 0.0
        least_s = attempt.run.timeout_s * _FOR_THE_AGENT
        while not try_lock(descriptor) and not attempt.stop():
            if time_left(attempt.run) <= least_s:
                said = f"{attempt.task.id} waits until another task has tried the doctor's command"
                raise OthersFirst(said, hint="nothing to do: it goes on in a later step")
            if time.monotonic() >= next_beat:
                beat(attempt.site)
                next_beat = time.monotonic() + _BEAT_S
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _prove(attempt: Attempt) -> GateReport:
    site, gates = attempt.site, attempt.site.settings.gates
    repo, tree = attempt.place.repo, attempt.place.repo.tree_of(attempt.base.commit)
    if gates.doctor_probe:
        named = source_file(repo, tree, gates.doctor_probe)
        if named is None:
            return GateReport(failure=_no_such_file(gates.doctor_probe))
        files: tuple[Source, ...] = (named,)
    else:
        files = source_files(repo, tree, attempt.place.control, TRIES)
    if not files:
        attempt.log.say("-- whether the doctor's command notices a fault is seen once there is a source file")
        return GateReport()
    attempt.log.stage("prove")
    base = aside(Work(attempt, Candidate(tree, attempt.base.commit), attempt.place.root), tree, "doctor")
    attempt.log.say(f"-- whether the doctor's command notices a fault is seen first, in {base.folder}")
    try:
        report = _proof(base, files)
    finally:
        with storage_errors(base.folder, "remove"):
            remove_checkout(base.folder)
    if report.failure is None:
        make_folder(site.layout.doctor_proof.parent)
        proven = {"proven": _fingerprint(site), "command": gates.doctor, "tree": tree, "at": now().wall}
        write_durable(site.layout.doctor_proof, json.dumps(proven) + "\n")
    return report


def _is_proven(site: Site) -> bool:
    try:
        known = json.loads(read_text(site.layout.doctor_proof))
    except ValueError:
        return False
    return isinstance(known, dict) and known.get("proven") == _fingerprint(site)


def _fingerprint(site: Site) -> str:
    """What the proof hangs on; the files of the project are not part of it."""
    settings = site.settings
    parts = [settings.gates.doctor, settings.gates.doctor_probe, settings.workspace.setup]
    parts += [sandbox_of(site).name, settings.sandbox.image]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _proof(base: Work, files: tuple[Source, ...]) -> GateReport:
    """The doctor's command on the base, then with a fault in one of *files* after the other until it notices one."""
    line, repo = base.attempt.site.settings.gates.doctor, base.attempt.place.repo
    results = list[GateResult]()
    red = _fresh(base, "doctor-setup", results)
    if red is not None:
        return GateReport(tuple(results), red)
    ran = run_command(base, "doctor-base", line, ran_on=BASE)
    results.append(ran.result)
    if ran.failure is not None:
        return GateReport(tuple(results), _red_on_base(base, ran))
    for number, file in enumerate(files, start=1):
        red = _fresh(base, f"doctor-fault-{number}-setup", results)  # the run before may have left something there
        if red is not None:
            return GateReport(tuple(results), red)
        faulty = aside(base, faulty_tree(repo, base.candidate.tree, file), "doctor")
        switch_checkout(repo, faulty.candidate.tree, faulty.folder)
        where = f"{BASE} with a fault planted in {file.path}"
        ran = run_command(faulty, f"doctor-fault-{number}", line, ran_on=where)
        results.append(ran.result)
        if ran.failure is not None and ran.was_cut_short:
            return GateReport(tuple(results), _cut_short(ran.failure))
        if ran.is_red:
            base.attempt.log.say(f"-- it notices the fault in {file.path}: from now on it is relied on")
            return GateReport(tuple(results))
    return GateReport(tuple(results), _unnoticed(line, files))


def _fresh(base: Work, gate: str, results: list[GateResult]) -> Failure | None:
    """Make the checkout of the base anew, and ready; why that failed, for a person."""
    with storage_errors(base.folder, "remove"):
        remove_checkout(base.folder)
    report = make_ready(base, gate, ran_on=BASE)
    results += report.results
    if report.failure is None or report.failure.kind is FailureKind.CANCELLED:
        return report.failure
    cure = "try it by hand in a fresh checkout, and correct workspace.setup in PROJECT.yaml, then `aiframe resume`"
    return Failure(FailureKind.SETUP, f"{report.failure.message}\n{report.findings}", cure)


def _red_on_base(base: Work, ran: Ran) -> Failure | None:
    """The failure of a doctor's command that is red before anybody has worked."""
    if ran.failure is None or ran.failure.kind is FailureKind.CANCELLED:
        return ran.failure
    end = "\n".join(ran.tail.splitlines()[-_TAIL_LINES:])
    commit, log = base.attempt.base.commit[:10], ran.result.log_file
    said = f"before any work, in a clean checkout of {commit}: {ran.failure.message}\n{end}\n(all of it: {log})"
    cure = (
        f"mend {commit}, or correct gates.doctor in PROJECT.yaml; no .git and no ignored file is in that checkout: "
        f"`workspace: {{setup: [...]}}` makes what the command needs; or {SWITCH}"
    )
    return Failure(FailureKind.SETUP, said, cure)


def _cut_short(failure: Failure) -> Failure:
    """The failure where the step was over first: another attempt would get no further."""
    if failure.kind is FailureKind.CANCELLED:
        return failure
    cure = f"a larger timeout_sec leaves it the time, and gates.timeout_min bounds each of its runs; or {SWITCH}"
    return Failure(FailureKind.SETUP, failure.message, cure)


def _unnoticed(line: str, files: tuple[Source, ...]) -> Failure:
    names = ", then in ".join(file.path for file in files)
    said = (
        f"the doctor's command `{line}` notices no fault: it does not fail on a line that is no program "
        f"in any language, which was planted at the end of a file, in {names}"
    )
    cure = (
        "correct gates.doctor in PROJECT.yaml so that it looks at the whole project; or name a file that it looks at, "
        f"`gates: {{doctor_probe: PATH}}`; or {SWITCH}"
    )
    return Failure(FailureKind.SETUP, said, cure)


def _no_such_file(path: str) -> Failure:
    said = (
        f"gates.doctor_probe in PROJECT.yaml names {path}, which is no plain file that git keeps, or a very large one"
    )
    return Failure(FailureKind.SETUP, said, "name a tracked source file, or leave it out; then `aiframe resume`")
