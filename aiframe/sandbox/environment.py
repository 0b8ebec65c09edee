"""The variables that a sandboxed command gets: those by which tools find each other and speak, and no secret."""

from __future__ import annotations

from collections.abc import Mapping

NAMES = frozenset({
    "CI", "CONDA_PREFIX", "GOROOT", "JAVA_HOME", "LANG", "LANGUAGE", "LOGNAME", "NO_COLOR", "NVM_DIR", "PATH",
    "PYENV_ROOT", "PYENV_VERSION", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONUTF8", "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN", "SOURCE_DATE_EPOCH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TERM", "TZ", "USER", "VIRTUAL_ENV",
})  # fmt: skip
"""What passes by name; of the locale all of LC_* does."""

PLACES = frozenset({"CONDA_PREFIX", "GOROOT", "JAVA_HOME", "NVM_DIR", "PATH", "PYENV_ROOT", "PYENV_VERSION",
                    "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "SSL_CERT_DIR", "SSL_CERT_FILE", "VIRTUAL_ENV"})  # fmt: skip
"""Those of them that name what lies on this machine, and mean nothing in an image."""


def harmless(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of *environ* that a sandboxed command may have."""
    return {name: value for name, value in environ.items() if name in NAMES or name.startswith("LC_")}
