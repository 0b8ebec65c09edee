"""Podman for tests: a store of its own, and an image made of the machine's own programs, without any registry."""

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

IMAGE = "localhost/aiframe-test:1"
PROGRAMS = ("sh", "cat", "env", "grep", "head", "rm", "sleep", "touch")
WORKER_PROGRAMS = (*PROGRAMS, "git", "ln", "ls", "mkdir", "mkfifo", "timeout")
"""What an agent of the tests works with."""


@contextmanager
def store_with_image(programs: Sequence[str] = PROGRAMS) -> Iterator[tuple[dict[str, str], str]]:
    """The variables by which podman finds a store of its own, and the name of the image in it.

    The store's path is short: podman 4.3 waits twenty seconds for a socket whose path is too long, and goes on without.
    """
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        yield from _filled(Path(name), programs)


def _filled(folder: Path, programs: Sequence[str]) -> Iterator[tuple[dict[str, str], str]]:
    config = folder / "containers.conf"
    runtime = "runc" if shutil.which("runc") else "crun"
    config.write_text(
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "{runtime}"\n'
        f'tmp_dir = "{folder}/tmp"\n'  # else the end of one store would be felt in all
    )
    storage = folder / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n')
    variables = {"CONTAINERS_CONF": str(config), "CONTAINERS_STORAGE_CONF": str(storage)}
    environ = {**os.environ, **variables}
    archive = folder / "root.tar"
    with tarfile.open(archive, "w", dereference=True) as tar:
        for path in sorted(_files(programs)):
            tar.add(path, arcname=path.lstrip("/"))
    subprocess.run(["podman", "import", "--quiet", archive, IMAGE], env=environ, check=True, capture_output=True)
    try:
        yield variables, IMAGE
    finally:
        subprocess.run(["podman", "system", "reset", "--force"], env=environ, check=False, capture_output=True)


def _files(programs: Sequence[str]) -> set[str]:
    """The programs under their names in /bin, and the libraries they load."""
    found = set()
    for name in programs:
        path = str(shutil.which(name, path="/bin:/usr/bin"))
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        found |= {f"/bin/{name}", *re.findall(r"(/\S+) \(0x", said)}
    return found
