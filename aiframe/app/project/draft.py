"""A project under decision: what it becomes, held in memory until it is written, and how it is written.

The order of the writing makes every crash harmless: first the status lines (they can be written again), then the
control record and STATE.json with the list of debts, then the debts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from msgspec import Struct, field

from aiframe.app.project.observe import hand_edit, plan_gone
from aiframe.app.project.outbox import debt_for, document_debt, settle_debts
from aiframe.app.project.proposals import beyond_proposal
from aiframe.app.project.site import Site
from aiframe.app.project.telling import tell, tell_lane, tell_note, tell_word
from aiframe.core.effects import Archive, CloseLane, Effect, OpenLane, ParkLane, SetStatus, Write
from aiframe.core.errors import UnreadableFile
from aiframe.core.events import Event, Resume, RunLost, StepEnded
from aiframe.core.machine import decide, seen_after
from aiframe.core.model import Project, State
from aiframe.core.seen import Seen
from aiframe.store.atomic import write_durable
from aiframe.store.project_store import Loaded
from aiframe.store.quarantine import set_aside
from aiframe.store.tasks_file import load_tasks, set_statuses


def overruled(loaded: Loaded) -> str:
    """In words, what of STATE.json is put back since a step of a lane may have written it; empty for nothing."""
    if not loaded.overruled:
        return ""
    said = f"STATE.json was changed while a step ran, which may have done that ({loaded.overruled}): put back"
    cure = "`aiframe set`, `pause`, `stop` and `resume` say the same, and count"
    return f"{said} (its version is kept in .git/aiframe/quarantine); {cure}"


class Draft(Struct):
    """A project under decision: what it has become so far, and what is owed for it."""

    site: Site
    loaded: Loaded
    seen: Seen
    project: Project
    effects: list[Effect] = field(default_factory=list)
    debts: list[dict[str, Any]] = field(default_factory=list)
    overrules: bool = False
    """Whether the STATE.json that lies there is replaced though a step, or somebody during it, has changed it."""

    @classmethod
    def of(cls, site: Site, loaded: Loaded, seen: Seen) -> Self:
        """A project as it was loaded, before anything is decided."""
        return cls(site, loaded, seen, loaded.project)

    def decide(self, event: Event) -> tuple[Effect, ...]:
        """Apply one event, and note what it owes."""
        before = self.project
        if isinstance(event, StepEnded | RunLost) or (isinstance(event, Resume) and self._is_pause_proposed()):
            self.overrules = True  # after Resume it would ask for the pause again when the step ends
        decision = decide(before, event, self.site.rules)
        self.project = decision.project
        self.effects.extend(decision.effects)
        self.seen = seen_after(self.seen, decision.effects)
        run_id = before.run.run_id if before.run else ""
        for effect in decision.effects:
            if isinstance(effect, Archive):
                debt = debt_for(self.site, effect.what, self.project, run_id, self.seen.clock.wall)
                self.debts.append(debt)
            elif isinstance(effect, Write):
                self.debts.append(document_debt(self.site, effect.name, effect.text))
            elif isinstance(effect, OpenLane | ParkLane | CloseLane):
                self.debts.append(tell_lane(effect, self.project, self.seen.tasks, self.seen.clock.wall))
        line = tell(event, before, self.project, self.seen.tasks, self.seen.clock.wall)
        if line is not None:
            self.debts.append(line)
        return decision.effects

    def take_notes(self, notes: Sequence[str]) -> None:
        """Have the journal tell what the step that ends had put back or refused."""
        if self.project.run is not None:
            run, wall = self.project.run, self.seen.clock.wall
            self.debts += [tell_note(run, number, note, wall) for number, note in enumerate(notes, start=1)]

    def take_hand_edits(self) -> None:
        """Apply what was written into STATE.json by hand; what a step may have written there is put back, and told."""
        if self.loaded.overruled:
            self.debts.append(tell_word(self.loaded.project, overruled(self.loaded), self.seen.clock.wall))
        event = hand_edit(self.loaded.edits, self.seen)
        if event is not None:
            self.decide(event)

    def _is_pause_proposed(self) -> bool:
        """Whether STATE.json asks, by hand and during a run, to pause when the step ends."""
        return self.loaded.project.state is State.RUNNING and self.loaded.edits.state is State.PAUSED

    def has_changed(self) -> bool:
        """Whether there is anything to write."""
        loaded = self.loaded
        hand_edited = bool(loaded.edits.changed) and self.project.state is not State.RUNNING
        lacks_state_file = loaded.missing_state or loaded.stale
        statuses = any(isinstance(effect, SetStatus) for effect in self.effects)
        return self.project != loaded.project or bool(self.debts) or statuses or hand_edited or lacks_state_file

    def write(self) -> None:
        """Write what has changed: status lines, then control record and STATE.json, then the debts."""
        if not (self.has_changed() or self.overrules):
            return
        self._write_statuses()
        if self.loaded.overruled:
            with suppress(FileNotFoundError):
                set_aside(self.site.layout, self.site.layout.state_json, overruled(self.loaded))
        if self.overrules:
            self._keep_foreign_edits()
            self.site.layout.known_plan.unlink(missing_ok=True)  # a step of the project's own may have changed it all
        before = self.loaded.project.run
        debts = [*self.loaded.outbox, *self.debts] if before is not None else self.debts
        self.site.store.save(
            self.project,
            self.seen.clock,
            expect_generation=self.loaded.project.generation,
            outbox=debts,
            keep_foreign_state=before is not None and not self.overrules,
        )
        after = self.project.run
        # While the step lives, or is not looked after, logs/ and notes/ may be what it made of them.
        if before is None or after is None or after.run_id != before.run_id:
            settle_debts(self.site, debts)

    def _keep_foreign_edits(self) -> None:
        """Keep a copy of the STATE.json that is overruled where it says more than a step may propose."""
        lost = beyond_proposal(self.loaded.edits)
        if lost:
            why = f"changed while a step ran, when it does not count: {', '.join(lost)}"
            with suppress(FileNotFoundError):
                set_aside(self.site.layout, self.site.layout.state_json, why)

    def _write_statuses(self) -> None:
        """Set the status lines that the decision asks for."""
        statuses = {effect.task_id: effect.status for effect in self.effects if isinstance(effect, SetStatus)}
        path = self.site.layout.tasks_yaml
        file = load_tasks(path) if statuses else None
        if file is None:
            return
        if not file.tasks:  # gone since it was read; else what was decided would be forgotten
            raise UnreadableFile([plan_gone(self.site)])
        current = {task.id: task.status for task in file.tasks}
        wanted = {name: status for name, status in statuses.items() if name in current and current[name] != status}
        if self.site.layout.known_plan.exists():
            from aiframe.app.project.guarding import note_statuses  # most projects never have lanes

            note_statuses(self.site, statuses)
        if wanted:
            write_durable(path, set_statuses(file.text, wanted))
