"""Docker for tests: a daemon of its own, found by DOCKER_HOST, that takes no part in the machine's network."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 60
_NO_PODMAN = "#!/bin/sh\necho 'these tests are about docker' >&2\nexit 125\n"


@contextmanager
def own_daemon() -> Iterator[dict[str, str]]:
    """The variables by which docker finds a daemon with an empty store, and by which podman does not work."""
    with tempfile.TemporaryDirectory(prefix="dock-") as name:
        folder = Path(name)
        (folder / "bin").mkdir()
        (folder / "bin" / "podman").write_text(_NO_PODMAN)
        (folder / "bin" / "podman").chmod(0o755)
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        variables = {"DOCKER_HOST": f"unix://{folder}/socket", "PATH": path}
        words = [
            "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs",
            f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid",
            f"--host={variables['DOCKER_HOST']}",
        ]  # fmt: skip
        with (folder / "log").open("w") as log, subprocess.Popen(words, stdout=log, stderr=log) as daemon:
            try:
                _wait_for(daemon, {**os.environ, **variables}, folder / "log")
                yield variables
            finally:
                daemon.terminate()
                daemon.wait()
                namespace = (
                    folder / "exec" / "netns" / "default"
                )  # stays mounted once a container had the host's network
                subprocess.run(["umount", "--lazy", namespace], capture_output=True, check=False)


def _wait_for(daemon: subprocess.Popen[bytes], environ: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while subprocess.run(["docker", "version"], env=environ, capture_output=True, check=False).returncode:
        assert daemon.poll() is None, f"dockerd has ended:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"dockerd does not answer:\n{log.read_text()}"
        time.sleep(0.1)
