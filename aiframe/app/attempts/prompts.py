"""The prompt of a step: a Jinja2 template of its role, filled with the project's files, fenced as data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

import aiframe
from aiframe.app.attempts.prompt_cache import PromptCache
from aiframe.app.project.observe import read_text
from aiframe.app.project.planning import added_below
from aiframe.app.project.resources import prompt_dirs
from aiframe.app.project.site import Site, repo_path
from aiframe.app.protection.links import read_inside
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.errors import StepError
from aiframe.core.fences import fenced
from aiframe.core.machine import may_ask
from aiframe.core.model import Project, Role, Run, Task, TaskStatus
from aiframe.store.atomic import write_durable

Fence: TypeAlias = Callable[[str, str], str]
"""Sets the data of a name apart from the words around it."""

PROMPT_BYTES = 1_000_000
"""The longest prompt for an agent without a number `prompt_bytes` of its own; codex takes hardly more."""

_LEAST_ROOM = 500
_TAIL = 12_000
"""How many characters of a log or of a file that only grows a prompt carries."""


def prompt_within(render: Callable[[Fence], str], limit: int, whole: Path) -> str:
    """What *render* makes of a way to fence data, in at most *limit* bytes: the longest data is shortened for that.

    The full prompt is then kept in the file *whole*, which the shortened data name. Raises StepError, StorageError.
    """
    prompt = render(fenced)
    if (size := len(prompt.encode("utf-8", "replace"))) <= limit:
        return prompt
    write_durable(whole, prompt)
    room = limit
    while room >= _LEAST_ROOM:
        shorter = render(partial(fenced, room=room, whole=str(whole)))
        if len(shorter.encode("utf-8", "replace")) <= limit:
            return shorter
        room //= 2
    cure = "shorten the prompt templates, or the list of tasks"
    raise StepError(f"the prompt has {size} bytes; the agent takes {limit}", hint=cure)


def render_prompt(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], schema: Mapping[str, Any], workspace: Path,
    fence: Fence = fenced,
) -> str:  # fmt: skip
    """The prompt of *run*, whose agent works in *workspace*; *fence* sets the data in it apart.

    Raises StepError naming template and line when a template does not fit, or the task that is gone from *tasks*.
    """
    name = f"{run.role.value.lower()}.md.j2"
    return render(site, name, _variables(site, project, run, tasks, schema, workspace), fence)


def render(site: Site, name: str, variables: Mapping[str, Any], fence: Fence = fenced) -> str:
    """The prompt template *name* of the project with its *variables* filled in; *fence* sets the data in it apart.

    Raises StepError naming template and line when a template does not fit.
    """
    folders = prompt_dirs(site.root, _frame_of(site.root))
    environment = Environment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        bytecode_cache=PromptCache(folders[-1], Path(aiframe.__file__).with_name("__pycache__")),
    )
    environment.globals["data"] = fence
    try:
        return environment.get_template(name).render(variables)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        place = f"{getattr(error, 'filename', None) or name}" + (f":{line}" if line else "")
        raise StepError(
            f"{place}: {error}", hint="correct the prompt template, or delete your own copy of it"
        ) from None


def _variables(
    site: Site, project: Project, run: Run, tasks: tuple[Task, ...], schema: Mapping[str, Any], workspace: Path
) -> dict[str, Any]:
    layout, without_secrets = site.layout, redactor_of(site).text
    common: dict[str, Any] = {
        "role": run.role.value,
        "project_name": site.root.name,
        "workspace": str(workspace),
        "project": str(site.root),
        "documents": "" if workspace == site.root else f"{site.root}/",
        "code": _code_elsewhere(site, workspace),
        "interactive": project.settings.interactive_mode,
        "may_ask": may_ask(project),
        "spec": read_inside(site.root, layout.spec),
        "roles": read_inside(site.root, layout.roles),
        "agents": read_text(layout.agents_md),
        "tasks_yaml": read_inside(site.root, layout.tasks_yaml),
        "context_snapshot": without_secrets(read_inside(site.root, layout.context_snapshot))[-_TAIL:],
        "interaction_notes": without_secrets(read_inside(site.root, layout.interaction_notes))[-_TAIL:],
        "answers": _answers(site),
        "complaint": without_secrets(project.findings.get(run.role.value, "")),
        "closing_schema": json.dumps(schema, indent=1, ensure_ascii=False),
    }
    match run.role:
        case Role.PO:
            return common | _po_variables(project, tasks, common["answers"])
        case Role.DEV:
            return common | _dev_variables(site, project, run, tasks)
        case Role.DIAGNOSE:
            return common | _diagnose_variables(site, project, run, tasks)
        case _:
            return common


def _code_elsewhere(site: Site, workspace: Path) -> str:
    """The repository that tasks are worked for, for a step that does not work in a checkout of it; empty for none."""
    elsewhere = site.settings.workspace.kind != "inplace" and workspace == site.root
    return str(repo_path(site)) if elsewhere else ""


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
        "findings": redactor_of(site).text("\n\n".join(filter(None, told))),
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
    earlier = [path for path in logs if path != site.layout.tick_log(before) and not path.is_symlink()]
    return read_text(earlier[-1]) if earlier else ""


def _answers(site: Site) -> str:
    layout = site.layout
    texts = [read_inside(site.root, path) for path in (layout.history, layout.questions, layout.answers)]
    return "\n\n".join(filter(None, texts))


def _po_variables(project: Project, tasks: tuple[Task, ...], answers: str) -> dict[str, Any]:
    planning = project.planning
    return {
        "plan_exists": bool(tasks),
        "answers": "\n\n".join(filter(None, [answers, project.requests.get(Role.PO.value, "")])),
        "planning": planning.mode.value if planning else "",
        "added_below": added_below(planning.source) if planning else "",
    }


def _frame_of(root: Path) -> Path | None:
    """The frame that a project lies in; None for a project of its own."""
    frame = root.parent.parent
    return frame if root.parent.name == "projects" and (frame / "prompts").is_dir() else None
