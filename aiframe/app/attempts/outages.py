"""The container engine of a project that worked, and does not answer now: that is no failure of any task.

It is waited for, however long that takes. One that has never worked here is something that a person has to set up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aiframe.app.attempts.underway import works_in_container
from aiframe.app.project.observe import read_text
from aiframe.app.project.site import Site
from aiframe.core.errors import AiframeError, StepError
from aiframe.store.atomic import StorageError, make_folder, write_atomic

if TYPE_CHECKING:
    from aiframe.sandbox.engine import Engine


Answer = TypeVar("Answer")


class EngineAway(StepError):
    """The engine, which worked before, does not answer."""


def note_engine(site: Site, engine: Engine) -> None:
    """Remember that *engine* works."""
    path = site.layout.engine_known
    with suppress(AiframeError):
        if read_text(path) != engine.program:
            make_folder(path.parent)
            write_atomic(path, engine.program)


def outage(site: Site) -> EngineAway | None:
    """Why no agent of the project can work just now; None where its engine answers, or never did."""
    if not works_in_container(site):
        return None
    from aiframe.sandbox.engine import Engine, why_not  # which most projects do without

    with suppress(AiframeError):
        program = read_text(site.layout.engine_known)
        if not program or not os.access(program, os.X_OK):
            return None
        reason = why_not(Engine(program, site.environ))
        if reason:
            name = Path(program).name
            cure = f"start the engine (`{name} info` says more); the work then goes on by itself"
            return EngineAway(f"{name} does not answer: {reason}", hint=cure)
    return None


def asked(site: Site, ask: Callable[[], Answer]) -> Answer:
    """What the engine answers. Raises EngineAway where it is away, else what *ask* raises, which is called twice then.

    For an engine that failed may be back before anybody can look whether it was away.
    """
    try:
        return ask()
    except AiframeError:
        away = outage(site)
        if away is not None:
            raise away from None
        return ask()


def of_an_outage(site: Site, error: AiframeError) -> AiframeError:
    """*error*, or the outage that it only came of."""
    if isinstance(error, StorageError | EngineAway):
        return error
    return outage(site) or error
