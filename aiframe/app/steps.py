"""One step of any role, from the prompt to its ending: a task's attempt goes through the pipeline, the others write
documents.

How the step ended is in result.json before anything is made of it, so that a crash is harmless.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from aiframe.app.attempts.agent_run import Stop
from aiframe.app.attempts.asking import ask, request_for
from aiframe.app.attempts.by_hand import back_in_hand
from aiframe.app.attempts.leftovers import leave
from aiframe.app.attempts.mending import mend
from aiframe.app.attempts.one_at_a_time import alone
from aiframe.app.attempts.outages import of_an_outage
from aiframe.app.attempts.pipeline import carry_on, carry_out
from aiframe.app.attempts.recording import write_turn
from aiframe.app.attempts.results import Result, result_of, write_result
from aiframe.app.attempts.settling import refused, settle
from aiframe.app.attempts.turns import LandingTurn
from aiframe.app.attempts.underway import Underway, begin_in_container, release, works_in_container
from aiframe.app.attempts.vaulting import drop_seal, left_seal, workspace_gone
from aiframe.app.project.proposals import remember
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.sandboxing import sandbox_of
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.errors import AiframeError, StepError
from aiframe.core.events import Broken, Ending, Finished, Handed, Held, JobsEnded
from aiframe.core.model import Failure, FailureKind, PlanMode, Planning, Project, Role, Run, Task
from aiframe.core.scheduling import is_job
from aiframe.core.verdict import Verdict, why_unasked
from aiframe.process import now
from aiframe.store.atomic import StorageError
from aiframe.store.tasks_file import TaskFile, load_tasks
from aiframe.workspaces.git import Repository
from aiframe.workspaces.inplace import head


class Homeless(StepError):
    """The project's folder was removed, or another one put in its place, while the step ran: it comes to nothing."""


def perform(
    site: Site, project: Project, run: Run, stop: Stop, begun: Underway | None = None
) -> tuple[Ending, tuple[str, ...]]:
    """Carry out the step of *run*: how it ended, and in words what was put back or refused.

    Where it was *begun* by a runner that is dead, it is gone on with. What a person has to mend is a failure in the
    ending, not an exception; but whatever it comes to where the project's folder was removed meanwhile is raised.
    """
    redactor, notes = redactor_of(site), tuple[str, ...]()
    try:
        with StepLog(site.layout, run, redactor) as log:
            if run.task_id and is_job(load_tasks(site.layout.tasks_yaml).tasks, run.task_id):
                ending: Ending = _perform_jobs(site, project, run, stop, log)
            else:
                with alone(site, run, stop, log):
                    ending, notes = _perform(site, project, run, stop, log, begun)
            with suppress(StorageError):  # the step has ended, whether or not its log can take the last line
                log.say(_closing_lines(ending, _question_in(ending, project, run)), "ending")
    except AiframeError as error:  # of the log itself, or somebody else is at work there
        if stop.is_homeless():
            raise
        ending, notes = refused(error), ()
    return redactor.value(ending), redactor.value(notes)


def _perform_jobs(site: Site, project: Project, run: Run, stop: Stop, log: StepLog) -> Ending:
    from aiframe.app.jobs.working import work_off  # most projects have none

    ending = work_off(site, project, run, stop, log)
    if stop.is_homeless():
        raise Homeless(f"the folder {site.root} was removed", hint="`aiframe run` goes on with what is there")
    return ending


def _perform(
    site: Site, project: Project, run: Run, stop: Stop, log: StepLog, begun: Underway | None
) -> tuple[Ending, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    try:
        with LandingTurn() as turn:
            result = _carry_out(site, project, run, stop, log, turn, begun)
            if stop.is_homeless():
                raise Homeless(f"the folder {site.root} was removed", hint="`aiframe run` goes on with what is there")
            result = back_in_hand(site, project, run, result, log)
            result = redactor_of(site).value(result)
            notes = result.notes
            write_result(site.layout, result)
            write_turn(site, run, log)
            drop_seal(site)
            log.say(release(site, run.run_id))
            if result.kept is not None:
                log.stage("land")
            ending = settle(site, result)
    except AiframeError as error:
        if stop.is_homeless():
            raise
        ending = refused(error)
        log.say(release(site, run.run_id))
        sealed = left_seal(site, run.run_id)
        notes = (*notes, *mend(site, run, judged=False))
        # What else went wrong only came of a workspace that is gone, or of an outage.
        ending = refused(workspace_gone(sealed) or of_an_outage(site, error))
    if isinstance(ending, Broken):
        said = leave(site, run)
        notes = (*notes, said) if said else notes
    return ending, notes


def _carry_out(
    site: Site, project: Project, run: Run, stop: Stop, log: StepLog, turn: LandingTurn, begun: Underway | None
) -> Result:
    if begun is not None:
        log.say("-- the runner died; the agent's container is followed on, from its first word")
        if run.task_id:
            return carry_on(site, project, run, begun, log, stop, turn)
        return _write_documents(site, project, run, begun.tasks, log, stop, again=True)
    tasks = load_tasks(site.layout.tasks_yaml).tasks
    task = next((task for task in tasks if task.id == run.task_id), None)
    if run.task_id and task is None:
        raise StepError(f"TASKS.yaml has no task {run.task_id} any more", hint="put it back, or `aiframe resume`")
    if task is not None and (task.commands or site.settings.gates.doctor or site.settings.workspace.setup):
        sandbox_of(site)  # refuses now, and not after the agent has been paid
    remember(site)
    if task is not None:
        return carry_out(site, project, run, tasks, task, log, stop, turn)
    head(Repository(site.root))  # a history that cannot be read stops the step before an agent is paid
    if works_in_container(site):
        begin_in_container(site, run, tasks)
    return _write_documents(site, project, run, tasks, log, stop)


def _write_documents(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], log: StepLog, stop: Stop, *, again: bool = False
) -> Result:
    """The step of a role that works on no task; *again*: its runner died meanwhile."""
    request = request_for(site, project, run, tasks, site.root, again=again)
    built = ask(site, project, run, tasks, request, log, stop, again=again)
    ending = built.broken or _planned(site, project, run, built.verdict)
    more: dict[str, Any] = {
        "agent": built.agent, "model": built.model, "notes": built.notes, "key": built.sealed.key
    }  # fmt: skip
    return result_of(run, now().wall, built.answer, ending, **more)


def _planned(site: Site, project: Project, run: Run, verdict: Verdict) -> Ending:
    """The ending of a step that writes documents: what its role owes has to be there."""
    owes = run.role is Role.PO and not verdict.proposal.question
    complaint = _lack(load_tasks(site.layout.tasks_yaml), project.planning) if owes else ""
    if complaint:
        return Broken((Failure(FailureKind.INVALID_OUTPUT, complaint),), complaint)
    return Finished(verdict.proposal)


def _lack(plan: TaskFile, planning: Planning | None) -> str:
    """What a plan lacks to be one, or the one that was asked for; empty for nothing."""
    if not plan.tasks:
        return "TASKS.yaml holds no task: write the plan as a list of tasks, each with id, title, dod and verify"
    if planning is None or not planning.tasks:
        return ""
    if planning.mode is PlanMode.REPLACE and plan.text == planning.tasks_text:
        return "TASKS.yaml still holds the old plan: write the new one in its place"
    if planning.mode is PlanMode.APPEND and {task.id for task in plan.tasks} <= {task.id for task in planning.tasks}:
        return "no task was added to TASKS.yaml: add those that the new part of SPEC.md asks for"
    return ""


def _question_in(ending: Ending, project: Project, run: Run) -> str:
    """The question that *ending* puts to the person, on one line; empty for none."""
    match ending:
        case Finished(proposal) | Held(proposal=proposal):
            question = proposal.question
        case Broken(question=question):
            pass
        case Handed() | JobsEnded():
            question = None
    if question is None or why_unasked(run.role, project):
        return ""
    return f"{question.id}: {' '.join(question.text.split())}"


def _closing_lines(ending: Ending, question: str) -> str:
    """What the log says at the end of a step: how it ended, and the *question* that it puts, if any."""
    said = _ended_how(ending, bool(question))
    return f"{said}\n== asked, and waits for the answer: {question}" if question else said


def _ended_how(ending: Ending, asked: bool) -> str:
    match ending:
        case Finished(_, commit) if asked:
            return f"== not done yet: what is proven so far is in commit {commit[:10]}" if commit else "== not done yet"
        case Finished(_, commit):
            return f"== done{f', commit {commit[:10]}' if commit else ''}"
        case Held(reason, findings):
            return "\n".join([f"== held for a person's word: {reason}", *(f"   {finding}" for finding in findings)])
        case Handed(prompt, _, failure):
            return f"== {failure.kind}: {failure.message}" if failure else f"== handed to a person: {prompt}"
        case JobsEnded(_, failed, cut, failure):
            said = [f"== {failure.kind}: {failure.message}"] if failure else []
            said += [f"== failed: {', '.join(failed)}"] if failed else [] if failure else ["== done"]
            return "\n".join([*said, *([f"== to begin again: {', '.join(cut)}"] if cut else [])])
        case Broken(failures):
            causes = "\n".join(f"== {each.kind}: {each.message}" for each in failures)
            cures = "\n".join(f"   cure: {each.hint}" for each in failures if each.hint)
            return "\n".join(filter(None, [causes, cures]))
