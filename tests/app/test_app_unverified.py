"""However an attempt ends without being kept, the files that it left are committed in a ref, as unverified."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, task, wait_for

WORK = {"files": {"one": "half done\n"}}
STAYS = {**WORK, "hang": True}


def refs(bench: Bench) -> list[str]:
    """The refs of unverified work."""
    return bench.git("for-each-ref", "--format=%(refname)", "refs/aiframe/unverified").split()


def laid(tmp_path: Path, turn: dict[str, Any], **limits: Any) -> Bench:
    """A project with one task whose check fails."""
    return lay_project(tmp_path, task("T1", "false"), turns=[dev("T1", **turn)], limits=limits)


@pytest.mark.parametrize(
    ("turn", "limits", "state", "outcome"),
    [
        pytest.param(WORK, {"max_attempts": 1}, {}, "verify_failed", id="its check fails"),
        pytest.param(STAYS, {}, {"timeout_sec": 2}, "timeout", id="out of time"),
        pytest.param(STAYS, {"stall_sec": 1}, {}, "stalled", id="it hangs"),
        pytest.param({**WORK, "fail": {"kind": "quota", "message": "limit"}}, {}, {}, "quota", id="quota"),
        pytest.param({**WORK, "fail": {"kind": "auth", "message": "401"}}, {}, {}, "auth", id="logged out"),
        pytest.param({**WORK, "exit": 3}, {}, {}, "transient", id="it crashes"),
    ],
)
def test_its_files_are_kept(
    tmp_path: Path, turn: dict[str, Any], limits: dict[str, Any], state: dict[str, Any], outcome: str
) -> None:
    bench = laid(tmp_path, turn, **limits)
    bench.edit_state(**state)
    bench.tick()
    assert bench.ended()[0][1] == outcome
    assert [bench.git("show", f"{ref}:one") for ref in refs(bench)[:1]] == ["half done"]
    assert bench.commits() == []


@pytest.mark.parametrize("how", ["stopped", "its runner is killed"])
def test_so_they_are_when_it_is_ended_from_outside(tmp_path: Path, how: str) -> None:
    bench = laid(tmp_path, STAYS)
    bench.tick("--no-wait")
    wait_for(lambda: bench.text("one"), "the agent's work")
    if how == "stopped":
        assert bench.do("stop").code == 0
    else:
        os.kill(bench.state["runner"]["pid"], signal.SIGKILL)
        bench.do("pause")
        bench.tick()
    wait_for(lambda: refs(bench), "the ref")
    assert bench.git("show", f"{refs(bench)[0]}:one") == "half done"
    assert (bench.where, bench.commits()) == ("PAUSED", [])


def test_the_same_files_are_kept_once_and_nothing_where_there_are_none(tmp_path: Path) -> None:
    bench = laid(tmp_path, {"fail": {"kind": "transient", "message": "busy"}}, transient_base_sec=0.01)
    bench.tick()
    assert refs(bench) == []
    for number in (1, 2):
        bench.write("one", "half done\n")
        bench.do("resume", "--now")
        bench.tick()
        assert len(bench.ended()) == number + 1
    assert len(refs(bench)) == 1


DEADLY_GIT = """\
#!/bin/sh
case " $* " in
*" read-tree -m -u "*)
    if test -e {folder}/one.txt && ! test -e {folder}/../killed; then
        touch {folder}/../killed
        rm {folder}/one.txt
        kill -9 $$
    fi ;;
esac
exec {git} "$@"
"""


def test_f28_work_that_is_half_taken_away_when_git_is_killed_does_not_get_onto_the_branch(tmp_path: Path) -> None:
    """The first task's files are not proven: the second begins without them, in whatever state the kill leaves them."""
    bench = lay_project(
        tmp_path,
        task("T1", "false"),
        task("T2", "test -e three.txt"),
        turns=[dev("T1", files={"one.txt": "1", "two.txt": "2"}), dev("T2", files={"three.txt": "3"})],
        limits={"max_attempts": 1, "transient_base_sec": 0.01},
        settings={"on_task_failure": "continue"},
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").write_text(DEADLY_GIT.format(folder=bench.root, git=shutil.which("git")))
    (tmp_path / "bin" / "git").chmod(0o755)
    for _ in range(3):
        bench.tick(PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        bench.do("resume", "--now")
    assert (bench.root / ".." / "killed").exists()
    assert bench.statuses() == {"T1": "failed", "T2": "done"}
    assert bench.commits() == ["T2: Task T2"]
    assert bench.git("ls-files", "one.txt", "two.txt") == ""
    assert {bench.git("show", f"{ref}:two.txt") for ref in refs(bench)} == {"2"}
