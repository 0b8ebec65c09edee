"""Which environment variables the person's own configuration of a CLI names, for keys of other providers.

Only the configuration in the person's own folders counts: one in the workspace may be an agent's work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_MAX_BYTES = 1024 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODEX_KEYS = ("env_key", "bearer_token_env_var", "env_http_headers", "env_vars")
_OPENCODE_FILES = ("opencode.json", "opencode.jsonc", "config.json")
_OPENCODE_NAMED = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def configured_variables(agent: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that the configuration of *agent* names; empty where there is none that can be read."""
    home = Path(environ.get("HOME", "/"))
    match agent:
        case "codex":
            text = _read(Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml")
            return tuple(sorted(set(_named_by_codex(text))))
        case "opencode":
            folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
            own = [Path(named)] if (named := environ.get("OPENCODE_CONFIG")) else []
            texts = [_read(path) for path in (*own, *(folder / name for name in _OPENCODE_FILES))]
            return tuple(sorted(set(_OPENCODE_NAMED.findall("\n".join(texts)))))
        case _:
            return ()


def _named_by_codex(text: str) -> Iterator[str]:
    import tomllib  # takes 2 ms

    try:
        found = _values_of(tomllib.loads(text))
    except (ValueError, RecursionError):  # codex itself says what is wrong with it
        return
    for value in found:
        words = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        yield from (word for word in words if isinstance(word, str) and _VARIABLE.fullmatch(word))


def _values_of(node: Any) -> list[Any]:
    """What stands below any of the keys by which codex's configuration names variables."""
    if isinstance(node, list):
        return [value for item in node for value in _values_of(item)]
    if not isinstance(node, dict):
        return []
    here = [value for key, value in node.items() if key in _CODEX_KEYS]
    return here + [found for value in node.values() for found in _values_of(value)]


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
