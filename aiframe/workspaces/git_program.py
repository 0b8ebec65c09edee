"""The git that is run, and the environment that it is run in: nothing of them comes from the folder it works on."""

from __future__ import annotations

import os
import shutil
from functools import cache

from aiframe.core.errors import StepError

TIMEOUT_S = 300.0
"""How long a call may take, in seconds: that of a git which looks at many files of a slow disk."""


@cache
def search_path() -> str:
    """PATH without its relative entries: a file named git in the project must not become git."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(entry for entry in entries if os.path.isabs(entry))


@cache
def program() -> str:
    """The git to run, as an absolute path. Raises StepError where none is installed."""
    found = shutil.which("git", path=search_path())
    if found is None:
        raise StepError("git is not installed", hint="install git (for example `apt-get install git`) and try again")
    return found


def environment() -> dict[str, str]:
    """The whole environment of a git call: nothing of git's own comes from the parent."""
    kept = {key: os.environ[key] for key in ("HOME", "TMPDIR", "XDG_CONFIG_HOME") if key in os.environ}
    return kept | {
        "PATH": search_path(),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": "/dev/null",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_DEFAULT_HASH": "sha1",
        "GIT_DEFAULT_REF_FORMAT": "files",
    }
