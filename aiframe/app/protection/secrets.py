"""Which secrets there are here: in the environment, and where agent CLIs keep their logins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiframe.core.redaction import MIN_SECRET, Redactor, Secret

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|AUTH(?!OR)", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*:([^\s/@]+)@")
_LOGIN_LENGTH = 16
"""Characters of the shortest value in a login file that is taken for a secret: the file holds words, too."""

_MAX_BYTES = 1024 * 1024


def redactor_for(environ: Mapping[str, str]) -> Redactor:
    """What takes the secrets that are known now out of what is written."""
    return Redactor(tuple({each.value: each for each in (*_of_logins(environ), *_of_variables(environ))}.values()))


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
