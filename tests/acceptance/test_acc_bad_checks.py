"""Verify commands that misbehave, each for real: a clear outcome, nothing of them left over, and nothing lost."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from support.needs import needs
from support.projects import Bench, dev, lay_project, lock_free, task, wait_for

WORK = dev("T1", files={"one": "1\n"})
SANDBOXES = pytest.mark.parametrize("sandbox", ["none", pytest.param("auto", marks=needs("bwrap"))])


def checked(tmp_path: Path, *lines: str, sandbox: str = "none", **settings: Any) -> Bench:
    """A project whose task is checked by *lines*, after one tick."""
    bench = lay_project(
        tmp_path, task("T1", *lines), turns=[WORK], limits={"max_attempts": 1},
        settings={"sandbox": sandbox, **settings},
    )  # fmt: skip
    bench.tick()
    return bench


def unfinished(bench: Bench) -> None:
    """The work did not count, and it is kept."""
    assert bench.statuses() == {"T1": "failed"}, bench.log()
    assert bench.commits() == []
    assert bench.text("one") == "1\n"
    refs = bench.git("for-each-ref", "--format=%(refname)", "refs/aiframe/unverified").splitlines()
    assert [bench.git("show", f"{ref}:one") for ref in refs] == ["1"]


def gone(place: Path) -> None:
    """Nothing writes into *place* any more."""

    def still() -> bool:
        size = place.stat().st_size
        time.sleep(1)
        return place.stat().st_size == size

    wait_for(still, "the end of the last process")


@SANDBOXES
def test_one_that_never_ends(tmp_path: Path, sandbox: str) -> None:
    bench = checked(
        tmp_path, "trap '' TERM INT HUP; while :; do echo on; sleep 0.1; done",
        sandbox=sandbox, gates={"timeout_min": 0.03},
    )  # fmt: skip
    assert "did not end within 1.8 s" in bench.results()[0]["error"]
    unfinished(bench)
    assert lock_free(bench)


def test_one_that_prints_a_gigabyte(tmp_path: Path) -> None:
    bench = checked(tmp_path, "echo first; yes 'a line of it' | head -c 1000000000; echo; echo last; exit 3")
    (gate,) = bench.results()[0]["gates"]
    log = bench.root / gate["log_file"]
    assert gate["exit_code"] == 3
    assert log.stat().st_size < 20_000_000
    told = log.read_text()
    assert (told[:6], told[-6:]) == ("first\n", "\nlast\n")
    assert "bytes are left out here" in told
    assert "last" in bench.log()
    unfinished(bench)


@SANDBOXES
def test_one_that_leaves_processes_behind(tmp_path: Path, sandbox: str) -> None:
    """Each in a session of its own, with nothing of the environment, and holding the output open."""
    beat = shlex.quote("while :; do echo x >>beats.log; sleep 0.1; done")
    bench = checked(
        tmp_path, "echo '*.log' >.git/info/exclude 2>/dev/null; touch beats.log; "
        f"for n in 1 2 3 4 5; do env -i PATH=$PATH setsid sh -c {beat} & done; sleep 0.5; exit 3",
        sandbox=sandbox,
    )  # fmt: skip
    assert bench.results()[0]["gates"][0]["exit_code"] == 3
    gone(bench.root / "beats.log")
    assert bench.statuses() == {"T1": "failed"}


@SANDBOXES
@pytest.mark.parametrize(
    "line",
    [
        pytest.param("read answer", id="reads what nobody types"),
        pytest.param("echo sure? >/dev/tty && read answer </dev/tty", id="opens the terminal"),
        pytest.param("test -t 0", id="looks whether there is one"),
    ],
)
def test_one_that_needs_a_terminal(tmp_path: Path, line: str, sandbox: str) -> None:
    began = time.monotonic()
    bench = checked(tmp_path, line, sandbox=sandbox)
    assert time.monotonic() - began < 60, "it waited for somebody"
    assert bench.results()[0]["error"].startswith("verify_failed")
    unfinished(bench)
