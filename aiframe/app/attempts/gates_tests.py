"""The tests gate: the tests that come with a change have to fail without it, or they prove nothing about it."""

from __future__ import annotations

from collections.abc import Sequence

from aiframe.app.attempts.attempt import Work
from aiframe.app.attempts.gates import GateReport, Ran, run_command
from aiframe.app.attempts.gates_checkout import aside, make_ready
from aiframe.app.attempts.results import GateResult
from aiframe.core.model import Failure, FailureKind
from aiframe.core.patterns import matches_any
from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.inplace import Change, changed_files
from aiframe.workspaces.trees import tree_with

WITHOUT = "the base with only the tests of the work"
NOT_RUN = frozenset({126, 127})
"""Exit codes of a shell that could not start a command: that is no test that failed."""


def prove_tests(work: Work) -> GateReport:
    """Run the task's verify commands on the base with only the tests of the work: one of them has to fail.

    Which files are tests is what `gates.prove_tests` says. Raises StepError, StorageError.
    """
    attempt, repo = work.attempt, work.attempt.place.repo
    patterns = attempt.site.settings.gates.prove_tests
    changes = changed_files(repo, attempt.base.commit, work.candidate.tree) if patterns else ()
    if not changes:
        return GateReport()
    ours = [change for change in changes if matches_any(change.path, patterns)]
    written = _written(repo, attempt.base.commit, changes, ours)
    if not written:
        return _said(work, "no test was added or changed with this work")
    if len(ours) == len(changes):
        return _said(work, f"the work is tests alone, with nothing that they could fail without: {_listed(written)}")
    if not attempt.task.commands:
        return _said(work, f"the task has no verify command that runs its tests: {_listed(written)}")
    return _proof(work, ours, written)


def _written(repo: Repository, base: str, changes: Sequence[Change], ours: Sequence[Change]) -> tuple[str, ...]:
    """The paths of tests whose content is new: neither deleted, nor moved from elsewhere. Raises GitError."""
    old = [change.path for change in changes if change.status != "A"]
    listed = names(repo.run("ls-tree", "-r", "-z", "--full-tree", base)) if old else ()
    blobs = {path: head.split()[2] for head, _, path in (entry.partition("\t") for entry in listed)}
    known = {blobs[path] for path in old if path in blobs}
    return tuple(change.path for change in ours if change.status != "D" and change.blob not in known)


def _proof(work: Work, ours: Sequence[Change], written: tuple[str, ...]) -> GateReport:
    repo, lines = work.attempt.place.repo, work.attempt.task.commands
    work.attempt.log.stage("tests")
    without = aside(work, tree_with(repo, work.attempt.base.commit, ours), "tests")
    work.attempt.log.say(f"-- whether the tests fail without the work is seen in {without.folder}")
    ready = make_ready(without, "tests-setup", ran_on=WITHOUT)
    if ready.failure is not None:
        return _not_known(work, ready.results, ready.failure)
    results, passed = list(ready.results), list[Ran]()
    for number, line in enumerate(lines, start=1):
        ran = run_command(without, f"tests-{number}", line, ran_on=WITHOUT)
        results.append(ran.result)
        if ran.was_cut_short:
            return GateReport(tuple(results), ran.failure)
        if ran.is_red and ran.ended.code not in NOT_RUN:
            return _fail_without(work, results, lines[:number], written)
        passed.append(ran)
    return _prove_nothing(work, results, passed, written)


def _fail_without(work: Work, results: list[GateResult], lines: Sequence[str], written: tuple[str, ...]) -> GateReport:
    """The report where the last of *lines* fails without the work; it has to pass with it, in just such a checkout."""
    if not work.is_clean:
        beside = aside(work, work.candidate.tree, "tests")
        ready = make_ready(beside, "tests-with-setup")
        results += ready.results
        failure = ready.failure
        for number, line in enumerate(lines if failure is None else (), start=1):
            ran = run_command(beside, f"tests-with-{number}", line)
            results.append(ran.result)
            failure = failure or ran.failure
            if failure is not None:
                break
        if failure is not None:
            return _not_known(work, tuple(results), failure)
    found = f"`{lines[-1]}` fails without the work, as it has to: on {WITHOUT} ({_listed(written)})"
    work.attempt.log.say(f"-- {found}")
    return GateReport(tuple(results), found=(found,))


def _prove_nothing(work: Work, results: list[GateResult], ran: Sequence[Ran], written: tuple[str, ...]) -> GateReport:
    """What goes back to the agent where no command failed on its own without the work."""
    names_ = _listed(written)
    if all(each.failure is None for each in ran):
        said = f"these tests pass without your change; make them fail without it: {names_}"
    else:
        said = (
            f"these tests do not fail without your change, or cannot be run there; make them fail without it: {names_}"
        )
    how = [f"- `{each.result.command}` {_ended(each)} (all of its output: {each.result.log_file})" for each in ran]
    told = "aiframe has put only the test files of your work on top of the files as they were before it, and run:"
    work.attempt.log.say(f"-- {said}")
    failure = Failure(FailureKind.VERIFY_FAILED, f"the new tests prove nothing: {said}")
    return GateReport(tuple(results), failure, "\n".join([f"{said}.", told, *how]))


def _ended(ran: Ran) -> str:
    if ran.failure is None:
        return "passed"
    if ran.ended.reason != "exit":
        return "did not end in time, which proves nothing"
    return f"ended with exit code {ran.ended.code}: it could not be run, which proves nothing"


def _not_known(work: Work, results: tuple[GateResult, ...], failure: Failure) -> GateReport:
    """The report where the checkout itself is in the way: no fault of the agent's, unless the step is over."""
    if failure.kind in (FailureKind.CANCELLED, FailureKind.TIMEOUT):
        return GateReport(results, failure)
    said = (
        f"whether the tests fail without the work is not known: in a clean checkout {failure.message}; no .git and no "
        "ignored file is in it: `workspace: {setup: [...]}` makes what the commands need"
    )
    return _said(work, said, results)


def _said(work: Work, said: str, results: tuple[GateResult, ...] = ()) -> GateReport:
    """Nothing is proven, and nothing fails: people and an audit are told."""
    work.attempt.log.say(f"-- {said}")
    return GateReport(results, notes=(said,), found=(said,))


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 10} more" if len(paths) > 10 else ""
    return ", ".join(paths[:10]) + more
