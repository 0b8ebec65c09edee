"""What a person does: commands, answers and edits of STATE.json by hand."""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.core.effects import Decision, SetStatus
from aiframe.core.events import HandSet
from aiframe.core.model import Project, Question, Role, Rules, Runner, State, TaskStatus, Unknown
from aiframe.core.scheduling import all_closed
from aiframe.core.seen import Seen
from aiframe.core.timing import is_past_its_time
from aiframe.core.transitions.budgets import still_spent
from aiframe.core.transitions.holding import not_held, to_land
from aiframe.core.transitions.jobs import retry_jobs
from aiframe.core.transitions.lanes import with_lanes
from aiframe.core.transitions.merging import not_returned, waits_for_word
from aiframe.core.transitions.notes import answer_of, question_and_answer
from aiframe.core.transitions.paths import Refused, start_of, way_back, went_back, without_error
from aiframe.core.transitions.planning import check_no_plan_waits, open_again, plan_taken


def on_hand_set(project: Project, event: HandSet) -> Decision:
    """A person's edit of STATE.json is honoured from any state.

    While a step runs or is not settled yet, it only asks for a pause: the step itself may have made the edit.
    """
    state = event.state
    if project.run is not None:
        return Decision(project.evolve(pause_requested=project.pause_requested or state is State.PAUSED))
    after = project.evolve(settings=event.settings or project.settings, **event.fields)
    if state is None or state is State.RUNNING or state == project.state:
        return Decision(after)
    if project.state is State.ERROR:
        after = without_error(after)
    stops = state in (State.PAUSED, State.PAUSE_INTERACT, State.ERROR)
    back = _resting_place(project, event.seen) if stops else None
    if state is State.SPEC_READY:
        after = after.evolve(planning=open_again(after.planning))
    elif not stops:
        after = plan_taken(after, event.seen)
    return Decision(after.evolve(state=state, paused_from=back))


def _resting_place(project: Project, seen: Seen) -> State | None:
    """Where to go on after a pause that interrupted *project* as it is."""
    if project.state in (State.PAUSED, State.PAUSE_INTERACT, State.ERROR, State.DONE) or isinstance(
        project.state, Unknown
    ):
        return project.paused_from or start_of(project, seen)
    return way_back(project)


def on_take_over(project: Project, seen: Seen, rules: Rules) -> Decision:
    """Make another host's run our own once it is past its time: the next tick finds that it has no runner."""
    run = project.run
    if run is None or run.runner.host in ("", seen.clock.host):
        raise Refused("no step of another host is recorded", hint="see `aiframe why`")
    host = run.runner.host
    if not is_past_its_time(run, seen.clock, rules):
        cure = f"run `aiframe stop` on {host}; here it is taken over once its time is over (`aiframe why` says when)"
        raise Refused(f"the step runs on the host {host}, out of reach", hint=cure)
    return Decision(project.evolve(run=replace(run, runner=Runner(0, 0.0, host=seen.clock.host))))


def on_pause(project: Project) -> Decision:
    """Start no further step; a step that runs ends first."""
    match project.state:
        case State.RUNNING:
            return Decision(project.evolve(pause_requested=True))
        case State.PAUSED:
            return Decision(project)
        case State.DONE | State.ERROR | Unknown():
            raise Refused(f"there is nothing to pause: the project is in {project.state}", hint="see `aiframe why`")
        case _:
            return Decision(project.evolve(state=State.PAUSED, paused_from=way_back(project)))


def on_resume(project: Project, seen: Seen, now: bool, rules: Rules) -> Decision:
    """Go on from a pause, an error or the end; with *now* without waiting, also for a quota."""
    check_no_plan_waits(project)
    over = (
        None if to_land(project, seen.tasks) else still_spent(with_lanes(project, seen), seen, rules)
    )  # to land costs nothing
    if over is not None and (now or over.scope != "day"):  # else it would stop again at once
        raise Refused(over.message, hint=f"{over.hint}, then `aiframe resume`")
    if now:
        project = project.evolve(wait=None, resting={})
    match project.state:
        case State.RUNNING:
            return Decision(project.evolve(pause_requested=False))
        case State.PAUSED if waits_for_word(project):
            return Decision(went_back(project.evolve(failure=None, last_error=""), seen))
        case State.PAUSED | State.PAUSE_INTERACT:
            return Decision(went_back(project, seen))
        case State.ERROR:
            return Decision(went_back(without_error(project), seen))
        case State.DONE:
            if all_closed(seen.tasks):
                raise Refused(
                    "the project is done and has no open task", hint="add a task with status todo to TASKS.yaml first"
                )
            return Decision(project.evolve(state=State.DEV_READY))
        case _:
            if now:
                return Decision(project)
            raise Refused(f"there is nothing to resume: the project is in {project.state}", hint="see `aiframe why`")


def on_retry(project: Project, seen: Seen, task_id: str) -> Decision:
    """Give a failed task its attempts back and go on from an error."""
    if (of_jobs := retry_jobs(project, seen, task_id)) is not None:
        return of_jobs
    if project.state is State.RUNNING:
        raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`")
    check_no_plan_waits(project)
    if task_id and task_id not in {task.id for task in seen.tasks}:
        known = ", ".join(task.id for task in seen.tasks) or "none"
        raise Refused(f"there is no task {task_id}", hint=f"known tasks: {known}")
    named = [t.id for t in seen.tasks if t.id == task_id or (not task_id and t.status is TaskStatus.FAILED)]
    if not named and project.state is not State.ERROR:
        raise Refused("no task has failed", hint="`aiframe retry TASK` starts a named task over")
    attempts = {key: used for key, used in project.attempts.items() if key.partition("@")[0] not in named}
    audits = {key: used for key, used in project.audits.items() if key.partition("@")[0] not in named}
    trees = {name: tree for name, tree in project.trees.items() if name not in named}
    tries = _tries_left_by_retry(project, named, every=not task_id)
    effects = tuple(SetStatus(name, TaskStatus.TODO) for name in named)
    after = not_returned(not_held(project, *named), *named).evolve(
        attempts=attempts, audits=audits, tries=tries, trees=trees, session=None
    )
    if after.handed is not None and after.handed.task_id in named:
        after = after.evolve(handed=None)
    if project.state is State.ERROR or named:
        after = without_error(after)
        target = State.DEV_READY if named else after.paused_from or start_of(project, seen)
        after = after.evolve(state=target, paused_from=None)
    return Decision(after, effects)


def _tries_left_by_retry(project: Project, named: list[str], *, every: bool) -> dict[str, int]:
    """The counts of tries without those of the tasks *named*; *every*: and without those of the roles."""
    kept = {key: count for key, count in project.tries.items() if key.partition("@")[0] not in named}
    return {key: count for key, count in kept.items() if not (every and key in Role.__members__)}


def on_replan(project: Project) -> Decision:
    """Lift the lock of the plan and plan again, also after an error."""
    if project.state is State.RUNNING:
        raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`, then replan")
    after = without_error(project) if project.state is State.ERROR else project
    settings = replace(after.settings, plan_locked=False)
    after = after.evolve(settings=settings, paused_from=None, session=None, handed=None)
    return Decision(after.evolve(state=State.SPEC_READY, planning=open_again(project.planning)))


def on_answers_done(project: Project) -> Decision:
    """The interview goes on with the form as it is."""
    if project.state is not State.INTAKE_WAITING:
        raise Refused(f"no interview waits for answers: the project is in {project.state}", hint="see `aiframe why`")
    return Decision(project.evolve(answers_done=True))


def on_answer_given(project: Project, question_id: str, text: str) -> Decision:
    """Take a person's answer to an open question; where it has choices, one of them."""
    asked = {question.id: question for question in project.open_questions()}
    if question_id not in asked:
        known = ", ".join(asked) or "none"
        raise Refused(f"there is no open question {question_id}", hint=f"open questions: {known}")
    question = asked[question_id]
    answer = answer_of(question.choices, question.default, text)
    if not answer and question.choices:
        raise Refused(f"{text.strip()!r} is none of the choices of {question_id}", hint=_choices(question))
    if not answer:
        raise Refused(f"no answer to {question_id} was given, and it has no default", hint="say it in a few words")
    return Decision(_with_answer(project, question, answer))


def _choices(question: Question) -> str:
    numbered = ", ".join(f"{number} {choice}" for number, choice in enumerate(question.choices, start=1))
    return f"answer with the number or the words of one: {numbered}"


def _with_answer(project: Project, question: Question, text: str) -> Project:
    """A person's answer is new input for whoever asked."""
    questions = tuple(replace(q, answer=text) if q.id == question.id else q for q in project.questions)
    requests = dict(project.requests)
    about = question.task_id or Role.PO.value
    requests[about] = "\n\n".join(filter(None, [requests.get(about, ""), question_and_answer(question, text)]))
    return project.evolve(questions=questions, requests=requests)
