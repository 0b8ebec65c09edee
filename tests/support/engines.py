"""Container engines for tests: a store of its own, and an image made of the machine's own programs, without a registry.

The engine is podman, or what AIFRAME_TEST_ENGINE names: docker.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.docker import own_daemon

ENGINE = os.environ.get("AIFRAME_TEST_ENGINE") or "podman"
IMAGE = "localhost/aiframe-test:1"
PROGRAMS = ("sh", "cat", "env", "grep", "head", "rm", "sleep", "touch")
BROKEN = {
    "podman": {"CONTAINERS_CONF": "/nowhere", "CONTAINERS_STORAGE_CONF": "/nowhere"},
    "docker": {"DOCKER_HOST": "unix:///nowhere"},
}[ENGINE]
"""The variables by which the engine does not work."""
WORKER_PROGRAMS = (*PROGRAMS, "git", "ln", "ls", "mkdir", "mkfifo", "timeout")
"""What an agent of the tests works with."""


@contextmanager
def store_with_image(programs: Sequence[str] = PROGRAMS) -> Iterator[tuple[dict[str, str], str]]:
    """The variables by which the engine finds a store of its own, and the name of the image in it."""
    with own_daemon() if ENGINE == "docker" else _own_store() as variables:
        environ = {**os.environ, **variables}
        with tempfile.TemporaryDirectory() as name:
            archive = Path(name) / "root.tar"
            with tarfile.open(archive, "w", dereference=True) as tar:
                files = _files(programs)
                for path in sorted({str(folder) for file in files for folder in Path(file).parents}):
                    tar.addfile(_folder(path))  # docker makes those that are missing for root with capabilities alone
                for path in sorted(files):
                    tar.add(path, arcname=path.lstrip("/"))
            subprocess.run([ENGINE, "import", archive, IMAGE], env=environ, check=True, capture_output=True)
        yield variables, IMAGE


@contextmanager
def _own_store() -> Iterator[dict[str, str]]:
    # The store's path is short: podman 4.3 waits twenty seconds for a socket whose path is too long, and goes on.
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        folder = Path(name)
        config = folder / "containers.conf"
        runtime = "runc" if shutil.which("runc") else "crun"
        config.write_text(
            '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
            f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "{runtime}"\n'
            f'tmp_dir = "{folder}/tmp"\n'  # else the end of one store would be felt in all
        )
        storage = folder / "storage.conf"
        graph = f"{folder}/graph"  # under two names, for without root's rights podman goes by the second
        storage.write_text(
            f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\n'
            f'graphroot = "{graph}"\nrootless_storage_path = "{graph}"\n'
        )
        variables = {"CONTAINERS_CONF": str(config), "CONTAINERS_STORAGE_CONF": str(storage)}
        try:
            yield variables
        finally:
            reset = ["podman", "system", "reset", "--force"]
            subprocess.run(reset, env={**os.environ, **variables}, check=False, capture_output=True)


def _folder(path: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f".{path}")
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


def _files(programs: Sequence[str]) -> set[str]:
    """The programs under their names in /bin, and the libraries they load."""
    found = set()
    for name in programs:
        path = str(shutil.which(name, path="/bin:/usr/bin"))
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        found |= {f"/bin/{name}", *re.findall(r"(/\S+) \(0x", said)}
    return found
