"""Which secrets there are here: in the environment, and where agent CLIs keep their logins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiframe.app.project.site import Site
from aiframe.core.redaction import MIN_SECRET, Redactor
from aiframe.core.secret_values import Secret

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|AUTH(?!OR)", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:([^\s/@]+)@")
_LOGIN_LENGTH = 16
"""Characters of the shortest value in a login file, or of a variable for logins, that is taken for a secret: there are
words, too."""

_MAX_BYTES = 1024 * 1024


def redactor_of(site: Site) -> Redactor:
    """What takes the secrets that are known now out of what is written: those that the project gives its agents in
    containers by name, whatever the names, too."""
    return redactor_for(site.environ, _given(site))


def redactor_for(environ: Mapping[str, str], more: Iterable[Secret] = ()) -> Redactor:
    """As `redactor_of`, where there is no project: *more* are other secrets."""
    found = (*more, *_of_logins(environ), *_of_variables(environ))
    return Redactor(tuple({each.value: each for each in found}.values()))


def _given(site: Site) -> Iterator[Secret]:
    """What PROJECT.yaml names for agents in containers to log in with."""
    given, home = site.settings.workspace.container, site.environ.get("HOME", "/")
    for name in given.env:
        value = site.environ.get(name, "").strip()
        if len(value) >= _LOGIN_LENGTH and "://" not in value and not _is_path(value):  # else a region, or an address
            yield Secret(name, value)
    for name in given.files:
        path = Path(home, name[2:]) if name.startswith("~/") else Path(name)
        for value in dict.fromkeys(_secret_values(_read(path))):
            yield Secret(f"login in {path.name}", value)


def is_secret(name: str, value: str) -> bool:
    """Whether the variable *name* with this *value* opens something."""
    return any(_of_variable(name, value))


def _of_variables(environ: Mapping[str, str]) -> Iterator[Secret]:
    for name, value in environ.items():
        yield from _of_variable(name, value)


def _of_variable(name: str, value: str) -> Iterator[Secret]:
    """The secrets in one variable: all of it, by its name, or the password in an address."""
    whole = value.strip()
    if _SECRET_NAME.search(name) and len(whole) >= MIN_SECRET and not _is_path(whole):
        yield Secret(name, whole)
    for password in _URL_PASSWORD.findall(value):
        for spelled in dict.fromkeys((password, unquote(password))):
            if len(spelled) >= MIN_SECRET:
                yield Secret(f"password in {name}", spelled)


def _is_path(value: str) -> bool:
    """Whether *value* only says where something lies: a socket, or a file with the credentials."""
    try:
        return value.startswith("/") and Path(value).exists()
    except (OSError, ValueError):
        return False


def _of_logins(environ: Mapping[str, str]) -> Iterator[Secret]:
    home = Path(environ.get("HOME", "/"))
    files = {
        "codex login": Path(environ.get("CODEX_HOME") or home / ".codex") / "auth.json",
        "claude login": Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude") / ".credentials.json",
        "opencode login": Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "opencode" / "auth.json",
    }
    for name, path in files.items():
        for value in dict.fromkeys(_secret_values(_read(path))):
            yield Secret(name, value)


def _secret_values(node: Any, key: str = "") -> Iterator[str]:
    """The texts below keys that look like secrets, in what a login file holds."""
    match node:
        case dict():
            for name, value in node.items():
                yield from _secret_values(value, name)
        case list():
            for value in node:
                yield from _secret_values(value, key)
        case str() if len(node) >= _LOGIN_LENGTH and _SECRET_NAME.search(key):
            yield node


def _read(path: Path) -> Any:
    """The JSON in *path*; None where there is none."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
