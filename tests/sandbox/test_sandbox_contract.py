"""What every sandbox keeps, and what each says of itself: the same table for each adapter, each really started."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.engines import ENGINE, store_with_image
from support.needs import needs
from support.sandboxed import folder, run_in, supervised

from aiframe.core.errors import AiframeError
from aiframe.core.ports import Command, Exit, Policy, Sandbox
from aiframe.sandbox.bubblewrap import Bubblewrap
from aiframe.sandbox.choose import SandboxMissing, choose
from aiframe.sandbox.limits import MIB, described, limiting_words


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    place = folder(tmp_path.resolve() / "with space, comma" / "shop")
    (place / "kept").write_text("as it was")
    return place


def environ(**more: str) -> dict[str, str]:
    return {**os.environ, "TOKEN": "s3cret", "LC_TEST": "yes", **more}


@pytest.fixture(
    params=[
        pytest.param("none", id="none"),
        pytest.param("bubblewrap", marks=needs("bwrap"), id="bubblewrap"),
        pytest.param("old bubblewrap", marks=needs("bwrap"), id="old bubblewrap"),
        pytest.param("container", marks=needs(ENGINE), id="container"),
    ]
)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "old bubblewrap":
        return Bubblewrap(str(shutil.which("bwrap")), environ(), old=True)
    if request.param == "container":
        store, image = request.getfixturevalue("engine")
        return choose("container", image, environ(**store))
    return choose(request.param, "", environ())


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        pytest.param("echo a; echo b >&2", 0, "a\n", "b\n", id="output"),
        pytest.param("exit 3", 3, "", "", id="exit code"),
        pytest.param("exec /nowhere", 127, "", "nowhere", id="no such program"),
        pytest.param("echo $EXTRA", 0, "given\n", "", id="a variable of the command's own"),
        pytest.param("cat; echo end", 0, "end\n", "", id="nothing on standard input"),
        pytest.param("echo x > new && cat new && rm new", 0, "x\n", "", id="writes"),
        pytest.param("pwd; cat kept", 0, "{ws}\nas it was", "", id="the same folder"),
        pytest.param("env | grep -c ^AIFRAME_RUN_", 0, "1\n", "", id="the run's cookie"),
        pytest.param("echo $LC_TEST", 0, "yes\n", "", id="locale"),
    ],
)
def test_every_sandbox(sandbox: Sandbox, workspace: Path, line: str, code: int, out: str, err: str) -> None:
    ran = run_in(sandbox, Policy(workspace, memory_bytes=512 * MIB, processes=100), line, EXTRA="given")
    assert (ran.code, ran.out) == (code, out.format(ws=workspace)), ran.said
    assert err in ran.err


def test_a_time_limit_ends_it(sandbox: Sandbox, workspace: Path) -> None:
    began = time.monotonic()
    ended, _, _ = supervised(sandbox, Policy(workspace), "trap '' TERM; sleep 100; sleep 100", timeout_s=1)
    assert ended.reason == "timeout"
    assert time.monotonic() - began < 30


def test_files_belong_to_whoever_runs_aiframe(sandbox: Sandbox, workspace: Path) -> None:
    assert run_in(sandbox, Policy(workspace), "touch made").code == 0
    assert (workspace / "made").stat().st_uid == os.getuid()


def confined(sandbox: Sandbox) -> bool:
    return sandbox.name != "none"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("env | grep TOKEN", id="a secret variable"),
        pytest.param("cat '{ws}/../beside'", id="a file beside"),
        pytest.param("echo x > read-only", id="write what may be read"),
        pytest.param("echo x > '{ws}/../shown'", id="write what may be read beside"),
    ],
)
def test_only_none_lets_it_through(sandbox: Sandbox, workspace: Path, line: str) -> None:
    for place in (workspace.parent / "beside", workspace.parent / "shown", workspace / "read-only"):
        place.write_text("as it was")
    policy = Policy(workspace, read=(workspace / "read-only", workspace.parent / "shown", workspace / "missing"))
    ran = run_in(sandbox, policy, line.format(ws=workspace))
    assert (ran.code != 0) == confined(sandbox), ran.said
    assert run_in(sandbox, policy, f"cat '{workspace}/../shown' read-only").code == 0


def test_more_may_be_writable(sandbox: Sandbox, workspace: Path) -> None:
    cache = folder(workspace.parent / "cache")
    policy = Policy(workspace, writable=(cache, workspace.parent / "missing"))
    assert run_in(sandbox, policy, f"touch '{cache}/x'").code == 0
    assert (cache / "x").exists()


def test_it_says_what_it_shows(sandbox: Sandbox, workspace: Path) -> None:
    told = "; ".join(sandbox.binds(Policy(workspace, read=(workspace / "kept",))))
    if confined(sandbox):
        assert f"{workspace} (writable)" in told
        assert f"{workspace / 'kept'} (read-only)" in told
        assert "network: none" in told
        assert "memory: not limited" in told
    else:
        assert "everything" in told


def test_a_sandbox_that_does_not_start_is_no_failed_command(sandbox: Sandbox, workspace: Path) -> None:
    if not confined(sandbox):
        return
    policy = Policy(workspace, run_id="x")
    gone = replace(sandbox.wrap(Command(("true",), workspace), policy), cwd=Path("/"))
    (workspace / "kept").unlink()
    workspace.rmdir()
    ended = subprocess.run(gone.argv, env={**sandbox.environment(), **gone.env}, capture_output=True, text=True)
    assert sandbox.start_failure(Exit(ended.returncode, stderr=ended.stderr)), ended
    assert not sandbox.start_failure(Exit(1, stderr="AssertionError\n"))
    sandbox.clean(policy)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(lambda ws: Policy(Path("/")), "cannot be the workspace", id="the root"),
        pytest.param(lambda ws: Policy(Path("/usr")), "cannot be the workspace", id="a folder of the root"),
        pytest.param(lambda ws: Policy(Path("shop")), "cannot be the workspace", id="relative"),
        pytest.param(lambda ws: Policy(ws / ".." / "shop"), "cannot be the workspace", id="not resolved"),
        pytest.param(lambda ws: Policy(ws, read=(ws / "link",)), "symbolic link", id="a link to protect"),
        pytest.param(lambda ws: Policy(ws, read=(ws / "link" / "passwd",)), "symbolic link", id="below a link"),
    ],
)
@pytest.mark.parametrize("kind", ["bubblewrap"])
@needs("bwrap")
def test_a_policy_that_cannot_be_kept(kind: str, workspace: Path, make: Callable[[Path], Policy], told: str) -> None:
    (workspace / "link").symlink_to("/etc")
    with pytest.raises(AiframeError, match=told) as caught:
        choose("bubblewrap", "", environ()).wrap(Command(("true",), workspace), make(workspace))
    assert caught.value.hint


@needs("bwrap")
@pytest.mark.parametrize("old", [False, True])
def test_memory_is_limited(workspace: Path, old: bool) -> None:
    sandbox = Bubblewrap(str(shutil.which("bwrap")), environ(), old=old)
    policy = Policy(workspace, memory_bytes=300 * MIB)
    grow = "python3 -c 'x = bytearray({} * 2**20)'"
    assert run_in(sandbox, policy, grow.format(100)).code == 0
    assert "MemoryError" in run_in(sandbox, policy, grow.format(400)).err
    full = run_in(sandbox, policy, "head -c 400M /dev/zero > /tmp/x")
    assert (full.code != 0) == (not old), "before 0.8, only processes are limited"


@needs("bwrap")
def test_processes_are_limited_for_everybody_but_root(tmp_path: Path) -> None:
    """The limit counts in the sandbox's own user namespace: what else the user runs does not matter."""
    words = limiting_words(Policy(tmp_path, processes=20))
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    lines = "for i in 1 2 3 4 5 6 7 8 9 10; do (for j in 1 2 3 4 5 6 7 8 9; do sleep 9 & done; wait) & done; wait"
    ended = subprocess.run(
        [*user, "bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", *words,
         "sh", "-c", lines],
        capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip
    assert "fork" in ended.stderr, ended


@pytest.mark.parametrize(
    ("uid", "told"),
    [(0, "processes: not limited, because aiframe runs as root"), (1000, "processes: at most 20")],
)
def test_what_is_not_enforced_is_said(tmp_path: Path, uid: int, told: str) -> None:
    assert told in described(Policy(tmp_path, processes=20, memory_bytes=1), lambda: uid)


def programs(place: Path, *names: str, **scripts: str) -> dict[str, str]:
    """An environment whose PATH has links to the programs *names* and the shell *scripts*, and nothing else."""
    for name in names:
        (folder(place) / name).symlink_to(str(shutil.which(name)))
    for name, script in scripts.items():
        (folder(place) / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)
    return {**os.environ, "PATH": str(place)}


NO_NAMESPACES = "echo 'bwrap: Creating new namespace failed: Operation not permitted' >&2; exit 1"


@pytest.mark.parametrize(
    ("kind", "image", "scripts", "told", "cure"),
    [
        pytest.param("auto", "", {}, "bubblewrap is not installed", "apt-get install bubblewrap", id="nothing"),
        pytest.param(
            "auto", "", {"bwrap": NO_NAMESPACES}, "Creating new namespace failed", "sandbox: none", id="not allowed"
        ),
        pytest.param(
            "bubblewrap", "x", {"docker": ""}, "bubblewrap is not installed", "sandbox: none", id="bubblewrap"
        ),
        pytest.param("auto", "x", {}, "neither podman nor docker", "apt-get install podman", id="no engine"),
        pytest.param("container", "x", {"docker": "echo no daemon >&2; exit 1"}, "no daemon", "podman", id="no daemon"),
        pytest.param("container", "", {"docker": ""}, "no container image is named", "image: NAME", id="no image"),
    ],
)
def test_where_none_works_the_ways_out_are_told(
    tmp_path: Path, kind: str, image: str, scripts: dict[str, str], told: str, cure: str
) -> None:
    with pytest.raises(SandboxMissing) as caught:
        choose(kind, image, programs(folder(tmp_path / "bin"), **scripts))  # type: ignore[arg-type]
    assert told in caught.value.message
    assert cure in caught.value.hint
    assert "none" in caught.value.hint


def test_auto_takes_a_container_where_bubblewrap_may_not_start(tmp_path: Path) -> None:
    environ = programs(tmp_path / "bin", bwrap=NO_NAMESPACES, docker="exit 0")
    assert choose("auto", "ours", environ).name == "docker ours"


@needs("bwrap")
def test_it_is_tried_once_for_each_process(tmp_path: Path) -> None:
    script = f'echo x >> {tmp_path}/starts; exec {shutil.which("bwrap")} "$@"'
    environ = programs(tmp_path / "bin", bwrap=script)
    assert [choose("auto", "", environ).name for _ in range(3)] == ["bubblewrap"] * 3
    assert (tmp_path / "starts").read_text() == "x\n"


@pytest.fixture(scope="session")
def engine() -> Iterator[tuple[dict[str, str], str]]:
    """A container engine with a store of its own and an image made of this machine's own files."""
    with store_with_image() as made:
        yield made
