"""A branch brought to a remote repository: never forced, no password asked for, no program of the repository's run.

The repository's configuration tells the address of the remote and nothing else, and none of its hooks run: an agent may
have written them. The person's own configuration holds, with its credentials, its helpers and its ways to ssh.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from aiframe.process import Captured, CommandTimeout, capture
from aiframe.workspaces.cleanroom import clean_room
from aiframe.workspaces.git import OVERRIDES, Repository
from aiframe.workspaces.git_errors import message_of
from aiframe.workspaces.git_program import program, search_path
from aiframe.workspaces.settings import personal_settings

TIMEOUT_S = 60.0
LATE = "late"
PROTOCOLS = "file:git:http:https:ssh"
_OF_THE_PERSON = (
    "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
    "GIT_CONFIG_GLOBAL", "GIT_SSH", "GIT_SSH_VARIANT", "GIT_SSL_CAINFO", "SSH_AUTH_SOCK", "SSL_CERT_FILE",
    "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
)  # fmt: skip
_SECRET = re.compile(r"(?<=://)[^/\s']+@")
_KINDS = (
    ("rejected", r"non-fast-forward|fetch first|stale info|would clobber"),
    ("refused", r"remote rejected|hook declined|protected branch|denied to|denied by"),
    ("login", r"Authentication failed|could not read (Username|Password)|askpass|Permission denied|prompts disabled"),
    ("unreachable", r"not resolve|unable to (access|connect)|[Cc]onnection|timed out|read from remote|not a git repo"),
)


class NotPushed(Struct, frozen=True):
    """Why a branch did not get there: *kind* is rejected, refused, login, unreachable, late or other."""

    kind: str
    message: str


def push_branch(
    host: Repository, remote: str, branch: str, commit: str, environ: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> NotPushed | None:
    """Bring *branch* of the repository named *remote* forward to *commit*; None once it is there.

    Raises GitError where this side has something wrong with it.
    """
    settings = host.settings()
    name = f"remote.{remote}".lower()
    address = settings.get(f"{name}.pushurl") or settings.get(f"{name}.url", "")
    if not address or address.startswith("-"):
        return NotPushed("other", f"{host.root} has no remote {remote}")
    words = ("push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", "--no-signed",
             "--end-of-options", address, f"{commit}:refs/heads/{branch}")  # fmt: skip
    with clean_room(host) as room:
        argv = [program(), f"--git-dir={room.home}", f"--work-tree={host.root}", "--no-pager"]
        for setting in OVERRIDES:
            argv += ["-c", setting]
        env = {**_environment(environ), "GIT_OBJECT_DIRECTORY": str(host.common_dir / "objects")}
        if (host.common_dir / "shallow").is_file():
            env["GIT_SHALLOW_FILE"] = str(host.common_dir / "shallow")
        try:
            done = capture([*argv, *words], cwd=host.root, env=env, timeout_s=timeout_s)
        except CommandTimeout:
            return NotPushed(LATE, f"it did not end within {timeout_s:g} s")
    return problem_of(done)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's variables git and ssh get: who the person is and how they get out; nobody is asked."""
    kept = {name: environ[name] for name in _OF_THE_PERSON if name in environ}
    shell = environ.get("GIT_SSH_COMMAND") or personal_settings().get("core.sshcommand", "")
    if shell or "GIT_SSH" not in environ:
        kept["GIT_SSH_COMMAND"] = f"{shell or 'ssh'} -o BatchMode=yes -o ConnectTimeout=20"
    return kept | {
        "PATH": search_path(),
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_ALLOW_PROTOCOL": PROTOCOLS,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
    }


def problem_of(done: Captured) -> NotPushed | None:
    """What git said of a push that did not succeed, without the secrets of an address."""
    if done.code == 0:
        return None
    if done.code < 0:
        return NotPushed("other", f"git was killed by signal {-done.code}")
    lines = done.out.decode("utf-8", "replace").splitlines()
    refused = [line.split("\t", 2)[-1] for line in lines if line.startswith("!")]
    said = _SECRET.sub("", "; ".join([*refused[:1], message_of(done)]))
    kind = next((kind for kind, pattern in _KINDS if re.search(pattern, said)), "other")
    return NotPushed(kind, said[:500])


def is_owed(host: Repository, old: str, new: str, ours: frozenset[str]) -> bool:
    """Whether *new* has one of the commits *ours* that *old* has not. Raises GitError."""
    range_ = f"{old}..{new}" if host.commit_of(old) is not None else new
    return not ours.isdisjoint(host.text("rev-list", "--end-of-options", range_).split())
