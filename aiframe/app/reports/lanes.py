"""What the tasks that are worked at side by side say to their project's person, each as one line of that project."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.app.project.lanes import Lane, open_lane
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError
from aiframe.core.explanations.words import Explanation
from aiframe.core.model import Moment
from aiframe.core.timing import elapsed

Explain = Callable[[Site, Lane], Explanation]


class LaneLine(Struct, frozen=True):
    """A task that is worked at in a project of its own, or that is ready and waits for what others have.

    *state* is that project's, empty for none. *role*, *attempt*, *agent*, *run_id*, *started_at* and *runtime_s* are
    those of the step that runs there, *stage* and *last_line* how far that is. *waits* says what goes on there, with
    commands to the whole project. *tokens* and *cost_usd* are all that the task has taken, None where that is unknown.
    """

    task: str
    state: str = ""
    waits: Explanation = field(default_factory=lambda: Explanation(""))
    role: str = ""
    attempt: int = 0
    agent: str = ""
    run_id: str = ""
    started_at: float | None = None
    runtime_s: float | None = None
    place: str = ""
    stage: str = ""
    last_line: str = ""
    tokens: int | None = None
    cost_usd: float | None = None


def lane_lines(
    site: Site, lanes: Sequence[Lane], clock: Moment, explain: Explain, again: Collection[str] = ()
) -> tuple[LaneLine, ...]:
    """A line for each of *lanes*, in words that *explain* finds for the site of its project.

    Of the tasks *again*, which the next run takes up, nobody has to do anything first.
    """
    lines = (_line(site, lane, clock, explain) for lane in lanes)
    return tuple(replace(line, waits=replace(line.waits, cures=())) if line.task in again else line for line in lines)


def _line(site: Site, lane: Lane, clock: Moment, explain: Explain) -> LaneLine:
    line = LaneLine(lane.task_id, lane.seen.state, _waits(site, lane, explain), place=str(lane.root))
    run = lane.project.run if lane.project is not None else None
    if run is None or not lane.running:
        return line
    return replace(
        line,
        role=run.role.value,
        attempt=run.attempt,
        agent=run.agent or lane.record.agent,
        run_id=run.run_id,
        started_at=run.started.wall,
        runtime_s=elapsed(run.started, clock),
    )


def _waits(site: Site, lane: Lane, explain: Explain) -> Explanation:
    found = _trouble(lane)
    if found is not None and not lane.seen.running:
        return found
    if lane.record.halted and not lane.seen.running:
        return Explanation("It rests with its project")
    try:
        said = explain(open_lane(lane.root, site.environ), lane)
    except AiframeError as error:
        return Explanation(error.message, "you", cures=(error.hint,) if error.hint else ())
    needs = lane.seen.rests or lane.seen.failure is not None
    return replace(said, cures=tuple(dict.fromkeys(_cures(lane, said.cures))) if needs else ())


def _trouble(lane: Lane) -> Explanation | None:
    """What keeps a lane from going on that has no voice of its own; None where nothing does."""
    trouble, problem = lane.trouble, lane.seen.problem
    if trouble.tries:
        again = (f"aiframe retry {lane.task_id} (then)",) if trouble.failed else ()
        cures = (*filter(None, [trouble.hint]), *again)
        return Explanation(trouble.message, "you", until=None if trouble.failed else trouble.next_at, cures=cures)
    return None if problem is None else Explanation(problem.message, "you", cures=(problem.hint,))


def _cures(lane: Lane, cures: Sequence[str]) -> Iterator[str]:
    """*cures* as they are typed to the whole project; what is only good for the lane itself is left out."""
    asked = lane.project.open_questions() if lane.project is not None else ()
    for cure in cures:
        command, _, _ = cure.partition(" (")
        if command in ("aiframe answer", "aiframe questions"):
            yield from (f'aiframe answer {lane.task_id}/{question.id} "..."' for question in asked)
        elif command in ("aiframe approve", "aiframe retry", "aiframe done"):
            yield f"{command} {lane.task_id}"
        elif command.startswith("aiframe reject "):
            yield f'aiframe reject --task {lane.task_id} --notes "..."'
        elif command.startswith("aiframe accept"):
            yield f"{command} --project {lane.root}{cure.removeprefix(command)}"
        elif not command.startswith(("aiframe tick", "aiframe run", "aiframe logs", "aiframe stop")):
            yield cure


def with_rows(site: Site, lines: Sequence[LaneLine]) -> tuple[LaneLine, ...]:
    """*lines* with how far each step is, and what each task has taken."""
    if not lines:
        return ()
    from aiframe.app.reports.rows import rows

    known = {row.place: row for row in rows(site)}
    told = ((line, known.get(line.place)) for line in lines)
    return tuple(
        line if row is None else replace(
            line, stage=row.stage, last_line=row.last_line, tokens=row.tokens, cost_usd=row.cost_usd
        )
        for line, row in told
    )  # fmt: skip


def together(said: Explanation, lines: Sequence[LaneLine]) -> Explanation:
    """What a project waits for, with what its lanes wait for: all that can be typed, and the next time of a change."""
    cures = dict.fromkeys(cure for line in lines for cure in line.waits.cures)
    times = [line.waits.until for line in lines if line.waits.until is not None and not line.run_id]
    at_work = any(line.run_id for line in lines)
    until = said.until if said.until is not None or at_work else min(times, default=None)
    return replace(said, until=until, cures=(*cures, *(cure for cure in said.cures if cure not in cures)))


def shown_attempts(lanes: Sequence[Lane]) -> Mapping[str, int]:
    """The number of the last try at each task, as its lane counts."""
    projects = [lane.project for lane in lanes if lane.project is not None]
    return {name: number for project in projects for name, number in project.shown.items() if name}
