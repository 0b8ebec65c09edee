"""The prompt of a step: a Jinja2 template of its role, filled with the project's files, fenced as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from aiframe.app.observe import read_text
from aiframe.app.resources import prompt_dirs
from aiframe.app.site import Site
from aiframe.core.errors import StepError
from aiframe.core.machine import may_ask
from aiframe.core.model import Project, Role, Run, Task, TaskStatus

_TAIL = 12_000
"""How many characters of a log or of a file that only grows a prompt carries."""


def render_prompt(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], schema: Mapping[str, Any], workspace: Path
) -> str:
    """The prompt of *run*, whose agent works in *workspace*.

    Raises StepError naming template and line when a template does not fit, or the task that is gone from *tasks*.
    """
    folders = prompt_dirs(site.root, _frame_of(site.root))
    environment = Environment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.globals["data"] = fenced
    name = f"{run.role.value.lower()}.md.j2"
    try:
        return environment.get_template(name).render(_variables(site, project, run, tasks, schema, workspace))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        place = f"{getattr(error, 'filename', None) or name}" + (f":{line}" if line else "")
        raise StepError(
            f"{place}: {error}", hint="correct the prompt template, or delete your own copy of it"
        ) from None


def fenced(name: str, text: str) -> str:
    """*text* between two marker lines that do not occur in it, so that nothing inside can pass for an instruction."""
    number = 1
    while f"[data {number}" in text or f"[end of data {number}" in text:
        number += 1
    body = text.rstrip("\n") or "(empty)"
    return f"[data {number}: {name}]\n{body}\n[end of data {number}: {name}]"


def _variables(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], schema: Mapping[str, Any], workspace: Path
) -> dict[str, Any]:
    layout = site.layout
    common: dict[str, Any] = {
        "role": run.role.value,
        "project_name": site.root.name,
        "workspace": str(workspace),
        "interactive": project.settings.interactive_mode,
        "may_ask": may_ask(project),
        "spec": read_text(layout.spec),
        "roles": read_text(layout.roles),
        "agents": read_text(layout.agents_md),
        "tasks_yaml": read_text(layout.tasks_yaml),
        "context_snapshot": read_text(layout.context_snapshot)[-_TAIL:],
        "interaction_notes": read_text(layout.interaction_notes)[-_TAIL:],
        "answers": _answers(site),
        "complaint": project.findings.get(run.role.value, ""),
        "closing_schema": json.dumps(schema, indent=1, ensure_ascii=False),
    }
    match run.role:
        case Role.PO:
            return common | {"plan_exists": bool(tasks), "answers": _po_answers(common["answers"], project)}
        case Role.DEV:
            return common | _dev_variables(site, project, run, tasks)
        case Role.DIAGNOSE:
            return common | _diagnose_variables(site, project, run, tasks)
        case _:
            return common


def _dev_variables(site: Site, project: Project, run: Run, tasks: tuple[Task, ...]) -> dict[str, Any]:
    task = next((task for task in tasks if task.id == run.task_id), None)
    if task is None:
        raise StepError(
            f"TASKS.yaml holds no task {run.task_id} any more, though its step was about to begin",
            hint="look at TASKS.yaml: put the task back if it is missing by mistake; then `aiframe tick`",
        )
    told = [project.requests.get(task.id, ""), project.findings.get(task.id, "")]
    if project.diagnosis_done and project.diagnosed_role is Role.DEV:
        told.append(f"Diagnosis of the attempt that hung: {project.diagnosis}")
    return {
        "task": task,
        # Not the number that people see: that one never falls, also when a person has given the attempts back.
        "attempt": project.attempts.get(run.input_key, 0) + 1,
        "max_attempts": site.rules.max_attempts,
        "findings": "\n\n".join(filter(None, told)),
        "done_tasks": [other for other in tasks if other.status is TaskStatus.DONE],
    }


def _diagnose_variables(site: Site, project: Project, run: Run, tasks: tuple[Task, ...]) -> dict[str, Any]:
    failure, settings = project.failure, project.settings
    log = newest_log(site, before=run.run_id)
    failed_task = next((task for task in tasks if f" task {task.id} " in log.partition("\n")[0]), None)
    return {
        "failed_role": (project.diagnosed_role or Role.DEV).value,
        "failed_task": failed_task,
        "failure_kind": failure.kind.value if failure else project.last_error,
        "failure_message": failure.message if failure else "",
        "log_tail": log[-_TAIL:],
        "timeout_sec": int(settings.timeout_sec),
        "max_timeout_sec": int(settings.timeout_sec * site.rules.timeout_growth),
        "diagnose_rules": read_text(site.layout.diagnose_md),
    }


def newest_log(site: Site, *, before: str) -> str:
    """The readable log of the step before run *before*; empty when there is none."""
    logs = sorted(site.layout.logs.glob("tick-*.log"), key=lambda path: path.stat().st_mtime_ns)
    earlier = [path for path in logs if path != site.layout.tick_log(before)]
    return read_text(earlier[-1]) if earlier else ""


def _answers(site: Site) -> str:
    texts = [read_text(site.layout.history), read_text(site.layout.questions), read_text(site.layout.answers)]
    return "\n\n".join(filter(None, texts))


def _po_answers(answers: str, project: Project) -> str:
    return "\n\n".join(filter(None, [answers, project.requests.get(Role.PO.value, "")]))


def _frame_of(root: Path) -> Path | None:
    """The frame that a project lies in; None for a project of its own."""
    frame = root.parent.parent
    return frame if root.parent.name == "projects" and (frame / "prompts").is_dir() else None
