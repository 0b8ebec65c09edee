"""Which sandbox to use on this machine: one that was really started, once for each process of aiframe."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from aiframe.core.errors import AiframeError, StepError
from aiframe.core.ports import Command, Policy, Sandbox
from aiframe.process import capture
from aiframe.sandbox.none import Unconfined

if TYPE_CHECKING:  # each is loaded where it is wanted
    from aiframe.sandbox.bubblewrap import Bubblewrap
    from aiframe.sandbox.container import Container

Kind: TypeAlias = Literal["auto", "bubblewrap", "container", "none"]
_PATIENCE_S = 10.0
_IMAGE_PATIENCE_S = 60.0


class SandboxMissing(StepError):
    """No sandbox of the wanted kind works on this machine."""


def choose(kind: Kind, image: str, environ: Mapping[str, str]) -> Sandbox:
    """The sandbox of *kind*; ``auto`` is bubblewrap, else a container where an *image* is named.

    Raises SandboxMissing with what is in the way and the ways out.
    """
    if kind == "none":
        return Unconfined(environ)
    reasons = []
    if kind in ("auto", "bubblewrap"):
        found = find_bubblewrap(environ)
        if not isinstance(found, str):
            return found
        reasons.append(found)
    if kind == "container" or (kind == "auto" and image):
        engine = find_container(image, environ)
        if not isinstance(engine, str):
            return engine
        reasons.append(engine)
    raise SandboxMissing(f"verify commands have no sandbox to run in: {'; '.join(reasons)}", hint=_cure(kind))


def find_bubblewrap(environ: Mapping[str, str]) -> Bubblewrap | str:
    """Bubblewrap, if it starts here; else why it does not."""
    from aiframe.sandbox.bubblewrap import Bubblewrap

    program = shutil.which("bwrap", path=environ.get("PATH", os.defpath))
    if program is None:
        return "bubblewrap is not installed"
    reason = _trial(program, old=False)
    if not reason:
        return Bubblewrap(program, environ)
    if not _trial(program, old=True):
        return Bubblewrap(program, environ, old=True)
    return f"bubblewrap does not start here ({reason})"


def find_container(image: str, environ: Mapping[str, str]) -> Container | str:
    """The first engine that starts a container of *image* here; else why there is none."""
    if not image:
        return "no container image is named"
    from aiframe.sandbox.container import Container
    from aiframe.sandbox.engine import ENGINES

    reasons = []
    for engine in ENGINES:
        program = shutil.which(engine, path=environ.get("PATH", os.defpath))
        if program is None:
            continue
        container = Container(program, image, environ)
        reason = _container_trial(container, program, image)
        if not reason:
            return container
        reasons.append(f"{engine} does not start {image} here ({reason})")
    return "; ".join(reasons) or "neither podman nor docker is installed"


_tried: dict[tuple[str, str], str] = {}


def _container_trial(container: Container, program: str, image: str) -> str:
    """Why a container of *image* does not start; empty where it does. Remembered for as long as this process lives."""
    if (program, image) not in _tried:
        _tried[program, image] = _why_not(container, _IMAGE_PATIENCE_S)
    return _tried[program, image]


@functools.cache
def _trial(program: str, *, old: bool) -> str:
    from aiframe.sandbox.bubblewrap import Bubblewrap

    return _why_not(Bubblewrap(program, {}, old=old), _PATIENCE_S)


def _why_not(sandbox: Sandbox, patience_s: float) -> str:
    with tempfile.TemporaryDirectory(prefix="aiframe-") as folder:
        place = Path(folder).resolve()
        policy = Policy(place, memory_bytes=1 << 30, processes=64, run_id=place.name)
        try:
            command = sandbox.wrap(Command(("/bin/sh", "-c", ":"), place), policy)
            try:
                environment = {**sandbox.environment(), **command.env}
                said = capture(command.argv, cwd=place, env=environment, timeout_s=patience_s)
            finally:
                sandbox.clean(policy)
        except AiframeError as error:
            return error.message
    lines = said.err.decode(errors="replace").strip().splitlines() or [f"exit {said.code}"]
    return lines[-1][:200] if said.code else ""


def _cure(kind: Kind) -> str:
    ways = []
    if kind in ("auto", "bubblewrap") and sys.platform == "linux":
        ways.append("install bubblewrap (apt-get install bubblewrap; dnf install bubblewrap)")
    if kind in ("auto", "container"):
        install = "brew install podman" if sys.platform == "darwin" else "apt-get install podman"
        ways.append(f"install podman ({install}) or docker, and write `sandbox: {{kind: container, image: NAME}}`")
    ways.append("write `sandbox: none`: then verify commands, which an agent may have written, have your own rights")
    return "one of these, the last two in PROJECT.yaml: " + "; or ".join(ways)
