"""How a step that failed moves the state: the table "Failure classes"."""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from aiframe.core.effects import Decision, GoOn, SetStatus
from aiframe.core.events import Broken
from aiframe.core.model import READY_STATE, Failure, FailureKind, Project, Role, Rules, Run, State, TaskStatus, Wait
from aiframe.core.seen import Seen
from aiframe.core.timing import pause_before
from aiframe.core.transitions.holding import not_held, told
from aiframe.core.transitions.merging import is_again, on_merge_failed, on_proven
from aiframe.core.transitions.notes import counted, is_landing, one_more, subject_of, with_question
from aiframe.core.transitions.paths import in_error
from aiframe.core.transitions.players import all_rest, chain_of

SEVERITY = {kind: rank for rank, kind in enumerate(FailureKind)}
"""Of two failures at once the one with the lower number decides."""


USES_ATTEMPT = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.STALLED,
        FailureKind.VERIFY_FAILED,
        FailureKind.AUDIT_REJECTED,
        FailureKind.NO_PROGRESS,
    }
)
"""The failures after real work: each costs one of a task's attempts."""


JUDGED = frozenset({FailureKind.VERIFY_FAILED, FailureKind.AUDIT_REJECTED})
"""The failures of a candidate that was looked at: the same tree once more is no progress."""


FINISHES_STEP = JUDGED | {FailureKind.NO_PROGRESS, FailureKind.MERGE_FAILED}
"""The failures of a step that ran to its end: they end a streak of crashes and waits."""


KEEPS_SESSION = JUDGED | {FailureKind.INVALID_OUTPUT, FailureKind.MERGE_FAILED}
"""The failures after which the agent goes on in its conversation: it is told what was wrong with what it did."""


_OUTAGE = "outage"


def on_broken(project: Project, run: Run, seen: Seen, ending: Broken, rules: Rules) -> Decision:
    """The table "Failure classes": the gravest failure decides."""
    failure = min(ending.failures, key=lambda each: SEVERITY[each.kind])
    tree = ending.tree
    asks = ending.question is not None and project.settings.interactive_mode
    if failure.kind is FailureKind.VERIFY_FAILED and run.task_id and is_again(project, run, ending):
        failure = replace(failure, kind=FailureKind.MERGE_FAILED)
    if failure.kind in JUDGED and not asks and tree and project.trees.get(run.task_id) == tree:
        failure = Failure(FailureKind.NO_PROGRESS, f"a second attempt left the same files, and {failure.message}")
    project = project.evolve(failure=failure, session=ending.session if failure.kind in KEEPS_SESSION else None)
    if tree and run.task_id:
        project = project.evolve(trees={**project.trees, run.task_id: tree})
    if ending.findings:
        project = project.evolve(findings={**project.findings, subject_of(run): ending.findings})
    project = with_question(project, run, ending.question)
    if failure.kind in FINISHES_STEP:
        project = project.evolve(streaks={})
    used = project if ending.proven else _used(project, run, failure.kind)
    if ending.proven:
        decision = on_proven(used, run, seen, failure, rules)
    elif failure.kind is FailureKind.MERGE_FAILED and run.task_id:
        decision = on_merge_failed(used, run, failure, ending, rules)
    else:
        decision = after_failure(used, run, seen, failure, rules)
    if failure.kind in FINISHES_STEP:
        decision = replace(decision, project=_begun_anew(decision.project, run, failure))
    if run.task_id and not _sets_status(decision, run.task_id):
        decision = Decision(decision.project, (SetStatus(run.task_id, TaskStatus.TODO), *decision.effects))
    return decision


def after_failure(project: Project, run: Run, seen: Seen, failure: Failure, rules: Rules) -> Decision:
    """Where the failure of a step leads, by its class alone."""
    ready = READY_STATE[run.role]
    match failure.kind:
        case FailureKind.CANCELLED if seen.interrupt_flag and project.settings.interactive_mode:
            return Decision(project.evolve(state=State.PAUSE_INTERACT, paused_from=ready, last_error=failure.message))
        case FailureKind.CANCELLED | FailureKind.BUDGET:
            return Decision(project.evolve(state=State.PAUSED, paused_from=ready, last_error=failure.message))
        case FailureKind.AUTH | FailureKind.SETUP:
            return Decision(in_error(project, failure, ready))
        case FailureKind.QUOTA:
            return _wait_for_quota(project, run, seen, failure, rules)
        case FailureKind.TRANSIENT if failure.outage:
            return Decision(_outlast(project, run, seen, failure, rules))
        case FailureKind.TRANSIENT:
            return Decision(_back_off(project, run, seen, failure, rules))
        case FailureKind.INTERRUPTED:
            return Decision(_again_unless(project, failure, rules.interrupted_limit, ready))
        case FailureKind.INVALID_OUTPUT:
            after = _again_unless(project, failure, rules.repairs + 1, ready)
            return Decision(after, () if after.state is State.ERROR else (GoOn(),))
        case FailureKind.TIMEOUT | FailureKind.STALLED | FailureKind.NO_PROGRESS:
            if _attempts_used_up(project, run, rules):
                return give_up(project, run.task_id, failure, rules)
            return Decision(_diagnose(project, run, failure))
        case FailureKind.AUDIT_REJECTED if _audits_used_up(project, run, rules):
            return give_up(project, run.task_id, failure, rules)
        case FailureKind.VERIFY_FAILED | FailureKind.AUDIT_REJECTED | FailureKind.MERGE_FAILED:
            if not _asks(project, run) and _attempts_used_up(project, run, rules):
                return give_up(project, run.task_id, failure, rules)
            return Decision(project.evolve(state=ready, last_error=failure.message), (GoOn(),))
        case _:
            assert_never(failure.kind)


def _asks(project: Project, run: Run) -> bool:
    """Whether the task waits for an answer, which is new input."""
    return any(question.task_id == run.task_id for question in project.open_questions())


def _wait_for_quota(project: Project, run: Run, seen: Seen, failure: Failure, rules: Rules) -> Decision:
    """The agent rests until its quota is there again; another one plays in its place at once, if there is one."""
    task = next((task for task in seen.tasks if task.id == run.task_id), None)
    chain = chain_of(rules, run.role, task)
    streak = f"{failure.kind} of {run.agent}" if run.instead_of else failure.kind.value
    count = project.streaks.get(streak, 0) + 1
    wait = min(rules.quota_base_sec * 2 ** min(count - 1, 20), rules.quota_max_sec)
    # A reset that has passed already would start the step again at once, and again.
    if failure.reset_at is not None and failure.reset_at > seen.clock.wall:
        wait = failure.reset_at - seen.clock.wall
    rest = Wait(seen.clock.wall, wait)
    project = project.evolve(last_error=failure.message, streaks={**project.streaks, streak: count})
    if failure.agent or run.agent not in chain:
        # That of the auditor, for whom nobody stands in; or it is not known whose, or the settings name others by now.
        return Decision(project.evolve(wait=rest))
    project = project.evolve(resting={**project.resting, run.agent: rest})
    wait_for_all = all_rest(chain, project.resting, seen.clock)
    return Decision(project.evolve(wait=wait_for_all), () if wait_for_all else (GoOn(),))


def _back_off(project: Project, run: Run, seen: Seen, failure: Failure, rules: Rules) -> Project:
    after = _again_unless(project, failure, rules.transient_limit, READY_STATE[run.role])
    if after.state is State.ERROR:
        return after
    wait = pause_before(after.streaks[failure.kind], rules)
    return after.evolve(wait=Wait(seen.clock.wall, wait))


def _outlast(project: Project, run: Run, seen: Seen, failure: Failure, rules: Rules) -> Project:
    """The same ready state again, after growing pauses, until what was away is back."""
    count = project.streaks.get(_OUTAGE, 0) + 1
    wait = pause_before(count, rules)
    return project.evolve(
        state=READY_STATE[run.role], last_error=failure.message, wait=Wait(seen.clock.wall, wait),
        streaks={**project.streaks, _OUTAGE: count},
    )  # fmt: skip


def _again_unless(project: Project, failure: Failure, limit: int, ready: State) -> Project:
    """The same ready state again; the *limit*-th failure of this kind in a row is an ERROR."""
    count = project.streaks.get(failure.kind, 0) + 1
    project = project.evolve(streaks={**project.streaks, failure.kind: count})
    if count >= limit:
        message = f"{failure.message} ({failure.kind}, {count} times in a row)"
        return in_error(project, replace(failure, message=message), ready)
    return project.evolve(state=ready, last_error=failure.message)


def _diagnose(project: Project, run: Run, failure: Failure) -> Project:
    """One diagnosis, then one more try; what hangs again, or hangs while diagnosing, needs a person."""
    if run.role is Role.DIAGNOSE:
        return in_error(project, failure, project.resume_state or State.DEV_READY, code=f"{failure.kind}_in_diagnosis")
    ready = READY_STATE[run.role]
    if project.diagnosis_done and project.diagnosed_role is run.role:
        return in_error(project, failure, ready, code=f"{failure.kind}_after_diagnosis")
    return project.evolve(
        state=State.DIAGNOSE_READY,
        resume_state=ready,
        diagnosed_role=run.role,
        diagnosis_done=False,
        last_error=failure.kind.value,
    )


def give_up(project: Project, task_id: str, failure: Failure, rules: Rules) -> Decision:
    """The task has used up its attempts: it failed; go on with others only where the person said so."""
    effects = (SetStatus(task_id, TaskStatus.FAILED),)
    if rules.continue_on_task_failure:
        return Decision(project.evolve(state=State.DEV_READY, last_error=failure.message), (*effects, GoOn()))
    # A lane has said so already, of its own task.
    message = f"task {task_id} failed: {failure.message.removeprefix(f'task {task_id} failed: ')}"
    named = replace(
        failure, message=message, hint=failure.hint or f"read `aiframe logs`, then `aiframe retry {task_id}`"
    )
    return Decision(in_error(project, named, State.DEV_READY), effects)


def used_up(rules: Rules) -> Failure:
    """Why a task is not tried again."""
    return Failure(FailureKind.VERIFY_FAILED, f"all {rules.max_attempts} attempts are used up")


def _attempts_used_up(project: Project, run: Run, rules: Rules) -> bool:
    counts = bool(run.task_id) and not is_landing(project, run)
    return counts and project.attempts.get(run.input_key, 0) >= rules.max_attempts


def _audits_used_up(project: Project, run: Run, rules: Rules) -> bool:
    return project.audits.get(run.input_key, 0) >= rules.audit_rounds and not is_landing(project, run)


def _begun_anew(project: Project, run: Run, failure: Failure) -> Project:
    """The task without the work that was judged; where a person had approved that, their word is new input: what has
    landed meanwhile is no fault of the task, and uses up none of its attempts."""
    if is_landing(project, run):
        said = told(
            project, run.task_id, f"A person has approved that work, and then it could not land: {failure.message}"
        )
        project = project.evolve(requests={**project.requests, run.task_id: said})
    return not_held(project, run.task_id)


def _used(project: Project, run: Run, kind: FailureKind) -> Project:
    if kind is FailureKind.AUDIT_REJECTED and run.input_key:
        project = project.evolve(audits=one_more(project.audits, run.input_key))
    if kind in USES_ATTEMPT:
        return counted(project, run)
    if kind in (FailureKind.INVALID_OUTPUT, FailureKind.MERGE_FAILED):
        return project.evolve(shown=one_more(project.shown, subject_of(run)))
    return project


def _sets_status(decision: Decision, task_id: str) -> bool:
    return any(isinstance(effect, SetStatus) and effect.task_id == task_id for effect in decision.effects)
