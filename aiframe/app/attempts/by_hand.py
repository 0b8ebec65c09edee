"""The agent ``human``: what a person is asked to do is written down, and what they did goes through the same checks.

The attempt is in nobody's process meanwhile: the project rests, and a person, alone or with any chat, edits the files.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from aiframe.app.attempts.results import Result
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.core.errors import UnreadableFile
from aiframe.core.events import Broken, Handed
from aiframe.core.machine import JUDGED, is_handed
from aiframe.core.model import Failure, FailureKind, Project, Role, Run
from aiframe.core.ports import AgentRequest
from aiframe.store.atomic import make_folder, read_bounded, write_durable
from aiframe.store.layout import contain

HUMAN = "human"
PROMPT = "notes/prompt.md"
_RED = JUDGED | {FailureKind.NO_PROGRESS, FailureKind.TIMEOUT, FailureKind.STALLED, FailureKind.INVALID_OUTPUT}
"""The failures that say something of the work: it goes back to the person. All others are handled like an agent's."""


def is_handed_in(project: Project, run: Run) -> bool:
    """Whether the person has said that the work of *run* is done."""
    return is_handed(project, run) and project.handed is not None and project.handed.done


def hand_over(site: Site, request: AgentRequest, log: StepLog) -> Handed:
    """Write down and show what is asked. Raises StorageError."""
    _write(site, request.prompt, Path(request.workspace), "")
    log.say(request.prompt)
    log.say(f"-- this is yours to do, by hand or with any chat; it is also in {PROMPT}")
    log.say(f"-- edit the files in {request.workspace}, then run `aiframe done`")
    return Handed(PROMPT, str(request.workspace))


def missing(site: Site, run: Run) -> Broken | None:
    """What a person who writes documents owes and has not written; None for nothing. The plan is looked at later."""
    if run.role not in (Role.INTAKE, Role.PO):
        return None
    try:
        empty = not read_bounded(site.layout.spec).decode("utf-8-sig").strip()
    except FileNotFoundError:
        empty = True
    except (UnreadableFile, UnicodeDecodeError) as error:
        return _lacks(f"SPEC.md cannot be read: {error}")
    return _lacks("SPEC.md says nothing: write down what is wanted, and when it is done") if empty else None


def _lacks(complaint: str) -> Broken:
    return Broken((Failure(FailureKind.INVALID_OUTPUT, complaint),), complaint)


def back_in_hand(site: Site, project: Project, run: Run, result: Result, log: StepLog) -> Result:
    """*result*, where the checks found something in a person's work, as work that goes back to them.

    However often that happens, a person is not stopped by a limit. Raises StorageError.
    """
    broken, work = result.broken, project.handed
    if broken is None or work is None or not is_handed_in(project, run):
        return result
    failure = broken.failures[0]
    if any(each.kind not in _RED for each in broken.failures):
        return result
    findings = broken.findings or failure.message
    asked = read_bounded(site.layout.run_dir(run.run_id) / "prompt.md").decode("utf-8", "replace")
    _write(site, asked, Path(work.workspace), findings)
    log.say(f"-- what was found:\n{findings}\n-- go on in {work.workspace}, then run `aiframe done` again")
    return replace(result, broken=None, handed=Handed(work.prompt, work.workspace, failure, findings))


def _write(site: Site, prompt: str, workspace: Path, findings: str) -> None:
    found = f"## What the checks found\n\n{findings}\n\n" if findings else ""
    text = (
        f"# Yours to do\n\nEdit the files in `{workspace}` as the words below ask, by hand or with any chat, then run\n"
        "`aiframe done`. A closing block of JSON, which they ask for, is not needed from you.\n\n"
        f"{found}---\n\n{prompt}"
    )
    make_folder(site.layout.notes)
    write_durable(contain(site.root, PROMPT), text)
