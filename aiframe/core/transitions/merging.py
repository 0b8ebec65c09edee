"""Work that is fine alone and not together with what landed meanwhile: back to its agent once, then to a person.

Once for the same cause: a file in conflict, a check that is red. As each time takes others that landed, and that is no
fault of the task's, it uses up none of its attempts.
"""

from __future__ import annotations

import math

from aiframe.core.effects import Decision, GoOn, SetStatus
from aiframe.core.events import Broken
from aiframe.core.model import Failure, FailureKind, Project, Rules, Run, State, TaskStatus, Wait
from aiframe.core.seen import Seen

AGAIN = "merge_failed_again"
NO_TIME = "no_time_to_land"
"""What ``last_error`` says of work that waits for a person."""


def is_again(project: Project, run: Run, ending: Broken) -> bool:
    """Whether the work was sent back for one of the causes of *ending* before, and came back with it."""
    before = {cause for trip in project.returned.get(run.task_id, ()) for cause in trip}
    return not before.isdisjoint(ending.causes or ("",))


def on_merge_failed(project: Project, run: Run, failure: Failure, ending: Broken, rules: Rules) -> Decision:
    """The agent mends it, once for each cause and no oftener than a task is tried; then a person has the word."""
    trips = project.returned.get(run.task_id, ())
    if is_again(project, run, ending) or len(trips) >= rules.max_attempts:
        return _for_a_person(project, run, failure, rules)
    returned = {**project.returned, run.task_id: (*trips, ending.causes or ("",))}
    sent_back = project.evolve(state=State.DEV_READY, returned=returned, last_error=failure.message)
    return Decision(sent_back, (GoOn(),))


def _for_a_person(project: Project, run: Run, failure: Failure, rules: Rules) -> Decision:
    said = f"{run.task_id} does not go together with what landed meanwhile, not at its second try: {failure.message}"
    cure = f"`aiframe retry {run.task_id}` gives it to its agent again, with that work"
    failure = Failure(
        FailureKind.MERGE_FAILED, said, f"{failure.hint}; {cure}" if failure.hint else cure, agent=failure.agent
    )
    return _rests(not_returned(project, run.task_id).evolve(failure=failure, last_error=AGAIN), run, rules)


def on_proven(project: Project, run: Run, seen: Seen, failure: Failure, rules: Rules) -> Decision:
    """Proven work did not land in its step. As often as it was not its turn it tries again: each time there are fewer
    before it. Where its checks need more time than a step has, a person has the word after some tries."""
    project = project.evolve(state=State.DEV_READY, last_error=failure.message)
    if failure.kind is FailureKind.TRANSIENT:
        return Decision(project.evolve(wait=Wait(seen.clock.wall, rules.transient_base_sec)))
    count = project.streaks.get(NO_TIME, 0) + 1
    if count < rules.max_attempts:
        return Decision(project.evolve(streaks={**project.streaks, NO_TIME: count}))
    said = f"{run.task_id} is proven, and {count} steps were too short to check it on what landed meanwhile"
    more = f"`aiframe set timeout_sec={2 * math.ceil(run.timeout_s)}`"
    cure = f"give it more time: {more}, then `aiframe retry {run.task_id}`"
    streaks = {name: number for name, number in project.streaks.items() if name != NO_TIME}
    waiting = project.evolve(failure=Failure(failure.kind, said, cure), last_error=NO_TIME, streaks=streaks)
    return _rests(waiting, run, rules)


def _rests(project: Project, run: Run, rules: Rules) -> Decision:
    """The work waits for a person; other tasks go on where the person said so."""
    if rules.continue_on_task_failure:
        blocked = project.evolve(state=State.DEV_READY)
        return Decision(blocked, (SetStatus(run.task_id, TaskStatus.BLOCKED), GoOn()))
    return Decision(project.evolve(state=State.PAUSED, paused_from=State.DEV_READY))


def waits_for_word(project: Project) -> bool:
    """Whether *project* rests because a person has to say what becomes of such work."""
    return project.state is State.PAUSED and project.last_error in (AGAIN, NO_TIME)


def not_returned(project: Project, *task_ids: str) -> Project:
    """*task_ids* begin anew: what they were sent back for before counts no more."""
    return project.evolve(returned={name: trips for name, trips in project.returned.items() if name not in task_ids})
