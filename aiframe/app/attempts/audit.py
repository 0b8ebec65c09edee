"""The audit: an agent that may only read looks at finished work before it is kept, and says what has to be mended.

What it says is a claim, like all that agents say: it may send work back, and can let nothing pass that another gate
stopped. An audit that cannot be made lets nothing pass either.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from aiframe.agents import find_agent
from aiframe.agents.closing import closing_schema
from aiframe.app.attempts.agent_run import run_agent
from aiframe.app.attempts.attempt import Work
from aiframe.app.attempts.gates import GateReport
from aiframe.app.attempts.gates_checkout import touched
from aiframe.app.attempts.prompts import PROMPT_BYTES, prompt_within, render
from aiframe.app.attempts.results import GateResult
from aiframe.app.attempts.vaulting import check_seal
from aiframe.app.project.observe import read_text
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.model import Failure, FailureKind, Role
from aiframe.core.ports import AgentRequest, AgentSandbox, Answer, Usage
from aiframe.process import now
from aiframe.store.agent_settings import AgentSettings
from aiframe.store.atomic import make_folder, write_durable
from aiframe.workspaces.commits import Head, head, move_head
from aiframe.workspaces.inplace import changed_files, keep_ref
from aiframe.workspaces.trees import patch, switch_files, sync_index, worktree_tree

DIFF_CHARS = 200_000
"""How much of a diff the prompt carries; of a longer one the list of files, and the name of the file that holds it."""
_FILES_SHOWN = 500
_LOG_CHARS = 4_000
_VERBS = {"A": "added", "M": "changed", "D": "deleted", "T": "changed in kind"}
READ_ONLY: AgentSandbox = "read-only"
_TOKENS = Usage.__struct_fields__


class Heard(Struct, frozen=True):
    """What an audit came to: the *answer*, why it cannot be used (empty: it can), and in words what was put back."""

    answer: Answer
    complaint: str = ""
    notes: tuple[str, ...] = ()


def audit(work: Work) -> GateReport:
    """Have the work judged, where PROJECT.yaml names an agent for that.

    An answer that cannot be used is asked for once more. Raises StepError, StorageError.
    """
    settings = work.attempt.site.settings.gates.audit
    if settings is None or touched(work):  # what the checks spoiled goes back to the agent, whatever an audit would say
        return GateReport()
    log, began = work.attempt.log, time.monotonic()
    log.stage("audit")
    log.say(f"-- audit by {settings.label}, which may only read")
    heard = _ask(work, settings)
    all_heard = [heard]
    if heard.complaint:
        log.say(f"-- {heard.complaint}; the audit is asked once more")
        heard = _ask(work, settings, heard)
        all_heard.append(heard)
    failure, findings = _verdict(work, settings, heard)
    log.say("-- approved" if failure is None else f"-- {failure.message}\n{findings}".rstrip())
    folder = _folder(work, again=len(all_heard) > 1)
    result = GateResult(
        "audit",
        settings.label,
        0 if failure is None else 1,
        round(time.monotonic() - began, 3),
        str((folder / "agent.jsonl").relative_to(work.attempt.site.root)),
        work.candidate.tree,
        READ_ONLY,
    )
    answers = tuple(each.answer for each in all_heard)
    notes = tuple(note for each in all_heard for note in each.notes)
    return GateReport((result,), failure, findings, answers=answers, notes=notes)


def with_audits(answer: Answer, audits: tuple[Answer, ...]) -> Answer:
    """*answer* with what the *audits* of the work took; a cost that one of them does not tell is not known."""
    costs = [each.cost_usd for each in (answer, *audits)]
    times = [each.duration_api_ms for each in (answer, *audits)]
    return replace(
        answer,
        usage=Usage(*(sum(getattr(each.usage, name) for each in (answer, *audits)) for name in _TOKENS)),
        cost_usd=None if None in costs else sum(filter(None, costs)),
        num_turns=sum(each.num_turns for each in (answer, *audits)),
        duration_api_ms=None if None in times else sum(filter(None, times)),
    )


def _verdict(work: Work, settings: AgentSettings, heard: Heard) -> tuple[Failure | None, str]:
    """Why the work does not pass, None where it does, and what the agent has to mend."""
    if heard.answer.failure is not None and heard.answer.failure.kind is not FailureKind.INVALID_OUTPUT:
        failure = heard.answer.failure
        return replace(failure, message=f"the audit: {failure.message}", agent=settings.label), ""
    if heard.complaint:
        said = f"the audit gave no answer that can be used: {heard.complaint}"
        return Failure(FailureKind.INVALID_OUTPUT, said, "another agent or model in gates.audit may do better"), ""
    closing: Mapping[str, object] = heard.answer.closing or {}
    findings = [redactor_of(work.attempt.site).text(each) for each in _texts(closing.get("findings"))]
    if closing.get("approved") is True:
        for finding in findings:
            work.attempt.log.say(f"-- the audit notes: {finding}")
        return None, ""
    count = len(findings)
    said = f"the audit rejected the work: {count} finding{'' if count == 1 else 's'}, the first: {findings[0][:200]}"
    told = "\n".join(f"- {finding}" for finding in findings)
    return Failure(FailureKind.AUDIT_REJECTED, said), f"An audit of what you left rejects it. Its findings:\n\n{told}"


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str) and text.strip()] if isinstance(value, list) else []


def _ask(work: Work, settings: AgentSettings, before: Heard | None = None) -> Heard:
    """One run of the auditor; *before* is an answer of its own that cannot be used."""
    attempt = work.attempt
    agent = find_agent(settings.name, settings.options)
    folder = _folder(work, again=before is not None)
    make_folder(folder)
    schema = closing_schema(Role.AUDIT)
    variables = _variables(work, folder, before.complaint if before else "") | {
        "closing_schema": json.dumps(schema, indent=1, ensure_ascii=False)
    }
    prompt = prompt_within(
        lambda fence: render(attempt.site, "audit.md.j2", variables, fence),
        getattr(agent, "prompt_bytes", PROMPT_BYTES),
        folder / "prompt-whole.md",
    )
    write_durable(folder / "prompt.md", prompt)
    request = AgentRequest(
        prompt=prompt,
        role=Role.AUDIT,
        workspace=attempt.place.root,
        run_dir=folder,
        task_id=attempt.task.id,
        attempt=attempt.run.attempt,
        model=settings.model,
        effort=settings.effort,
        schema=schema,
        resume=before.answer.session_id if before else "",
        sandbox=READ_ONLY,
        options=settings.options,
    )
    at = head(attempt.place.repo)
    subject = f"{attempt.base.commit} {work.candidate.tree}"
    answer = run_agent(attempt.site, attempt.run, agent, request, attempt.log, attempt.stop, subject)
    breaches = check_seal(attempt.site, work.sealed) if work.sealed is not None else ()  # before git looks at anything
    changed, notes = _put_back(work, at)
    return Heard(answer, _complaint(answer, changed), (*breaches, *notes))


def _complaint(answer: Answer, changed: tuple[str, ...]) -> str:
    """Why *answer* cannot be used; empty where it can, or where the run itself failed."""
    if changed:
        return f"an audit may change nothing, but there is a change in {', '.join(changed[:5])}"
    if answer.failure is not None:
        return answer.failure.message if answer.failure.kind is FailureKind.INVALID_OUTPUT else ""
    if answer.closing is None:
        return "the answer must end with one JSON object"
    if answer.closing.get("approved") is not True and not _texts(answer.closing.get("findings")):
        return "work that is not approved needs at least one finding"
    return ""


def _put_back(work: Work, at: Head) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put the work back as it was before its audit, *at* this commit: what was changed, and that in words.

    Somebody else may have done it meanwhile, so what was there is kept in a ref. Raises GitError.
    """
    place, tree = work.attempt.place, work.candidate.tree
    name, moved = f"{work.attempt.task.id}/{work.attempt.run.run_id}-audit", head(place.repo)
    there = worktree_tree(place.repo, tree, place.control)
    changed = [change.path for change in changed_files(place.repo, tree, there)]
    kept = list[str]()
    if changed:
        said = f"changed while {work.attempt.task.id} was audited"
        kept.append(keep_ref(place.repo, name, there, said, now().wall))
        switch_files(place.repo, there, tree)
    if moved.commit != at.commit:
        changed.insert(0, "the history")
        kept.append(keep_ref(place.repo, f"{name}-commits", moved.commit, "", now().wall))
        sync_index(place.repo, place.repo.tree_of(at.commit))
        move_head(place.repo, moved, at.commit, "aiframe: an audit makes no commits", now().wall)
    if not changed:
        return (), ()
    names = ", ".join(changed[:5])
    return tuple(changed), (f"changed while the work was audited, and put back: {names} (kept in {', '.join(kept)})",)


def _variables(work: Work, folder: Path, complaint: str) -> dict[str, object]:
    attempt = work.attempt
    site, redactor = attempt.site, redactor_of(attempt.site)
    return {
        "role": Role.AUDIT.value,
        "project_name": site.root.name,
        "workspace": str(attempt.place.root),
        "interactive": False,
        "documents": "",
        "code": "",
        "agents": read_text(site.layout.agents_md),
        "task": attempt.task,
        "diff": redactor.text(_diff(work, attempt.base.commit, work.candidate.tree, folder / "diff.patch")),
        "meanwhile": redactor.text(_meanwhile(work, folder)),
        "gates": [
            (result, redactor.text(_tail(site.root / result.log_file))) for result in work.results if not result.ran_on
        ],
        "found": redactor.text("\n".join(work.found)),
        "complaint": redactor.text(complaint),
    }


def _tail(log: Path) -> str:
    """The end of a gate's log; empty where it is gone."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_CHARS))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _meanwhile(work: Work, folder: Path) -> str:
    """What came onto the target since the attempt began: by somebody else, or by the agent past its own diff."""
    began, base = work.attempt.since, work.attempt.base.commit
    return _diff(work, began, base, folder / "meanwhile.patch") if began not in ("", base) else ""


def _diff(work: Work, old: str, new: str, path: Path) -> str:
    """What changed between *old* and *new*; of a long diff the files, and the whole of it is written to *path*."""
    repo = work.attempt.place.repo
    whole = redactor_of(work.attempt.site).text(patch(repo, old, new))
    if len(whole) <= DIFF_CHARS:
        return whole
    write_durable(path, whole)
    changes = changed_files(repo, old, new)
    listed = [f"{_VERBS[change.status]}: {change.path}" for change in changes[:_FILES_SHOWN]]
    more = len(changes) - len(listed)
    title = f"The diff is too long to be shown here; all of it: {path}"
    return "\n".join([title, *listed, *([f"and {more} more files"] if more else [])])


def _folder(work: Work, *, again: bool) -> Path:
    attempt = work.attempt
    return attempt.site.layout.run_dir(attempt.run.run_id) / ("audit-again" if again else "audit")
