"""The part of PROJECT.yaml that says how work is checked."""

from __future__ import annotations

from msgspec import Struct

from aiframe.store.agent_settings import AgentSettings
from aiframe.store.yaml_fields import Fields

GATE_KEYS = (
    "clean_checkout", "timeout_min", "protect", "max_deleted_files", "doctor", "prove_doctor", "doctor_probe",
    "prove_tests", "audit",
)  # fmt: skip


class GateSettings(Struct, frozen=True):
    """How work is checked. *timeout_s* is for one command, None for no limit but that of the step.

    *protect* are patterns of files that no agent may change without a person's word, *max_deleted_files* how many files
    a task may delete without one. *doctor* is a command for the whole project, empty for none; *prove_doctor*: it has
    to notice a planted fault before it is relied on, in the file *doctor_probe* where that is set. *prove_tests* are
    patterns of the files that are tests, which have to fail without the work. *audit* is the agent that judges the
    work, None for none.
    """

    clean_checkout: bool = False
    timeout_s: float | None = None
    protect: tuple[str, ...] = ()
    max_deleted_files: int = 20
    doctor: str = ""
    audit: AgentSettings | None = None
    prove_doctor: bool = True
    doctor_probe: str = ""
    prove_tests: tuple[str, ...] = ()


def read_gates(top: Fields) -> GateSettings:
    """What is below `gates`, but for the audit, which needs to know the agents. Mistakes are collected in *top*."""
    default, inner = GateSettings(), top.inner("gates")
    if inner is None:
        return default
    inner.only(GATE_KEYS)
    minutes = inner.number("timeout_min", 0, above=True)
    deleted = inner.number("max_deleted_files", default.max_deleted_files, whole=True)
    protect = tuple(_pattern(inner, "protect", text) for text in inner.texts("protect"))
    return GateSettings(
        clean_checkout=inner.flag("clean_checkout"),
        timeout_s=minutes * 60 or None,
        protect=protect,
        max_deleted_files=int(deleted),
        doctor=inner.text("doctor").strip(),
        prove_doctor=inner.flag("prove_doctor", default.prove_doctor),
        doctor_probe=_probe(inner),
        prove_tests=tuple(_pattern(inner, "prove_tests", text) for text in inner.texts("prove_tests")),
    )


def _pattern(parent: Fields, key: str, text: str) -> str:
    """A pattern of files below the top folder; ``./`` at its start means the same as nothing."""
    pattern = text.strip().removeprefix("./")
    node = parent.node.get(key)
    if node is not None and (not pattern or pattern.startswith("/") or ".." in pattern.split("/")):
        cure = "name files below the project's folder, such as `tests/**` or `*.lock`"
        parent.complain(node, f"{key}: {text[:80]!r} names no file of the project", cure)
    return pattern


def _probe(gates: Fields) -> str:
    """The one file that a fault is planted in, by its path from the top folder on."""
    node, text = gates.node.get("doctor_probe"), gates.text("doctor_probe").strip()
    path = text.removeprefix("./")
    parts = path.split("/")
    if node is not None and (not path or path.endswith("/") or {"", "..", ".", ".git"} & set(parts)):
        cure = "name one tracked file below the top folder, such as `src/main.py`"
        gates.complain(node, f"doctor_probe: {text[:80]!r} names no file of the project", cure)
    return path
