"""What a person or an agent has changed in STATE.json since aiframe last wrote it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from aiframe.core.model import Project, Settings, State, Unknown
from aiframe.store.state_file import StateFile

OPEN_FIELDS = ("resume_state", "diagnosis", "diagnosis_done", "last_error", "review_items", "not_before")
"""Fields beside ``state`` and the settings whose change by hand means something."""

OWN_FIELDS = ("role", "run_id", "started_at", "failure", "runner", "generation")
"""Fields that only show what the control record says: a change is noted and changes nothing."""


class Edits(Struct, frozen=True):
    """The differences. *changed* names what counts, *ignored* what only aiframe may say.

    *state* is None where it was not changed, *settings* likewise; else they are the project's with the edit applied.
    *fields* holds the new values of those of OPEN_FIELDS that were changed.
    """

    state: State | Unknown | None = None
    settings: Settings | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed)


def find_edits(project: Project, written: StateFile, on_disk: StateFile) -> Edits:
    """What makes *on_disk* differ from *written*, the projection of *project*. Times are no edits."""
    state = on_disk.state if on_disk.state != written.state else None
    settings = {
        name: getattr(on_disk.settings, name)
        for name in _differing(Settings.__struct_fields__, written.settings, on_disk.settings)
    }
    others = {name: getattr(on_disk, name) for name in _differing(OPEN_FIELDS, written, on_disk)}
    return Edits(
        state=state,
        settings=replace(project.settings, **settings) if settings else None,
        fields=others,
        changed=(("state",) if state is not None else ()) + tuple(settings) + tuple(others),
        ignored=_differing(OWN_FIELDS, written, on_disk),
    )


def _differing(names: tuple[str, ...], one: object, other: object) -> tuple[str, ...]:
    return tuple(name for name in names if getattr(one, name) != getattr(other, name))
