"""From a result to what it promises: the commit of a candidate that passed, or the keeping of one that is held."""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.app.attempts.leftovers import put_by
from aiframe.app.attempts.one_at_a_time import StillHeld
from aiframe.app.attempts.outages import EngineAway
from aiframe.app.attempts.placing import land, place_of
from aiframe.app.attempts.results import Kept, Result, publish_result
from aiframe.app.attempts.turns import OthersFirst, TimeAwaited, TurnAwaited
from aiframe.app.attempts.vaulting import WorkspaceGone
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError
from aiframe.core.events import Broken, Ending, Finished, Handed, Held, JobsEnded, Proposal
from aiframe.core.model import Failure, FailureKind
from aiframe.workspaces.git_errors import GitBusy, GitKilled, HeadMoved, again_if_killed
from aiframe.workspaces.landing import TargetBusy


def settle(site: Site, result: Result) -> Ending:
    """Make of a result what it promises; for a task that passed its gates, its commit. Doing it again changes nothing.

    What is in the way is a failure in the ending. The result itself stays as it is, for whoever tries again.
    """
    kept = result.kept
    if kept is None:
        return result.ending
    try:
        try:
            settled = again_if_killed(lambda: _settled(site, result, kept))
        except TargetBusy as error:  # a person is at work there: theirs is the word when it may land
            waiting = _waiting(result, kept, error)
            settled = again_if_killed(lambda: _settled(site, waiting, kept))
    except AiframeError as error:
        ending = refused(error)
        publish_result(site.layout, replace(result, finished=None, held=None, broken=ending))
        return ending
    publish_result(site.layout, settled)
    return settled.ending


def _settled(site: Site, result: Result, kept: Kept) -> Result:
    match result.ending:
        case Finished() as finished:
            commit = land(site, result.task_id, kept)
            return replace(result, commit=commit, finished=replace(finished, commit=commit))
        case Held() as held:
            return replace(
                result, held=put_by(site, place_of(site, result.task_id), result.run_id, result.task_id, kept, held)
            )
        case Broken() | Handed() | JobsEnded():
            return result


def _waiting(result: Result, kept: Kept, error: TargetBusy) -> Result:
    """*result*, held until a person has made way for it."""
    proposal = result.finished.proposal if result.finished else Proposal()
    held = Held("the branch that it lands on is in use", (error.message, error.hint), kept.tree, "", proposal=proposal)
    return replace(result, finished=None, held=held)


def refused(error: AiframeError) -> Broken:
    """The ending of a step that *error* stopped: somebody else's git or landing passes, all else needs a person."""
    passes = isinstance(error, HeadMoved | GitBusy | GitKilled | OthersFirst | StillHeld | WorkspaceGone | EngineAway)
    kind = FailureKind.TRANSIENT if passes else FailureKind.SETUP
    if isinstance(error, TimeAwaited):
        kind = FailureKind.TIMEOUT
    failure = Failure(kind, error.message, error.hint, outage=isinstance(error, EngineAway))
    return Broken((failure,), proven=isinstance(error, TurnAwaited | TimeAwaited))
