"""Work and its target brought together before the checks, so that they run on the very files that land."""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.app.attempts.asking import Built
from aiframe.app.attempts.attempt import Attempt, Work
from aiframe.app.attempts.gates import GateReport
from aiframe.app.attempts.linked import integrate, target_tip
from aiframe.app.attempts.vaulting import seal_project
from aiframe.core.model import Failure, FailureKind
from aiframe.workspaces.landing import unmended


def integrated(attempt: Attempt, built: Built) -> tuple[Attempt, Built, GateReport | None]:
    """The attempt on top of its target as that is now, and what is in the way of that. In place it always is there."""
    if attempt.place.kind == "inplace":
        return attempt, built, None
    base, conflicts = integrate(attempt.place, attempt.base)
    if base == attempt.base:
        return attempt, built, None
    attempt.log.stage("merge")
    built = replace(built, sealed=seal_project(attempt.site, attempt.run, attempt.place.root))  # its branch has moved
    attempt.log.say(f"-- {attempt.place.target} has moved: the work is merged with it")
    if not conflicts:
        return replace(attempt, base=base), built, None
    said = f"the work and {attempt.place.target} both changed {', '.join(conflicts[:5])}"
    cure = "they hold both versions now, between conflict markers: make of each what serves both, without the markers"
    failure = Failure(FailureKind.VERIFY_FAILED, said, "the next attempt begins with the conflict")
    report = GateReport((), failure, f"{said}; {cure}:\n" + "\n".join(conflicts))
    return replace(attempt, base=base), built, report


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
    return GateReport((), Failure(FailureKind.VERIFY_FAILED, said), findings)


def is_on_target(attempt: Attempt) -> bool:
    """Whether the target is still where the work was proven."""
    return attempt.place.kind == "inplace" or target_tip(attempt.place) == attempt.base.commit
