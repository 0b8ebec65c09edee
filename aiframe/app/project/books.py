"""The control files in the project's own history: what changed in them is committed apart from the work itself."""

from __future__ import annotations

import time

from aiframe.app.project.site import Site
from aiframe.core.errors import StepError
from aiframe.store.layout import CONTROL_PATHS
from aiframe.workspaces.git import Repository
from aiframe.workspaces.git_errors import again_if_killed
from aiframe.workspaces.inplace import commit_control


def keep_books(site: Site, about: str) -> str:
    """Commit what changed in the control files; why that failed, empty where it did not: it is done the next time."""
    trailers = {"Aiframe-Kind": "bookkeeping"}
    message, date = f"aiframe: {about} recorded", time.time()
    try:
        again_if_killed(lambda: commit_control(Repository(site.root), CONTROL_PATHS, message, trailers, date))
    except StepError as error:
        return f"not recorded in git yet: {error.message}\n  cure: {error.hint}"
    return ""
