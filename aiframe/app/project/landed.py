"""The branch that work lands on, as a person reads and types it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiframe.app.project.site import Site, held_in

LANDED_REF = "refs/aiframe/landed/"
"""Below it is a ref for each project, which keeps what has landed last, whatever becomes of the branch."""


def landing_branch(site: Site) -> str:
    """The branch of the person's repository that work lands on; empty where there is none, or none is known yet."""
    return str(_recorded(site).get("target", ""))


def merge_command(site: Site) -> str:
    """The command that takes in what has landed; empty where it lands on the very branch that work starts from."""
    record = _recorded(site)
    target = str(record.get("target", ""))
    if not target or record.get("base") == f"refs/heads/{target}":
        return ""
    return f"git -C {held_in(site)} merge {shlex.quote(target)}"


def to_take_in(site: Site) -> str:
    """The same, where there is something to take in: nothing is said of a branch on which no work has landed yet."""
    return merge_command(site) if _has_landed(_recorded(site)) else ""


def _has_landed(record: Mapping[str, Any]) -> bool:
    """Whether any work has landed: the ref that keeps what landed last is there. Read without git."""
    repo, ref = Path(str(record.get("repo", ""))), f"{LANDED_REF}{record.get('family') or record.get('key')}"
    try:
        return (repo / ref).is_file() or f" {ref}\n" in (repo / "packed-refs").read_text(errors="replace")
    except OSError:
        return False


def _recorded(site: Site) -> Mapping[str, Any]:
    """What is recorded of the repository that the project works for: before the first attempt nothing."""
    if site.settings.workspace.kind == "inplace":
        return {}
    try:
        record = json.loads(site.layout.workspace_record.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
