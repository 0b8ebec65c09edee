"""The branch that work lands on, as a person reads and types it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from aiframe.app.project.site import Site, held_in


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


def _recorded(site: Site) -> Mapping[str, Any]:
    """What is recorded of the repository that the project works for: before the first attempt nothing."""
    if site.settings.workspace.kind == "inplace":
        return {}
    try:
        record = json.loads(site.layout.workspace_record.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
