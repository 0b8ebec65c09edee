"""Work and its target brought together before the checks, so that they run on the very files that land.

What does not go together is told to the agent with the facts: which files, which checks, and what landed meanwhile.
"""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.app.attempts.asking import Built
from aiframe.app.attempts.attempt import Attempt, Work
from aiframe.app.attempts.gates import GateReport
from aiframe.app.attempts.linked import integrate, target_tip
from aiframe.app.attempts.vaulting import seal_project
from aiframe.core.model import Failure, FailureKind
from aiframe.workspaces.git import Repository
from aiframe.workspaces.landing import landed_between, unmended

_SHOWN = 20
"""How many files in conflict, and how many commits, an agent is told of."""


def integrated(attempt: Attempt, built: Built) -> tuple[Attempt, Built, GateReport | None]:
    """The attempt on top of its target as that is now, and what is in the way of that. In place it always is there."""
    if attempt.place.kind == "inplace":
        return attempt, built, None
    base, conflicts = integrate(attempt.site, attempt.place, attempt.base)
    if base == attempt.base:
        return attempt, built, None
    attempt.log.stage("merge")
    built = replace(built, sealed=seal_project(attempt.site, attempt.run, attempt.place.root))  # its branch has moved
    attempt.log.say(f"-- {attempt.place.target} has moved: the work is merged with it")
    merged = replace(attempt, base=base)
    if not conflicts:
        return merged, built, None
    said = f"the work and {attempt.place.target} both changed {', '.join(conflicts[:5])}"
    cure = (
        "They hold both versions now, between conflict markers: make of each what serves both, and take the markers out"
    )
    meanwhile = _meanwhile(attempt.place.repo, attempt.base.commit, base.commit, conflicts)
    findings = f"{said}. {cure}:\n" + "\n".join(conflicts[:_SHOWN]) + f"\n\n{meanwhile}"
    report = GateReport((), _merge_failure(attempt, said), findings, causes=_in_conflict(conflicts))
    return merged, built, report


def mended(work: Work) -> GateReport:
    """A gate: no file still holds both versions of a conflict. Checks need not notice that. Raises GitError."""
    attempt = work.attempt
    if attempt.place.kind == "inplace":
        return GateReport()
    left = unmended(attempt.place.repo, attempt.base.commit, work.candidate.tree)
    if not left:
        return GateReport()
    said = f"conflict markers are left in {', '.join(left[:5])}"
    attempt.log.say(f"-- {said}")
    findings = (
        f"{said}: make of both versions what serves both, and take out the lines with <<<<<<<, ======= and >>>>>>>"
    )
    return GateReport((), Failure(FailureKind.VERIFY_FAILED, said), findings, causes=_in_conflict(left))


def with_what_landed(attempt: Attempt, report: GateReport, passed_on: str) -> GateReport:
    """*report* on work that is red, with what landed since it was begun.

    Where the same work has passed its checks before, on top of the commit *passed_on* (empty for none), what landed
    since is the cause.
    """
    failure, base = report.failure, attempt.base.commit
    since = passed_on or attempt.since
    if failure is None or failure.kind is not FailureKind.VERIFY_FAILED or since == base:
        return report
    meanwhile = _meanwhile(attempt.place.repo, since, base, ())
    findings = f"{report.findings}\n\n{meanwhile}"
    if not passed_on:
        return replace(report, findings=findings)
    said = f"together with what landed meanwhile {failure.message}"
    alone = "The work passed this check alone, and does not pass it together with what landed meanwhile."
    return replace(report, failure=_merge_failure(attempt, said), findings=f"{alone}\n\n{findings}")


def _merge_failure(attempt: Attempt, said: str) -> Failure:
    place = attempt.place
    return Failure(FailureKind.MERGE_FAILED, said, f"its work is in {place.root}, on branch {attempt.base.branch}")


def _in_conflict(files: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"conflict in {file}" for file in files)


def _meanwhile(repo: Repository, old: str, new: str, files: tuple[str, ...]) -> str:
    """In words, the commits between *old* and *new* that changed *files* (empty: any)."""
    landed = landed_between(repo, old, new, files[:_SHOWN], _SHOWN)
    return "Landed meanwhile (`git show ID` shows each):\n" + "\n".join(landed) if landed else ""


def is_on_target(attempt: Attempt) -> bool:
    """Whether the target is still where the work was proven."""
    return attempt.place.kind == "inplace" or target_tip(attempt.site, attempt.place) == attempt.base.commit
