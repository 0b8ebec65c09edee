"""Containers of aiframe's that are still there: found by their labels with every engine that is installed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from aiframe.core.errors import AiframeError, StepError
from aiframe.process import capture
from aiframe.sandbox.container import LABEL
from aiframe.sandbox.engine import ENGINES
from aiframe.sandbox.worker import PROJECT_LABEL, RUN_LABEL

_PATIENCE_S = 30.0


class LeftContainer(Struct, frozen=True):
    """A container: the path of its *engine*, and what its labels say. *running*: its process lives."""

    engine: str
    id: str
    run_id: str = ""
    project: str = ""
    running: bool = False


def find_containers(environ: Mapping[str, str]) -> tuple[list[LeftContainer], list[str]]:
    """All containers with a label of aiframe's, and the names of engines that do not answer. No engine is no error."""
    found, silent = list[LeftContainer](), list[str]()
    for name in ENGINES:
        program = shutil.which(name, path=environ.get("PATH", os.defpath))
        if program is None:
            continue
        try:
            found += _described(environ, program, _ids(environ, program))
        except AiframeError:
            silent.append(name)
    return found, silent


def remove_container(environ: Mapping[str, str], container: LeftContainer) -> bool:
    """End and remove it; whether it is gone."""
    with suppress(AiframeError):
        _ask(environ, container.engine, "rm", "--force", container.id)
        return True
    return False


def _ids(environ: Mapping[str, str], program: str) -> list[str]:
    """Those that may be ours: engines write the labels in ways of their own."""
    listed = _ask(environ, program, "ps", "--all", "--no-trunc", "--format={{.ID}} {{.Labels}}")
    return [line.split()[0] for line in listed.splitlines() if LABEL in line or PROJECT_LABEL in line]


def _described(environ: Mapping[str, str], program: str, ids: list[str]) -> list[LeftContainer]:
    form = "{{.ID}} {{.State.Running}} {{json .Config.Labels}}"
    said = _ask(environ, program, "inspect", f"--format={form}", *ids) if ids else ""
    found = []
    for line in said.splitlines():
        with suppress(ValueError):
            name, running, labels = line.split(" ", 2)
            known: dict[str, str] = json.loads(labels) or {}
            run_id, project = known.get(LABEL) or known.get(RUN_LABEL, ""), known.get(PROJECT_LABEL, "")
            if run_id or project:
                found.append(LeftContainer(program, name, run_id, project, running == "true"))
    return found


def _ask(environ: Mapping[str, str], program: str, *words: str) -> str:
    """What the engine says. Raises StepError where it does not do what it is asked."""
    said = capture((program, *words), cwd=Path("/"), env=environ, timeout_s=_PATIENCE_S)
    if said.code:
        last = said.err.decode(errors="replace").strip().splitlines() or [f"exit {said.code}"]
        raise StepError(f"{program} {words[0]}: {last[-1][:200]}", hint="see whether the engine works")
    return said.out.decode(errors="replace")
