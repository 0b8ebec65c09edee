"""The part of PROJECT.yaml that says in which containers agents work, and what they get in there to log in with."""

from __future__ import annotations

import re

from msgspec import Struct

from aiframe.store.yaml_fields import Fields

CONTAINER_KEYS = ("image", "memory_mb", "processes", "cpus", "network", "credentials")
"""Keys of a workspace that are for kind container alone."""
WORKER_IMAGE = "localhost/aiframe-worker"
"""The image that `aiframe image build` makes, and that agents work in unless another is named."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ContainerSettings(Struct, frozen=True):
    """The containers that agents run in. A limit of 0 is none; an empty *network* is the engine's own.

    *env* names the variables, *files* the files (as the person wrote them) that an agent gets in there, to log in with.
    """

    image: str = WORKER_IMAGE
    memory_mb: int = 8192
    processes: int = 2048
    cpus: float = 0
    network: str = ""
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def read_container(inner: Fields) -> ContainerSettings:
    """What a workspace of kind container says of its containers; defaults for another kind, which says nothing."""
    default, credentials = ContainerSettings(), inner.inner("credentials")
    env: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    if credentials is not None:
        credentials.only(("env", "files"))
        env, files = variable_names(credentials, "env"), _files(credentials)
    for name in ("image", "network"):
        node, text = inner.node.get(name), inner.text(name)
        if node is not None and (not text or text.startswith("-") or set(text) & set(" \t\n\0,")):
            inner.complain(node, f"{name}: {text[:80]!r} is no name of an engine's", f"write the name of the {name}")
    return ContainerSettings(
        image=inner.text("image", default.image),
        memory_mb=int(inner.number("memory_mb", default.memory_mb, whole=True)),
        processes=int(inner.number("processes", default.processes, whole=True)),
        cpus=inner.number("cpus", default.cpus),
        network=inner.text("network"),
        env=env,
        files=files,
    )


def variable_names(parent: Fields, key: str) -> tuple[str, ...]:
    """Names of variables; of one with its value, which may be a secret, only the name is told."""
    names = parent.texts(key)
    node = parent.node.get(key)
    for name in names:
        if node is not None and not _VARIABLE.fullmatch(name):
            cure = f"list names only, such as `{key}: [OPENAI_API_KEY]`; their values come from your shell"
            parent.complain(node, f"{key}: {name.partition('=')[0][:80]!r} is no name of a variable", cure)
    return names


def _files(credentials: Fields) -> tuple[str, ...]:
    """Files by their whole paths, or from the person's home on."""
    files, node = credentials.texts("files"), credentials.node.get("files")
    for name in files:
        if node is not None and not name.startswith(("/", "~/")):
            cure = "name it from the root (/) or from your home (~/) on, such as `~/.codex/auth.json`"
            credentials.complain(node, f"files: {name[:80]!r} is no file", cure)
    return files
