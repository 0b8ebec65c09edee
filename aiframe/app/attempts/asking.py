"""Asking an agent: the prompt, the run under a seal, and what of its answer is taken. Every role's step does this."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.app.attempts.agent_run import Stop, run_agent
from aiframe.app.attempts.by_hand import HUMAN, hand_over, is_handed_in, missing
from aiframe.app.attempts.playing import agent_of
from aiframe.app.attempts.prompts import PROMPT_BYTES, prompt_within, render_prompt
from aiframe.app.attempts.recording import Shot, begin_shot, put_by_turn
from aiframe.app.attempts.results import forget_result
from aiframe.app.attempts.sessions import to_resume
from aiframe.app.attempts.vaulting import Sealed, check_seal, check_whole, seal_project, sealed_before
from aiframe.app.project.observe import read_text
from aiframe.app.project.proposals import Inspection, inspect
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.links import links_out
from aiframe.core.events import Broken, Handed, Proposal
from aiframe.core.model import Failure, FailureKind, Project, Role, Run, Task
from aiframe.core.ports import AgentRequest, Answer
from aiframe.core.scheduling import CLOSED
from aiframe.core.verdict import Claim, Verdict, judge
from aiframe.store.atomic import make_folder, write_durable


class Built(Struct, frozen=True):
    """What an agent did: its answer, what of it is taken, and how it ended without work to check, where it did.

    *sealed* is what it had to leave alone; *notes* say in words what was put back or refused.
    """

    agent: str
    model: str
    answer: Answer
    verdict: Verdict
    sealed: Sealed
    notes: tuple[str, ...] = ()
    broken: Broken | Handed | None = None


def ask(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], request: AgentRequest, log: StepLog, stop: Stop,
    *, again: bool = False,
) -> Built:  # fmt: skip
    """Run the agent of this step to its end, put back what it had to leave alone, and judge what it proposes.

    *again*: the runner with which it began is dead. Raises StepError, StorageError.
    """
    agent = find_agent(agent_of(site, run, _worked_on(run, tasks)).name, request.options)
    workspace = Path(request.workspace)
    shot = None if again else begin_shot(site, workspace, log)
    if is_handed_in(project, run) or agent.name == HUMAN:
        return _by_hand(site, project, run, request, log, shot)
    if request.resume:
        log.say(f"-- the agent goes on in its session {request.resume}")
    strays = tuple(links_out(site.layout))
    sealed = sealed_before(site, run) if again else seal_project(site, run, workspace)
    forget_result(site.layout)
    log.stage("build" if run.role is Role.DEV else "write")
    try:
        answer = run_agent(site, run, agent, request, log, stop)
    finally:
        breaches = check_seal(site, sealed)
        forget_result(site.layout)
    check_whole(sealed)
    put_by_turn(site, run, workspace, shot, answer, log)
    found = inspect(site, run)
    others_open = any(other.status not in CLOSED and other.id != run.task_id for other in tasks)
    verdict = judge(_claim(answer, found), run.role, run.task_id, project, site.rules, open_tasks=others_open)
    notes = (*strays, *breaches, *found.notes, *(f"refused: {refusal}" for refusal in verdict.refused))
    for note in notes:
        log.say(f"-- {note}")
    return Built(agent.name, request.model, answer, verdict, sealed, notes, _broken(answer, found))


def _by_hand(site: Site, project: Project, run: Run, request: AgentRequest, log: StepLog, shot: Shot | None) -> Built:
    """What a person has handed in, or the asking for it: nothing is run."""
    workspace = Path(request.workspace)
    early: Broken | Handed | None
    if is_handed_in(project, run):
        put_by_turn(site, run, workspace, shot, Answer(), log, by_hand=True)
        early = missing(site, run)
    else:
        early = hand_over(site, request, log)
    return Built(HUMAN, "", Answer(), Verdict(Proposal()), seal_project(site, run, workspace), broken=early)


def request_for(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], workspace: Path, *, again: bool = False
) -> AgentRequest:
    """What the agent of this step is asked for, in *workspace*; the prompt is kept in the run's folder.

    With *again* it is the one that is there. Raises StepError, StorageError.
    """
    schema = closing_schema(run.role)
    settings = agent_of(site, run, _worked_on(run, tasks))
    folder = site.layout.run_dir(run.run_id)
    make_folder(folder)
    kept = read_text(folder / "prompt.md") if again else ""
    prompt = kept or prompt_within(
        lambda fence: render_prompt(site, project, run, tasks, schema, workspace, fence),
        getattr(find_agent(settings.name, settings.options), "prompt_bytes", PROMPT_BYTES),
        folder / "prompt-whole.md",
    )
    if not kept:
        write_durable(folder / "prompt.md", prompt)
    return AgentRequest(
        prompt=prompt,
        role=run.role,
        workspace=workspace,
        run_dir=folder,
        task_id=run.task_id,
        attempt=run.attempt,
        model=settings.model,
        effort=settings.effort,
        schema=schema,
        resume=to_resume(project, run, settings.name, settings.model),
        options=settings.options,
        project=site.root,
    )


def _worked_on(run: Run, tasks: tuple[Task, ...]) -> Task | None:
    return next((task for task in tasks if task.id == run.task_id), None)


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


def _broken(answer: Answer, found: Inspection) -> Broken | None:
    """The ending of a step whose agent failed or left files that cannot be used; None for one that can go on."""
    failures = [answer.failure] if answer.failure else []
    findings = answer.failure.message if answer.failure and answer.failure.kind is FailureKind.INVALID_OUTPUT else ""
    if found.complaints:
        findings = "\n".join(filter(None, [findings, *found.complaints]))
        failures.append(Failure(FailureKind.INVALID_OUTPUT, found.complaints[0]))
    return Broken(tuple(failures), findings) if failures else None
