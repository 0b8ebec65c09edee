"""One step, from the prompt to the result: ask the agent, check what it did, prove it where the role is DEV.

The order makes every crash harmless: files worth keeping are remembered before the agent starts, and how the step ended
is in result.json before anything is made of it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.app.agent_run import Stop, run_agent
from aiframe.app.gates import verify
from aiframe.app.leftovers import agent_ended, begin, leave
from aiframe.app.mending import mend
from aiframe.app.prompts import render_prompt
from aiframe.app.proposals import Inspection, inspect, remember
from aiframe.app.proven import take_up
from aiframe.app.results import GateResult, Kept, Result, forget_result, publish_result, result_of, write_result
from aiframe.app.site import Site
from aiframe.app.steplog import StepLog
from aiframe.app.vaulting import Sealed, check_seal, drop_seal, seal_project
from aiframe.core.errors import AiframeError, StepError
from aiframe.core.events import Broken, Ending, Finished, Held
from aiframe.core.model import Failure, FailureKind, Project, Role, Run, Task
from aiframe.core.ports import AgentRequest, Answer
from aiframe.core.scheduling import CLOSED
from aiframe.core.verdict import Claim, Verdict, judge
from aiframe.process import now
from aiframe.store.atomic import StorageError, make_folder, write_durable
from aiframe.store.layout import CONTROL_PATHS, IGNORED
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.commits import RUN_TRAILER
from aiframe.workspaces.git import GitBusy, GitKilled, HeadMoved, Repository, again_if_killed
from aiframe.workspaces.inplace import (
    Candidate,
    Head,
    candidate,
    commit_candidate,
    head,
    ignored_files,
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
            with suppress(StorageError):  # the step has ended, whether or not its log can take the last line
                log.say(_closing_line(ending))
    except AiframeError as error:  # of the log itself
        ending, notes = _refused(error), ()
    return ending, notes


def _perform(site: Site, project: Project, run: Run, stop: Stop, log: StepLog) -> tuple[Ending, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    try:
        result = _carry_out(site, project, run, stop, log)
        notes = result.notes
        write_result(site.layout, result)
        drop_seal(site)
        ending = settle(site, result)
    except AiframeError as error:
        ending = _refused(error)
        notes = (*notes, *mend(site, run, judged=False))
    if isinstance(ending, Broken):
        said = leave(site, run)
        notes = (*notes, said) if said else notes
    return ending, notes


def settle(site: Site, result: Result) -> Ending:
    """Make of a result what it promises; for a task that passed its gates, its commit. Doing it again changes nothing.

    What is in the way is a failure in the ending. The result itself stays as it is, for whoever tries again.
    """
    kept, finished = result.kept, result.finished
    if kept is None or finished is None:
        return result.ending
    try:
        return replace(finished, commit=again_if_killed(lambda: _commit(site, kept)))
    except AiframeError as error:
        ending = _refused(error)
        publish_result(site.layout, replace(result, finished=None, broken=ending))
        return ending


def _refused(error: AiframeError) -> Broken:
    """The ending of a step that *error* stopped: somebody else's git passes, all else needs a person."""
    passes = isinstance(error, HeadMoved | GitBusy | GitKilled)
    kind = FailureKind.TRANSIENT if passes else FailureKind.SETUP
    return Broken((Failure(kind, error.message, error.hint),))


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
    proven = take_up(site, run, base) if task is not None else None
    if proven is not None:
        log.say(f"-- {proven.notes[0]}")
        return proven
    request = _request(site, project, run, tasks, task)
    agent = find_agent(request_agent(site, run, task), request.options)
    sealed = seal_project(site, run)
    forget_result(site.layout)
    try:
        answer = run_agent(site, run, agent, request, log, stop)
    finally:
        breaches = check_seal(site, sealed)
        forget_result(site.layout)
    if task is not None:
        agent_ended(site)
    found = inspect(site, run)
    others_open = any(other.status not in CLOSED and other.id != run.task_id for other in tasks)
    verdict = judge(_claim(answer, found), run.role, run.task_id, project, site.rules, open_tasks=others_open)
    refused = (f"refused: {refusal}" for refusal in verdict.refused)
    notes = (*breaches, *found.notes, *refused)
    for note in notes:
        log.say(f"-- {note}")
    more: dict[str, Any] = {"agent": agent.name, "model": request.model, "notes": notes}
    broken = _broken(run, answer, found)
    if broken is not None:
        return result_of(run, now().wall, answer, broken, **more)
    if task is None:
        ending = _planned(site, run, verdict)
        return result_of(run, now().wall, answer, ending, **more)
    more["unverified"] = _unverified(task, project)
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
        review_items=tuple(closing.get("review_items") or ()),
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


def _unverified(task: Task, project: Project) -> tuple[str, ...]:
    """What of *task* only a person could check, where no person looks: it is taken all the same."""
    if project.settings.interactive_mode:
        return ()
    nothing = () if task.verify else ("it has no verify command",)
    review = ("it asks for a review",) if task.review else ()
    return (*task.manual_checks, *nothing, *review)


def _prove(
    site: Site, run: Run, task: Task, base: Head, sealed: Sealed, answer: Answer, verdict: Verdict, log: StepLog,
    stop: Stop, more: dict[str, Any],
) -> Result:  # fmt: skip
    """Run the task's own checks on the very files that are kept, as the task stood before the attempt."""
    repo = Repository(site.root)
    measured = candidate(repo, base.commit, CONTROL_PATHS)
    if task.commands:
        more["ignored_inputs"] = _has_ignored_files(repo, measured, log)
    try:
        report = verify(site, run, task, log, stop)
    finally:
        more["notes"] = (*more["notes"], *check_seal(site, sealed))
    more["gates"] = report.results
    broken = _unproven(repo, run, measured, report.failure, report.findings, verdict)
    if broken is not None:
        more["unverified"] = ()  # it is not taken
        return result_of(run, now().wall, answer, broken, **more)
    taken = tuple(f"{task.id} is taken unverified, nobody is there to look: {check}" for check in more["unverified"])
    more["notes"] = (*more["notes"], *taken)
    for note in taken:
        log.say(f"-- {note}")
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


def _has_ignored_files(repo: Repository, measured: Candidate, log: StepLog) -> bool:
    """Whether there are files that the verify commands may read and that the commit will not hold."""
    found = ignored_files(repo, measured.tree, IGNORED)
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        log.say(f"-- here, and not in the commit, because git ignores them: {', '.join(found[:5])}{more}")
    return bool(found)


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
        case Held(reason, findings):
            return "\n".join([f"== held for a person's word: {reason}", *(f"   {finding}" for finding in findings)])
        case Broken(failures):
            causes = "\n".join(f"== {each.kind}: {each.message}" for each in failures)
            cures = "\n".join(f"   cure: {each.hint}" for each in failures if each.hint)
            return "\n".join(filter(None, [causes, cures]))
