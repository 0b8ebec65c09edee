"""Every transition of a project: ``decide(project, event, rules)`` says what it becomes and what to do.

Pure: time and files come in with the event. A late event (of a run that is no longer the project's) changes nothing; a
command that does not fit the state raises `Refused` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import assert_never

from aiframe.core.errors import AiframeError
from aiframe.core.events import (
    AnswerGiven,
    AnswersDone,
    Archive,
    Broken,
    Change,
    Decision,
    Effect,
    Event,
    Finished,
    GoOn,
    HandSet,
    Pause,
    Proposal,
    Recover,
    Rejection,
    Replan,
    Resume,
    Retry,
    RunLost,
    RunStarted,
    Seen,
    SetStatus,
    StartStep,
    StepEnded,
    StopRunner,
    Tick,
)
from aiframe.core.model import (
    READY_STATE,
    READY_STATES,
    STEP_STATES,
    Failure,
    FailureKind,
    Project,
    Question,
    Role,
    Rules,
    Run,
    State,
    Task,
    TaskStatus,
    Unknown,
    Wait,
)
from aiframe.core.scheduling import CLOSED, all_closed, input_key, is_startable, ready_tasks
from aiframe.core.timing import elapsed, rebased, remaining

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

FINISHES_STEP = JUDGED | {FailureKind.NO_PROGRESS}
"""The failures of a step that ran to its end: they end a streak of crashes and waits."""


class Refused(AiframeError):
    """A command that does not fit where the project stands."""


def decide(project: Project, event: Event, rules: Rules) -> Decision:
    """The project after *event*, and the effects to carry out. Raises `Refused` for a command that does not fit."""
    match event:
        case Tick():
            return _tick(project, event, rules)
        case RunStarted(run):
            return _run_started(project, run)
        case StepEnded(run_id, seen, ending):
            if project.run is None or project.run.run_id != run_id:
                return Decision(project)
            return _step_ended(project, project.run, seen, ending, rules)
        case RunLost(run_id, seen):
            if project.run is None or project.run.run_id != run_id:
                return Decision(project)
            return _run_lost(project, project.run, seen, rules)
        case HandSet():
            return _hand_set(project, event)
        case Pause():
            return _pause(project)
        case Resume(seen, now):
            return _resume(project, seen, now)
        case Retry(seen, task_id):
            return _retry(project, seen, task_id)
        case Replan():
            return _replan(project)
        case AnswersDone():
            return _answers_done(project)
        case AnswerGiven(question_id, text):
            return _answer_given(project, question_id, text)
        case Change(values):
            return Decision(project.evolve(settings=replace(project.settings, **values)))
        case _:
            assert_never(event)


# Tick -----------------------------------------------------------------------------------------------------------------


def _tick(project: Project, event: Tick, rules: Rules) -> Decision:
    """Follow the states until one rests, asks for a step, or asks for recovery."""
    effects: list[Effect] = []
    while True:
        decision = _look(project, event, rules)
        effects.extend(decision.effects)
        resting = decision.project == project and not decision.effects
        if resting or _asks_for_work(decision):
            return Decision(decision.project, tuple(effects))
        seen = seen_after(event.seen, decision.effects)
        project, event = decision.project, Tick(seen, event.may_start, event.tasks_taken)


def _asks_for_work(decision: Decision) -> bool:
    return any(isinstance(effect, StartStep | StopRunner | Recover) for effect in decision.effects)


def seen_after(seen: Seen, effects: Iterable[Effect]) -> Seen:
    """What the files will say once *effects* are carried out, so that one look can follow several transitions."""
    for effect in effects:
        match effect:
            case SetStatus(task_id, status):
                seen = replace(seen, tasks=_with_status(seen.tasks, task_id, status))
            case Archive("approval"):
                seen = replace(seen, approval=False)
            case Archive("rejection"):
                seen = replace(seen, rejection=None)
            case _:
                pass
    return seen


def _look(project: Project, event: Tick, rules: Rules) -> Decision:
    """One row of the table "States and what a tick does"."""
    seen, settings = event.seen, project.settings
    wait = rebased(project.wait, seen.clock)
    if wait != project.wait:
        project = project.evolve(wait=wait)
    may_go_on = project.state in READY_STATES or (project.state is State.INTAKE_WAITING and _answered(project, seen))
    if may_go_on and seen.interrupt_flag and settings.interactive_mode:
        return Decision(project.evolve(state=State.PAUSE_INTERACT, paused_from=project.state))
    if may_go_on and project.state is not State.REVIEW_READY and remaining(project.wait, seen.clock) > 0:
        return Decision(project)
    match project.state:
        case State.INTAKE_READY:
            if not settings.interactive_mode:
                return Decision(project.evolve(state=State.SPEC_READY))
            return _start(project, event, Role.INTAKE)
        case State.INTAKE_WAITING:
            if _answered(project, seen):
                return _start(project, event, Role.INTAKE)
            return Decision(project)
        case State.SPEC_READY:
            if settings.plan_locked:
                return Decision(project.evolve(state=State.DEV_READY))
            return _start(project, event, Role.PO)
        case State.DEV_READY:
            return _look_dev(project, event, rules)
        case State.DIAGNOSE_READY:
            return _start(project, event, Role.DIAGNOSE)
        case State.RUNNING:
            return _look_running(project, seen, rules)
        case State.REVIEW_READY:
            if not settings.interactive_mode:
                return Decision(project.evolve(state=State.DEV_READY))
            # A word from before the review began was not said about what is to be reviewed.
            return Decision(project.evolve(state=State.REVIEW_WAITING), _archived_words(seen))
        case State.REVIEW_WAITING:
            return _look_review(project, seen)
        case State.QUESTION_WAITING:
            return _look_question(project, seen)
        case State.PAUSE_INTERACT:
            if seen.interrupt_flag and settings.interactive_mode:
                return Decision(project)
            return Decision(_back(project, seen))
        case State.PAUSED | State.DONE | State.ERROR | Unknown():
            return Decision(project)
        case _:
            assert_never(project.state)


def _answered(project: Project, seen: Seen) -> bool:
    """Whether the interview goes on: the form is filled in, or nobody is there to do so."""
    return seen.form_done or project.answers_done or not project.settings.interactive_mode


def _start(project: Project, event: Tick, role: Role) -> Decision:
    if not event.may_start:
        return Decision(project)
    attempt = project.shown.get(role.value, 0) + 1
    return Decision(project, (StartStep(role, project.settings.timeout_sec, attempt=attempt),))


def _look_running(project: Project, seen: Seen, rules: Rules) -> Decision:
    run = project.run
    if run is None or (run.runner.host and run.runner.host != seen.clock.host):
        return Decision(project)
    if not seen.lock_held:
        return Decision(project, (Recover(run.run_id),))
    if elapsed(run.started, seen.clock) > run.timeout_s + rules.hung_grace_sec:
        return Decision(project, (StopRunner(run.runner, run.run_id),))
    return Decision(project)


def _look_dev(project: Project, event: Tick, rules: Rules) -> Decision:
    """Start the next ready task, or say why there is none: the first rule that holds."""
    tasks = event.seen.tasks
    waiting = {question.task_id for question in project.open_questions()}
    for task in ready_tasks(tasks, waiting):
        key = input_key(task, project.requests.get(task.id, ""))
        if project.attempts.get(key, 0) >= rules.max_attempts:
            return _give_up(project, task.id, _used_up(rules), rules)
        if not event.may_start or event.tasks_taken >= rules.dev_chain_limit:
            return Decision(project)
        attempt = project.shown.get(task.id, 0) + 1
        return Decision(project, (StartStep(Role.DEV, _timeout(project, task), task.id, attempt, key),))
    return _no_task_ready(project, tasks, waiting)


def _no_task_ready(project: Project, tasks: tuple[Task, ...], waiting: set[str]) -> Decision:
    interactive = project.settings.interactive_mode
    if any(is_startable(task) and task.id in waiting for task in tasks):
        return Decision(project.evolve(state=State.QUESTION_WAITING, paused_from=State.DEV_READY))
    in_review = [task.id for task in tasks if task.status is TaskStatus.REVIEW]
    if in_review and interactive:
        return Decision(project.evolve(state=State.REVIEW_READY))
    if in_review:
        return _accept(project, in_review)
    if not tasks:
        return Decision(project.evolve(state=State.SPEC_READY, settings=replace(project.settings, plan_locked=False)))
    if all_closed(tasks):
        return Decision(project.evolve(state=State.REVIEW_READY if interactive else State.DONE))
    message = "no task can go on: " + "; ".join(_why_stuck(task, tasks) for task in tasks if task.status not in CLOSED)
    cure = "`aiframe retry TASK` gives a failed task its attempts back; set a blocked one to todo in TASKS.yaml"
    return Decision(_error(project, Failure(FailureKind.VERIFY_FAILED, message, cure), State.DEV_READY))


def _why_stuck(task: Task, tasks: tuple[Task, ...]) -> str:
    if task.status in (TaskStatus.FAILED, TaskStatus.BLOCKED):
        return f"{task.id} is {task.status}"
    done = {other.id for other in tasks if other.status is TaskStatus.DONE}
    return f"{task.id} waits for {', '.join(need for need in task.blocked_by if need not in done)}"


def _timeout(project: Project, task: Task) -> float:
    own = task.max_duration_min
    return project.settings.timeout_sec if own is None else min(project.settings.timeout_sec, own * 60)


def _accept(project: Project, task_ids: Iterable[str]) -> Decision:
    """Take the tasks in review as done, and forget what was to be reviewed."""
    effects = tuple(SetStatus(task_id, TaskStatus.DONE) for task_id in task_ids)
    return Decision(project.evolve(state=State.DEV_READY, review_items=()), effects)


def _look_review(project: Project, seen: Seen) -> Decision:
    in_review = [task.id for task in seen.tasks if task.status is TaskStatus.REVIEW]
    if seen.rejection is not None:
        return _send_back(project, seen, seen.rejection)
    if seen.approval:
        accepted = _accept(project, in_review)
        nothing_left = all(task.status in CLOSED or task.id in in_review for task in seen.tasks)
        state = State.DONE if seen.tasks and nothing_left else State.DEV_READY
        return Decision(accepted.project.evolve(state=state), (Archive("approval"), *accepted.effects))
    if not project.settings.interactive_mode:
        return _accept(project, in_review)
    return Decision(project)


def _archived_words(seen: Seen) -> tuple[Effect, ...]:
    """Put aside what a person has said about a review: it is used up, or older than the review."""
    approval = (Archive("approval"),) if seen.approval else ()
    return (*approval, Archive("rejection")) if seen.rejection is not None else approval


def _send_back(project: Project, seen: Seen, rejection: Rejection) -> Decision:
    """Reviewed work goes back to todo with the person's notes; the notes are new input, so attempts start afresh."""
    tasks = seen.tasks
    reviewed = [task.id for task in tasks if task.id in project.review_items or task.status is TaskStatus.REVIEW]
    known = {task.id for task in tasks}
    named = [task_id for task_id in rejection.task_ids if task_id in known] or reviewed
    requests = dict(project.requests)
    for task_id in named:
        requests[task_id] = "\n\n".join(filter(None, [requests.get(task_id, ""), rejection.notes]))
    # A task in review that was not sent back has been looked at: it counts as done.
    passed = [t.id for t in tasks if t.status is TaskStatus.REVIEW and t.id not in named]
    effects: list[Effect] = list(_archived_words(seen))
    effects += [SetStatus(task_id, TaskStatus.TODO) for task_id in named]
    effects += [SetStatus(task_id, TaskStatus.DONE) for task_id in passed]
    return Decision(project.evolve(state=State.DEV_READY, review_items=(), requests=requests), tuple(effects))


def _look_question(project: Project, seen: Seen) -> Decision:
    waiting = {question.task_id for question in project.open_questions()}
    if "" in waiting and project.paused_from is not State.DEV_READY:
        return Decision(project)
    asked = any(is_startable(task) and task.id in waiting for task in seen.tasks)
    if project.paused_from is State.DEV_READY and asked and not ready_tasks(seen.tasks, waiting):
        return Decision(project)
    return Decision(project.evolve(state=project.paused_from or State.DEV_READY, paused_from=None))


# A step begins and ends -----------------------------------------------------------------------------------------------


def _run_started(project: Project, run: Run) -> Decision:
    if project.state not in STEP_STATES and project.state is not State.INTAKE_WAITING:
        raise Refused(f"no step can start in state {project.state}", hint="run `aiframe tick` again")
    effects = (SetStatus(run.task_id, TaskStatus.IN_PROGRESS),) if run.task_id else ()
    return Decision(project.evolve(state=State.RUNNING, run=run, wait=None, pause_requested=False), effects)


def _step_ended(project: Project, run: Run, seen: Seen, ending: Finished | Broken, rules: Rules) -> Decision:
    ended = project.evolve(run=None, state=READY_STATE[run.role])
    if (
        isinstance(ending, Finished)
        and run.role is Role.PO
        and not seen.tasks
        and not _may_put(project, ending.proposal)
    ):
        # Taken as finished, an empty plan would be planned again and again.
        complaint = "the plan holds no task"
        ending = Broken((Failure(FailureKind.INVALID_OUTPUT, complaint),), complaint)
    match ending:
        case Finished():
            decision = _finished(ended, run, seen, ending)
        case Broken():
            decision = _broken(ended, run, seen, ending, rules)
        case _:
            assert_never(ending)
    return _paused_if_asked(decision)


def _run_lost(project: Project, run: Run, seen: Seen, rules: Rules) -> Decision:
    if elapsed(run.started, seen.clock) > run.timeout_s:
        failure = Failure(FailureKind.TIMEOUT, f"the run took longer than {run.timeout_s:g} s and its runner is gone")
    else:
        hint = "if nobody killed it, .git/aiframe/runner.log may say why"
        failure = Failure(FailureKind.INTERRUPTED, "the runner died and left no result", hint)
    return _step_ended(project, run, seen, Broken((failure,)), rules)


def _paused_if_asked(decision: Decision) -> Decision:
    project = decision.project
    if not project.pause_requested:
        return decision
    project = project.evolve(pause_requested=False)
    if project.state in (State.PAUSED, State.ERROR):
        return Decision(project, _without_going_on(decision))
    return Decision(project.evolve(state=State.PAUSED, paused_from=_way_back(project)), _without_going_on(decision))


def _without_going_on(decision: Decision) -> tuple[Effect, ...]:
    return tuple(effect for effect in decision.effects if not isinstance(effect, GoOn))


def _finished(project: Project, run: Run, seen: Seen, ending: Finished) -> Decision:
    project = _counted(project, run).evolve(
        streaks={}, last_error="", failure=None, findings=_without(project.findings, _about(run))
    )
    if project.diagnosed_role is run.role:
        project = project.evolve(diagnosis_done=False, diagnosed_role=None, resume_state=None)
    match run.role:
        case Role.INTAKE:
            return _intake_finished(project, ending.proposal)
        case Role.PO:
            return _plan_finished(project, seen, ending.proposal)
        case Role.DEV:
            return _task_finished(project, run, seen, ending)
        case Role.DIAGNOSE:
            return _diagnosis_finished(project, ending.proposal)
        case _:
            assert_never(run.role)


def may_ask(project: Project) -> bool:
    """Whether an INTAKE step may put questions: once, and once more while confirmations are wanted."""
    settings = project.settings
    return settings.interactive_mode and (project.interviews == 0 or settings.require_confirmations)


def _intake_finished(project: Project, proposal: Proposal) -> Decision:
    after = project.evolve(answers_done=False)
    if not (proposal.questions_written and may_ask(project)):
        return Decision(after.evolve(state=State.SPEC_READY), (Archive("answers"),))
    settings = after.settings
    if after.interviews:
        settings = replace(settings, require_confirmations=False)
    asked = after.evolve(state=State.INTAKE_WAITING, interviews=after.interviews + 1, settings=settings)
    return Decision(asked, (Archive("answers"),))


def _plan_finished(project: Project, seen: Seen, proposal: Proposal) -> Decision:
    if proposal.question and _may_put(project, proposal):
        questions = (*project.questions, proposal.question)
        return Decision(project.evolve(state=State.QUESTION_WAITING, paused_from=State.SPEC_READY, questions=questions))
    settings = replace(project.settings, plan_locked=True)
    return Decision(project.evolve(state=State.DEV_READY, settings=settings, planned_spec=seen.spec_hash))


def _may_put(project: Project, proposal: Proposal) -> bool:
    """Whether the planner's question reaches the person: once, and only where there is one."""
    asked_before = any(not question.task_id for question in project.questions)
    return proposal.question is not None and project.settings.interactive_mode and not asked_before


def _task_finished(project: Project, run: Run, seen: Seen, ending: Finished) -> Decision:
    """The gates passed and the commit is kept: done, or in review where a person has to look."""
    interactive, proposal = project.settings.interactive_mode, ending.proposal
    needs_person = any(task.id == run.task_id and task.needs_person for task in seen.tasks)
    status = TaskStatus.REVIEW if needs_person and interactive else TaskStatus.DONE
    items = tuple(dict.fromkeys((*project.review_items, run.task_id)))
    project = project.evolve(
        review_items=items,
        trees=_without(project.trees, run.task_id),
    )
    project = _asked(project, run, proposal.question)
    effects: tuple[Effect, ...] = (SetStatus(run.task_id, status),)
    every = project.settings.review_every_n_tasks
    review_due = needs_person or 0 < every <= len(items) or proposal.state is State.REVIEW_READY
    if proposal.state is State.ERROR:
        failure = Failure(
            FailureKind.SETUP, proposal.reason or "the agent asks for a person", "`aiframe resume` goes on"
        )
        return Decision(_error(project, failure, State.DEV_READY), effects)
    if interactive and review_due:
        return Decision(project.evolve(state=State.REVIEW_READY), effects)
    if proposal.state is State.SPEC_READY and not project.settings.plan_locked:
        return Decision(project.evolve(state=State.SPEC_READY), effects)
    return Decision(project.evolve(state=State.DEV_READY), (*effects, GoOn()))


def _diagnosis_finished(project: Project, proposal: Proposal) -> Decision:
    settings = project.settings
    if proposal.timeout_sec is not None:
        settings = replace(settings, timeout_sec=proposal.timeout_sec)
    back = project.resume_state or READY_STATE[project.diagnosed_role or Role.DEV]
    if proposal.state is State.SPEC_READY and back is not State.SPEC_READY:
        back, settings = State.SPEC_READY, replace(settings, plan_locked=False)
    return Decision(
        project.evolve(
            state=back, diagnosis_done=True, diagnosis=proposal.diagnosis or project.diagnosis, settings=settings
        )
    )


def _asked(project: Project, run: Run, question: Question | None) -> Project:
    """Put the agent's question; where nobody is there to answer, its default is the answer.

    Such an answer is told to the next try, but it is no new input: only a person's words give attempts back.
    """
    if question is None or any(known.id == question.id for known in project.questions):
        return project
    question = replace(question, task_id=question.task_id or run.task_id)
    if project.settings.interactive_mode:
        return project.evolve(questions=(*project.questions, question))
    answer = question.default or "Nobody can be asked: go on with a stated assumption."
    told = filter(None, [project.findings.get(_about(run), ""), _told(question, answer)])
    return project.evolve(
        questions=(*project.questions, replace(question, answer=answer)),
        findings={**project.findings, _about(run): "\n\n".join(told)},
    )


# Failure classes ------------------------------------------------------------------------------------------------------


def _broken(project: Project, run: Run, seen: Seen, ending: Broken, rules: Rules) -> Decision:
    """The table "Failure classes": the gravest failure decides."""
    failure = min(ending.failures, key=lambda each: SEVERITY[each.kind])
    tree = ending.tree
    if failure.kind in JUDGED and tree and project.trees.get(run.task_id) == tree:
        failure = Failure(FailureKind.NO_PROGRESS, f"a second attempt left the same files, and {failure.message}")
    project = project.evolve(failure=failure)
    if tree and run.task_id:
        project = project.evolve(trees={**project.trees, run.task_id: tree})
    if ending.findings:
        project = project.evolve(findings={**project.findings, _about(run): ending.findings})
    project = _asked(project, run, ending.question)
    if failure.kind in FINISHES_STEP:
        project = project.evolve(streaks={})
    project = _used(project, run, failure.kind)
    decision = _after_failure(project, run, seen, failure, rules)
    if run.task_id and not _sets_status(decision, run.task_id):
        decision = Decision(decision.project, (SetStatus(run.task_id, TaskStatus.TODO), *decision.effects))
    return decision


def _after_failure(project: Project, run: Run, seen: Seen, failure: Failure, rules: Rules) -> Decision:
    ready = READY_STATE[run.role]
    match failure.kind:
        case FailureKind.CANCELLED if seen.interrupt_flag and project.settings.interactive_mode:
            return Decision(project.evolve(state=State.PAUSE_INTERACT, paused_from=ready, last_error=failure.message))
        case FailureKind.CANCELLED | FailureKind.BUDGET:
            return Decision(project.evolve(state=State.PAUSED, paused_from=ready, last_error=failure.message))
        case FailureKind.AUTH | FailureKind.SETUP:
            return Decision(_error(project, failure, ready))
        case FailureKind.QUOTA:
            return Decision(_wait_for_quota(project, seen, failure, rules))
        case FailureKind.TRANSIENT:
            return Decision(_back_off(project, run, seen, failure, rules))
        case FailureKind.INTERRUPTED:
            return Decision(_again_unless(project, failure, rules.interrupted_limit, ready))
        case FailureKind.INVALID_OUTPUT:
            after = _again_unless(project, failure, rules.repairs + 1, ready)
            return Decision(after, () if after.state is State.ERROR else (GoOn(),))
        case FailureKind.TIMEOUT | FailureKind.STALLED | FailureKind.NO_PROGRESS:
            if _attempts_used_up(project, run, rules):
                return _give_up(project, run.task_id, failure, rules)
            return Decision(_diagnose(project, run, failure))
        case FailureKind.VERIFY_FAILED | FailureKind.AUDIT_REJECTED:
            if _attempts_used_up(project, run, rules):
                return _give_up(project, run.task_id, failure, rules)
            return Decision(project.evolve(state=ready, last_error=failure.message), (GoOn(),))
        case _:
            assert_never(failure.kind)


def _wait_for_quota(project: Project, seen: Seen, failure: Failure, rules: Rules) -> Project:
    count = project.streaks.get(failure.kind, 0) + 1
    wait = min(rules.quota_base_sec * 2 ** min(count - 1, 20), rules.quota_max_sec)
    # A reset that has passed already would start the step again at once, and again.
    if failure.reset_at is not None and failure.reset_at > seen.clock.wall:
        wait = failure.reset_at - seen.clock.wall
    return project.evolve(
        wait=Wait(seen.clock.wall, wait), last_error=failure.message, streaks={**project.streaks, failure.kind: count}
    )


def _back_off(project: Project, run: Run, seen: Seen, failure: Failure, rules: Rules) -> Project:
    after = _again_unless(project, failure, rules.transient_limit, READY_STATE[run.role])
    if after.state is State.ERROR:
        return after
    count = after.streaks[failure.kind]
    wait = min(rules.transient_base_sec * 2 ** (count - 1), rules.transient_max_sec)
    return after.evolve(wait=Wait(seen.clock.wall, wait))


def _again_unless(project: Project, failure: Failure, limit: int, ready: State) -> Project:
    """The same ready state again; the *limit*-th failure of this kind in a row is an ERROR."""
    count = project.streaks.get(failure.kind, 0) + 1
    project = project.evolve(streaks={**project.streaks, failure.kind: count})
    if count >= limit:
        message = f"{failure.message} ({failure.kind}, {count} times in a row)"
        return _error(project, replace(failure, message=message), ready)
    return project.evolve(state=ready, last_error=failure.message)


def _diagnose(project: Project, run: Run, failure: Failure) -> Project:
    """One diagnosis, then one more try; what hangs again, or hangs while diagnosing, needs a person."""
    if run.role is Role.DIAGNOSE:
        return _error(project, failure, project.resume_state or State.DEV_READY, code=f"{failure.kind}_in_diagnosis")
    ready = READY_STATE[run.role]
    if project.diagnosis_done and project.diagnosed_role is run.role:
        return _error(project, failure, ready, code=f"{failure.kind}_after_diagnosis")
    return project.evolve(
        state=State.DIAGNOSE_READY,
        resume_state=ready,
        diagnosed_role=run.role,
        diagnosis_done=False,
        last_error=failure.kind.value,
    )


def _give_up(project: Project, task_id: str, failure: Failure, rules: Rules) -> Decision:
    """The task has used up its attempts: it failed; go on with others only where the person said so."""
    effects = (SetStatus(task_id, TaskStatus.FAILED),)
    if rules.continue_on_task_failure:
        return Decision(project.evolve(state=State.DEV_READY, last_error=failure.message), (*effects, GoOn()))
    message = f"task {task_id} failed: {failure.message}"
    named = replace(
        failure, message=message, hint=failure.hint or f"read `aiframe logs`, then `aiframe retry {task_id}`"
    )
    return Decision(_error(project, named, State.DEV_READY), effects)


def _used_up(rules: Rules) -> Failure:
    return Failure(FailureKind.VERIFY_FAILED, f"all {rules.max_attempts} attempts are used up")


def _error(project: Project, failure: Failure, go_on: State, *, code: str = "") -> Project:
    return project.evolve(state=State.ERROR, failure=failure, last_error=code or failure.message, paused_from=go_on)


def _attempts_used_up(project: Project, run: Run, rules: Rules) -> bool:
    return bool(run.task_id) and project.attempts.get(run.input_key, 0) >= rules.max_attempts


def _used(project: Project, run: Run, kind: FailureKind) -> Project:
    if kind in USES_ATTEMPT:
        return _counted(project, run)
    if kind is FailureKind.INVALID_OUTPUT:
        return project.evolve(shown=_one_more(project.shown, _about(run)))
    return project


def _counted(project: Project, run: Run) -> Project:
    """Count the attempt: for people by task or role, for the limit by the task's input."""
    attempts = _one_more(project.attempts, run.input_key) if run.input_key else project.attempts
    return project.evolve(shown=_one_more(project.shown, _about(run)), attempts=attempts)


def _about(run: Run) -> str:
    return run.task_id or run.role.value


def _one_more(counts: Mapping[str, int], key: str) -> dict[str, int]:
    return {**counts, key: counts.get(key, 0) + 1}


def _without(texts: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: text for name, text in texts.items() if name != key}


def _sets_status(decision: Decision, task_id: str) -> bool:
    return any(isinstance(effect, SetStatus) and effect.task_id == task_id for effect in decision.effects)


# What a person does ---------------------------------------------------------------------------------------------------


def _hand_set(project: Project, event: HandSet) -> Decision:
    """A person's edit of STATE.json while nothing runs is honoured from any state; while a step runs, only a pause."""
    state = event.state
    if project.run is not None and event.seen.lock_held:
        return Decision(project.evolve(pause_requested=project.pause_requested or state is State.PAUSED))
    after = project.evolve(settings=event.settings or project.settings, **event.fields)
    if state is None or state is State.RUNNING or state == project.state:
        return Decision(after)
    if project.state is State.ERROR:
        after = _without_error(after)
    stops = state in (State.PAUSED, State.PAUSE_INTERACT, State.ERROR)
    back = _resting_place(project, event.seen) if stops else None
    return Decision(after.evolve(state=state, run=None, paused_from=back))


def _without_error(project: Project) -> Project:
    return project.evolve(failure=None, last_error="", wait=None, diagnosis_done=False, streaks={})


def _resting_place(project: Project, seen: Seen) -> State | None:
    """Where to go on after a pause that interrupted *project* as it is."""
    if project.run is not None:
        return READY_STATE[project.run.role]
    if project.state in (State.PAUSED, State.PAUSE_INTERACT, State.ERROR, State.DONE) or isinstance(
        project.state, Unknown
    ):
        return project.paused_from or _start_of(project, seen)
    return _way_back(project)


def _way_back(project: Project) -> State | None:
    """What a pause of *project* has to remember: a wait inside a wait keeps the state behind the first."""
    if project.state in (State.PAUSE_INTERACT, State.QUESTION_WAITING):
        return project.paused_from
    return None if isinstance(project.state, Unknown) else project.state


def _start_of(project: Project, seen: Seen) -> State:
    if seen.tasks:
        return State.DEV_READY
    return State.INTAKE_READY if project.interviews == 0 and project.settings.interactive_mode else State.SPEC_READY


def _pause(project: Project) -> Decision:
    match project.state:
        case State.RUNNING:
            return Decision(project.evolve(pause_requested=True))
        case State.PAUSED:
            return Decision(project)
        case State.DONE | State.ERROR | Unknown():
            raise Refused(f"there is nothing to pause: the project is in {project.state}", hint="see `aiframe why`")
        case _:
            return Decision(project.evolve(state=State.PAUSED, paused_from=_way_back(project)))


def _resume(project: Project, seen: Seen, now: bool) -> Decision:
    if now:
        project = project.evolve(wait=None)
    match project.state:
        case State.RUNNING:
            return Decision(project.evolve(pause_requested=False))
        case State.PAUSED | State.PAUSE_INTERACT:
            return Decision(_back(project, seen))
        case State.ERROR:
            return Decision(_back(_without_error(project), seen))
        case State.DONE:
            if all_closed(seen.tasks):
                raise Refused(
                    "the project is done and has no open task", hint="add a task with status todo to TASKS.yaml"
                )
            return Decision(project.evolve(state=State.DEV_READY))
        case _:
            if now:
                return Decision(project)
            raise Refused(f"there is nothing to resume: the project is in {project.state}", hint="see `aiframe why`")


def _back(project: Project, seen: Seen) -> Project:
    state = project.paused_from or _start_of(project, seen)
    if state is State.SPEC_READY and any(not question.task_id for question in project.open_questions()):
        return project.evolve(state=State.QUESTION_WAITING, paused_from=state)
    return project.evolve(state=state, paused_from=None)


def _retry(project: Project, seen: Seen, task_id: str) -> Decision:
    if project.state is State.RUNNING:
        raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`")
    if task_id and task_id not in {task.id for task in seen.tasks}:
        known = ", ".join(task.id for task in seen.tasks) or "none"
        raise Refused(f"there is no task {task_id}", hint=f"known tasks: {known}")
    named = [t.id for t in seen.tasks if t.id == task_id or (not task_id and t.status is TaskStatus.FAILED)]
    if not named and project.state is not State.ERROR:
        raise Refused("no task has failed", hint="`aiframe retry TASK` starts a named task over")
    attempts = {key: used for key, used in project.attempts.items() if key.partition("@")[0] not in named}
    trees = {name: tree for name, tree in project.trees.items() if name not in named}
    effects = tuple(SetStatus(name, TaskStatus.TODO) for name in named)
    after = project.evolve(attempts=attempts, trees=trees)
    if project.state is State.ERROR or named:
        after = _without_error(after)
        target = State.DEV_READY if named else after.paused_from or _start_of(project, seen)
        after = after.evolve(state=target, paused_from=None)
    return Decision(after, effects)


def _replan(project: Project) -> Decision:
    if project.state is State.RUNNING:
        raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`, then replan")
    after = _without_error(project) if project.state is State.ERROR else project
    settings = replace(after.settings, plan_locked=False)
    return Decision(after.evolve(state=State.SPEC_READY, settings=settings, paused_from=None))


def _answers_done(project: Project) -> Decision:
    if project.state is not State.INTAKE_WAITING:
        raise Refused(f"no interview waits for answers: the project is in {project.state}", hint="see `aiframe why`")
    return Decision(project.evolve(answers_done=True))


def _answer_given(project: Project, question_id: str, text: str) -> Decision:
    asked = {question.id: question for question in project.open_questions()}
    if question_id not in asked:
        known = ", ".join(asked) or "none"
        raise Refused(f"there is no open question {question_id}", hint=f"open questions: {known}")
    return Decision(_with_answer(project, asked[question_id], text))


def _with_answer(project: Project, question: Question, text: str) -> Project:
    """A person's answer is new input for whoever asked."""
    questions = tuple(replace(q, answer=text) if q.id == question.id else q for q in project.questions)
    requests = dict(project.requests)
    about = question.task_id or Role.PO.value
    requests[about] = "\n\n".join(filter(None, [requests.get(about, ""), _told(question, text)]))
    return project.evolve(questions=questions, requests=requests)


def _told(question: Question, answer: str) -> str:
    return f"Question: {question.text}\nAnswer: {answer}"


def _with_status(tasks: tuple[Task, ...], task_id: str, status: TaskStatus) -> tuple[Task, ...]:
    return tuple(replace(task, status=status) if task.id == task_id else task for task in tasks)
