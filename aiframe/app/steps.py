"""One step, from the prompt to the result: ask the agent, check what it did, prove it where the role is DEV.

The order makes every crash harmless: files worth keeping are remembered before the agent starts, and how the step ended
is in result.json before anything is made of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.app.agent_run import Stop, run_agent
from aiframe.app.gates import verify
from aiframe.app.leftovers import begin, leave
from aiframe.app.mending import mend
from aiframe.app.prompts import render_prompt
from aiframe.app.proposals import Inspection, inspect, remember
from aiframe.app.results import GateResult, Kept, Result, result_of, write_result
from aiframe.app.site import Site
from aiframe.app.steplog import StepLog
from aiframe.app.vaulting import Sealed, check_seal, drop_seal, seal_project
from aiframe.core.errors import AiframeError, StepError
from aiframe.core.events import Broken, Ending, Finished
from aiframe.core.model import Failure, FailureKind, Project, Role, Run, Task
from aiframe.core.ports import AgentRequest, Answer
from aiframe.core.scheduling import CLOSED
from aiframe.core.verdict import Claim, Verdict, judge
from aiframe.process import now
from aiframe.store.atomic import make_folder, write_durable
from aiframe.store.layout import CONTROL_PATHS
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.commits import RUN_TRAILER
from aiframe.workspaces.git import GitKilled, HeadMoved, Repository, again_if_killed
from aiframe.workspaces.inplace import (
    Candidate,
    Head,
    candidate,
    commit_candidate,
    head,
    keep_ref,
    unchanged,
    work_of,
)


def perform(site: Site, project: Project, run: Run, stop: Stop) -> tuple[Ending, tuple[str, ...]]:
    """Carry out the step of *run*: how it ended, and in words what was put back or refused.

    What a person has to mend is a failure in the ending, not an exception.
    """
    try:
        with StepLog(site.layout, run) as log:
            ending, notes = _perform(site, project, run, stop, log)
            log.say(_closing_line(ending))
    except AiframeError as error:  # of the log itself
        ending, notes = Broken((Failure(FailureKind.SETUP, error.message, error.hint),)), ()
    return ending, notes


def _perform(site: Site, project: Project, run: Run, stop: Stop, log: StepLog) -> tuple[Ending, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    try:
        result = _carry_out(site, project, run, stop, log)
        notes = result.notes
        write_result(site.layout, result)
        drop_seal(site)
        ending = conclude(site, result)
    except (HeadMoved, GitKilled) as error:
        ending = Broken((Failure(FailureKind.TRANSIENT, error.message, error.hint),))
    except AiframeError as error:
        ending = Broken((Failure(FailureKind.SETUP, error.message, error.hint),))
        notes = (*notes, *mend(site, run, judged=False))
    if isinstance(ending, Broken):
        said = leave(site, run)
        notes = (*notes, said) if said else notes
    return ending, notes


def conclude(site: Site, result: Result) -> Ending:
    """Make of a result what it promises; for a task that passed its gates, its commit. Doing it again changes nothing.

    Raises HeadMoved, GitError.
    """
    kept, finished = result.kept, result.finished
    if kept is None or finished is None:
        return result.ending
    return replace(finished, commit=again_if_killed(lambda: _commit(site, kept)))


def _commit(site: Site, kept: Kept) -> str:
    return commit_candidate(
        Repository(site.root),
        base_head=Head(kept.base, kept.branch),
        tree=kept.tree,
        parent=kept.parent,
        message=kept.message,
        trailers=kept.trailers,
        date=kept.date,
    )


def _carry_out(site: Site, project: Project, run: Run, stop: Stop, log: StepLog) -> Result:
    tasks = load_tasks(site.layout.tasks_yaml).tasks
    task = next((task for task in tasks if task.id == run.task_id), None)
    if run.task_id and task is None:
        raise StepError(f"TASKS.yaml has no task {run.task_id} any more", hint="put it back, or `aiframe resume`")
    remember(site)
    base = begin(site, task, tasks, log) if task is not None else head(Repository(site.root))
    request = _request(site, project, run, tasks, task)
    agent = find_agent(request_agent(site, run, task), request.options)
    sealed = seal_project(site, run)
    try:
        answer = run_agent(site, run, agent, request, log, stop)
    finally:
        breaches = check_seal(site, sealed)
    found = inspect(site, run)
    others_open = any(other.status not in CLOSED and other.id != run.task_id for other in tasks)
    verdict = judge(_claim(answer, found), run.role, run.task_id, project, site.rules, open_tasks=others_open)
    refused = (f"refused: {refusal}" for refusal in verdict.refused)
    notes = (*breaches, *found.notes, *refused, *_unverified(task, project))
    for note in notes:
        log.say(f"-- {note}")
    more: dict[str, Any] = {"agent": agent.name, "model": request.model, "notes": notes}
    broken = _broken(run, answer, found)
    if broken is not None:
        return result_of(run, now().wall, answer, broken, **more)
    if task is None:
        ending = _planned(site, run, verdict)
        return result_of(run, now().wall, answer, ending, **more)
    return _prove(site, run, task, base, sealed, answer, verdict, log, stop, more)


def request_agent(site: Site, run: Run, task: Task | None) -> str:
    """The name of the agent that plays this step: the task's own, else the role's."""
    return (task.agent if task else "") or site.settings.agents[run.role].name


def _request(site: Site, project: Project, run: Run, tasks: tuple[Task, ...], task: Task | None) -> AgentRequest:
    schema = closing_schema(run.role)
    prompt = render_prompt(site, project, run, tasks, schema)
    folder = site.layout.run_dir(run.run_id)
    make_folder(folder)
    write_durable(folder / "prompt.md", prompt)
    settings = site.settings.agents[run.role]
    own = request_agent(site, run, task) == settings.name
    return AgentRequest(
        prompt=prompt,
        role=run.role,
        workspace=site.root,
        run_dir=folder,
        task_id=run.task_id,
        attempt=run.attempt,
        model=settings.model if own else "",
        effort=settings.effort if own else "",
        schema=schema,
        options=settings.options if own else {},
    )


def _claim(answer: Answer, found: Inspection) -> Claim:
    """What the agent proposes: by its closing block first, else by what it wrote into STATE.json."""
    closing = answer.closing or {}
    question = closing.get("question") or {}
    timeout = closing.get("timeout_sec")
    return Claim(
        state=closing.get("state") or found.state,
        reason=closing.get("reason") or closing.get("summary") or "",
        question=question.get("text", ""),
        choices=tuple(question.get("choices") or ()),
        default=question.get("default") or "",
        diagnosis=closing.get("diagnosis") or found.diagnosis,
        timeout_sec=timeout if timeout is not None else found.timeout_sec,
        questions_written=found.questions_written,
    )


def _broken(run: Run, answer: Answer, found: Inspection) -> Broken | None:
    """The ending of a step whose agent failed or left files that cannot be used; None for one that can go on."""
    failures = [answer.failure] if answer.failure else []
    findings = answer.failure.message if answer.failure and answer.failure.kind is FailureKind.INVALID_OUTPUT else ""
    if found.complaints:
        findings = "\n".join(filter(None, [findings, *found.complaints]))
        failures.append(Failure(FailureKind.INVALID_OUTPUT, found.complaints[0]))
    return Broken(tuple(failures), findings) if failures else None


def _planned(site: Site, run: Run, verdict: Verdict) -> Ending:
    """The ending of a step that writes documents: what its role owes has to be there."""
    complaint = ""
    if run.role is Role.PO and not load_tasks(site.layout.tasks_yaml).tasks and not verdict.proposal.question:
        complaint = "TASKS.yaml holds no task: write the plan as a list of tasks, each with id, title, dod and verify"
    if complaint:
        return Broken((Failure(FailureKind.INVALID_OUTPUT, complaint),), complaint)
    return Finished(verdict.proposal)


def _unverified(task: Task | None, project: Project) -> tuple[str, ...]:
    """The checks of *task* that only a person can make, where no person looks."""
    checks = task.manual_checks if task and not project.settings.interactive_mode else ()
    return tuple(f"not verified, nobody is there to look: {check}" for check in checks)


def _prove(
    site: Site, run: Run, task: Task, base: Head, sealed: Sealed, answer: Answer, verdict: Verdict, log: StepLog,
    stop: Stop, more: dict[str, Any],
) -> Result:  # fmt: skip
    """Run the task's own checks on the very files that are kept, as the task stood before the attempt."""
    repo = Repository(site.root)
    measured = candidate(repo, base.commit, CONTROL_PATHS)
    try:
        report = verify(site, run, task, log, stop)
    finally:
        more["notes"] = (*more["notes"], *check_seal(site, sealed))
    more["gates"] = report.results
    broken = _unproven(repo, run, measured, report.failure, report.findings, verdict)
    if broken is not None:
        return result_of(run, now().wall, answer, broken, **more)
    kept = Kept(
        base=base.commit,
        branch=base.branch,
        tree=measured.tree,
        parent=measured.parent,
        message=f"{task.id}: {task.title}",
        trailers=_trailers(run, more["agent"], report.results),
        date=now().wall,
    )
    return result_of(run, now().wall, answer, Finished(verdict.proposal), kept=kept, **more)


def _unproven(
    repo: Repository, run: Run, measured: Candidate, failure: Failure | None, findings: str, verdict: Verdict
) -> Broken | None:
    question = verdict.proposal.question
    if failure is not None:
        if failure.kind is FailureKind.VERIFY_FAILED:
            keep_ref(repo, f"{run.task_id}/{run.run_id}", measured.tree, f"unverified: {run.task_id}", now().wall)
        return Broken((failure,), findings, work_of(repo, measured.tree, CONTROL_PATHS), question)
    touched = unchanged(repo, measured.tree, CONTROL_PATHS)
    if touched:
        names = ", ".join(touched[:5])
        said = f"the verify commands changed the files they were to prove: {names}"
        cure = "let them write only to ignored files (add what they make to .gitignore), or to a temporary folder"
        work = work_of(repo, measured.tree, CONTROL_PATHS)
        return Broken((Failure(FailureKind.VERIFY_FAILED, said, cure),), f"{said}; {cure}", work, question)
    return None


def _trailers(run: Run, agent: str, gates: tuple[GateResult, ...]) -> dict[str, str]:
    proven = f"{len(gates)} verify command{'' if len(gates) == 1 else 's'} passed" if gates else "no verify command"
    return {RUN_TRAILER: run.run_id, "Aiframe-Task": run.task_id, "Aiframe-Agent": agent, "Aiframe-Gates": proven}


def _closing_line(ending: Ending) -> str:
    match ending:
        case Finished(_, commit):
            return f"== done{f', commit {commit[:10]}' if commit else ''}"
        case Broken(failures):
            causes = "\n".join(f"== {each.kind}: {each.message}" for each in failures)
            cures = "\n".join(f"   cure: {each.hint}" for each in failures if each.hint)
            return "\n".join(filter(None, [causes, cures]))
