"""A plan from a person's document: how it is asked for, and how it takes the place of the plan that was there."""

from __future__ import annotations

from msgspec.structs import replace

from aiframe.core.effects import Decision, Write
from aiframe.core.events import PlanFrom
from aiframe.core.model import PlanMode, Planning, Project, Role, State, Unknown
from aiframe.core.seen import Seen
from aiframe.core.transitions.notes import without
from aiframe.core.transitions.paths import Refused, start_of, without_error

_DROP = "`aiframe accept --discard` brings back what was there before"


def on_plan_from(project: Project, event: PlanFrom) -> Decision:
    """The document becomes SPEC.md, and the PO plans from it, whatever the project waited for."""
    pending = project.planning
    if project.state is State.RUNNING:
        raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`, then plan")
    check_no_plan_waits(project)
    if pending is not None and project.state is not State.ERROR:
        cure = f"`aiframe tick` goes on with it (`aiframe why` says what it waits for); {_DROP}"
        raise Refused(f"a plan is being made from {pending.source} already", hint=cure)
    if pending is None:
        planning = _before(project, event)
    else:  # a plan that failed is no plan: what was there before it is what there is
        planning = replace(pending, mode=event.mode, source=event.source, confirmed=event.confirmed)
    after = without_error(project) if project.state is State.ERROR else project
    after = after.evolve(
        state=State.SPEC_READY,
        settings=replace(after.settings, plan_locked=False),
        paused_from=None,
        session=None,
        handed=None,
        findings=without(after.findings, Role.PO.value),
        questions=tuple(
            replace(asked, answer="A new document was given instead.") if not (asked.task_id or asked.answer) else asked
            for asked in after.questions
        ),
        planning=planning,
    )
    return Decision(after, (Write("SPEC.md", event.spec),))


def _before(project: Project, event: PlanFrom) -> Planning:
    """Where *project* stands, so that it can go back there; an error is over in any case."""
    state, paused_from = project.state, project.paused_from
    if isinstance(state, Unknown) or state is State.ERROR:
        state, paused_from = paused_from or start_of(project, event.seen), None
    return Planning(
        mode=event.mode,
        source=event.source,
        spec=event.spec_before,
        tasks_text=event.tasks_before,
        tasks=event.seen.tasks,
        state=state,
        paused_from=paused_from,
        plan_locked=project.settings.plan_locked,
        planned_spec=project.planned_spec,
        confirmed=event.confirmed,
    )


def plan_made(project: Project, seen: Seen) -> Project:
    """*project*, ready for its tasks, with the plan that the PO has made; one that replaces another may wait."""
    planning = project.planning
    if planning is not None and planning.mode is PlanMode.REPLACE and not planning.confirmed:
        waits = replace(planning, made=True)
        return project.evolve(state=State.PAUSED, paused_from=State.DEV_READY, planning=waits)
    return plan_taken(project, seen)


def on_take_plan(project: Project, seen: Seen) -> Decision:
    """The person takes the new plan, and its tasks can be worked on."""
    if project.planning is None or not project.planning.made:
        raise Refused("no new plan waits for a word", hint="see `aiframe why`")
    after = without_error(project) if project.state is State.ERROR else project
    return Decision(plan_taken(after, seen).evolve(state=State.DEV_READY, paused_from=None))


def on_drop_plan(project: Project, seen: Seen) -> Decision:
    """Back to the documents and to the place from before the plan was asked for."""
    before = project.planning
    if before is None:
        raise Refused("no plan is being made from a document", hint="see `aiframe why`")
    if project.state is State.RUNNING:
        raise Refused("a step is running", hint="wait for it, or stop it with `aiframe stop`")
    after = (without_error(project) if project.state is State.ERROR else project).evolve(
        state=before.state,
        paused_from=before.paused_from,
        settings=replace(project.settings, plan_locked=before.plan_locked),
        planned_spec=before.planned_spec,
        findings=without(project.findings, Role.PO.value),
        session=None,
        handed=None,
        planning=None,
    )
    return Decision(after, (Write("SPEC.md", before.spec), Write("TASKS.yaml", before.tasks_text)))


def check_no_plan_waits(project: Project) -> None:
    """Raise Refused while a new plan waits for the person's word: nothing goes on before."""
    if project.planning is not None and project.planning.made:
        cure = f"`aiframe accept --diff` shows it, `aiframe accept` takes it; {_DROP}"
        raise Refused("a new plan waits for your word", hint=cure)


def open_again(planning: Planning | None) -> Planning | None:
    """*planning*, which the PO is to go through once more."""
    return replace(planning, made=False) if planning is not None else None


def plan_taken(project: Project, seen: Seen) -> Project:
    """The plan is the project's own. Of a task that is another one now, or gone, nothing that was said still holds."""
    planning = project.planning
    if planning is None or planning.mode is not PlanMode.REPLACE:
        return project.evolve(planning=None)
    now = {task.id: task.definition for task in seen.tasks}
    gone = {task.id for task in planning.tasks if now.get(task.id) != task.definition}
    return project.evolve(
        planning=None,
        trees={name: tree for name, tree in project.trees.items() if name not in gone},
        findings={name: found for name, found in project.findings.items() if name not in gone},
        requests={name: asked for name, asked in project.requests.items() if name not in gone},
        to_look_at={name: looks for name, looks in project.to_look_at.items() if name not in gone},
        held={name: work for name, work in project.held.items() if name not in gone},
        review_items=tuple(name for name in project.review_items if name not in gone),
        questions=tuple(
            replace(asked, answer="The task was planned anew.") if asked.task_id in gone and not asked.answer else asked
            for asked in project.questions
        ),
    )
