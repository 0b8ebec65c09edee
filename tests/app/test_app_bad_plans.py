"""What a person can get wrong before any work: told with its cure, by every way to start, and nothing is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from app.test_app_worktree import KIND, TARGET, lay, repository, shown
from support.needs import mounting, needs
from support.projects import Bench, dev, git, lay_project, task, tasks_yaml

from aiframe.app.project.site import open_site
from aiframe.app.running import forecast
from aiframe.core.errors import AiframeError

STARTS = (("tick",), ("run",), ("run", "--dry-run"))
"""The ways to begin work, or to see how it would begin."""


def refused(bench: Bench, said: str, *ways: tuple[str, ...]) -> None:
    """Each of the *ways* to start says *said*, with a cure, and no task is begun."""
    for way in ways or STARTS:
        ended = bench.do(*way)
        assert ended.code in (1, 2), (way, ended.said)
        assert said in ended.said, (way, ended.said)
        assert "Traceback" not in ended.said
    assert bench.prompts() == []


# The plan -------------------------------------------------------------------------------------------------------------


def chain(*names: str) -> str:
    """Tasks each of which waits for the one before it, and the first for the last."""
    return tasks_yaml(*(task(name, "true", blocked_by=[names[at - 1]]) for at, name in enumerate(names)))


RANGE = {"range": [1, 3]}
NO_LOCK = tasks_yaml(task("T1", "true", locks={"writes": ["apii"]}))


@pytest.mark.parametrize(
    ("tasks", "settings", "said"),
    [
        pytest.param(chain("T1", "T2", "T3", "T4"), {}, "T1 -> T4 -> T3 -> T2 -> T1", id="a cycle, named in full"),
        pytest.param(NO_LOCK, {"resources": {"api": ["src/**"]}}, "T1 locks 'apii', which is no resource", id="a lock"),
        pytest.param(tasks_yaml(), {"resources": {"port": {"range": [9, 8]}}}, "range 9 to 8 is empty", id="a range"),
    ],
)
def test_by_every_way_to_start(tmp_path: Path, tasks: str, settings: dict[str, Any], said: str) -> None:
    bench = lay_project(tmp_path, settings=settings)
    bench.write("TASKS.yaml", tasks)
    refused(bench, said)


@pytest.mark.parametrize(
    ("tasks", "settings", "said"),
    [
        pytest.param(chain("T1"), {}, "T1 -> T1", id="a task that waits for itself"),
        pytest.param(tasks_yaml(task("T1", locks={"writes": ["/etc/x"]})), {}, "leads out", id="a lock outside"),
        pytest.param("", {"resources": {"port": {"range": [1]}}}, "no pair of numbers", id="half a range"),
        pytest.param("", {"resources": {"port": {"range": ["a", "b"]}}}, "no pair", id="letters"),
        pytest.param("", {"resources": {"port": {"range": [0, 99999]}}}, "too long", id="a long range"),
        pytest.param("", {"resources": {"db": {"slots": 0}}}, "slots must be a whole number", id="no slot"),
        pytest.param("", {"resources": {"db": {"slots": -1}}}, "slots must be", id="less than none"),
        pytest.param("", {"resources": {"db": {"slots": 1.5}}}, "slots must be", id="half a slot"),
        pytest.param("", {"resources": {"db": {}}}, "neither what it holds nor how many", id="nothing said"),
        pytest.param("", {"resources": {"b": {"values": ["x", "x"]}}}, "stands there twice", id="the same value"),
        pytest.param("", {"resources": {"b": {"values": ["x"], "slots": 1}}}, "slots and values", id="two numbers"),
        pytest.param("", {"resources": {"b": {"values": []}}}, "neither what it holds nor how many", id="no value"),
        pytest.param("", {"resources": {"p-x": RANGE, "P_x": RANGE}}, "would both be AIFRAME_RESOURCE_P_X", id="alike"),
        pytest.param("", {"resources": {"a b": ["x"]}}, "no name of a resource", id="a name"),
        pytest.param("", {"resources": {"api": ["../x/**"]}}, "names no file of the project", id="above"),
        pytest.param("", {"parallel": 1000}, "too many", id="too many at once"),
        pytest.param("", {"parallel": 0}, "parallel must be a whole number", id="none at once"),
        pytest.param("", {"parallel": 2}, "one folder for all of them", id="no workspaces"),
    ],
)
def test_a_plan_or_setting_that_cannot_be(tmp_path: Path, tasks: str, settings: dict[str, Any], said: str) -> None:
    bench = lay_project(tmp_path, settings=settings)
    bench.write("TASKS.yaml", tasks)
    with pytest.raises(AiframeError, match=said) as refusal:
        forecast(open_site(bench.root, os.environ))
    assert refusal.value.hint
    assert len(str(refusal.value).splitlines()) == 1  # nothing is said twice


def test_a_pattern_that_matches_nothing_is_only_told(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true", locks={"writes": ["SPEC.md", "sorce/**"]}),
        turns=[dev("T1", files={"sorce/x": ""})],
    )  # fmt: skip
    before = bench.stamps()
    for _ in range(2):  # in a project that has no repository yet, and in one that has
        dry = bench.do("run", "--dry-run")
        assert (dry.code, dry.out.splitlines()[-1]) == (0, "look: T1: sorce/** matches no file that is there")
        assert bench.stamps() == before
        git(bench.root, "init", "-q")
        git(bench.root, "add", "-A")
        before = bench.stamps()
    assert bench.tick().code == 0
    assert bench.statuses() == {"T1": "done"}


# The repository -------------------------------------------------------------------------------------------------------


def _bare(folder: Path) -> Path:
    git(folder, "clone", "-q", "--bare", str(repository(folder)), "bare.git")
    return folder / "bare.git"


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    git(folder / "empty", "init", "-q")
    return folder / "empty"


def _no_base(folder: Path) -> Path:
    root = repository(folder)
    git(root, "branch", "-m", "master", "other")
    return root


def _below(folder: Path) -> Path:
    (repository(folder) / "src").mkdir()
    return folder / "my app" / "src"


def _plain(folder: Path) -> Path:
    (folder / "plain").mkdir()
    return folder / "plain"


@pytest.mark.parametrize(
    ("make", "said", "cure"),
    [
        pytest.param(_bare, "is a bare repository", "name a clone of it", id="bare"),
        pytest.param(_empty, "has no commit yet", "make a first commit", id="no commit"),
        pytest.param(_no_base, "has no commit master", "workspace.base in PROJECT.yaml", id="no base"),
        pytest.param(_below, "is a folder inside the repository", "name", id="a folder in one"),
        pytest.param(_plain, "is no git repository", "git init", id="none"),
        pytest.param(lambda folder: folder / "gone", "there is no folder", "workspace.repo", id="no folder"),
    ],
)
def test_a_repository_that_cannot_be_worked_in(
    tmp_path: Path, make: Callable[[Path], Path], said: str, cure: str
) -> None:
    repo = make(tmp_path)
    bench = lay(tmp_path, repo, task("T1", "true"), turns=[dev("T1", files={"1": ""})], base="master")
    dry = bench.do("run", "--dry-run")
    assert (dry.code, said in dry.err, cure in dry.err) == (1, True, True), dry.said
    refused(bench, said, ("run",), ("run", "--parallel", "2"), ("tick",))
    assert bench.where == "ERROR"
    assert cure in bench.state["failure"]["hint"]


def test_a_submodule_is_worked_for_like_any_other(tmp_path: Path) -> None:
    outer = repository(tmp_path / "outer")
    inner = repository(tmp_path / "inner")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    git(outer, "commit", "-q", "-m", "with a submodule")
    lib = outer / "lib"
    (lib / "a.txt").write_text("a person is at work\n")
    before = shown(outer), shown(lib)
    bench = lay(tmp_path, lib, task("T1", "grep -q one one.txt"), turns=[dev("T1", files={"one.txt": "one\n"})])
    assert bench.tick().code == 0, bench.log()
    assert git(lib, "log", "-1", "--format=%s", TARGET) == "T1: Task T1"
    assert (shown(outer), shown(lib)) == before


def test_a_submodule_that_an_agent_moves_stays_and_is_told(tmp_path: Path) -> None:
    outer, inner = repository(tmp_path / "outer"), repository(tmp_path / "inner")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    git(outer, "commit", "-q", "-m", "with a submodule")
    elsewhere = f"git update-index --cacheinfo 160000,{'1' * 40},lib"
    moves = f"{elsewhere} && git -c user.name=a -c user.email=a@example.org commit -q -m moved"
    bench = lay(tmp_path, outer, task("T1", "test -f one"), turns=[dev("T1", files={"one": ""}, run=[moves])])
    assert bench.tick().code == 0, bench.log()
    assert git(outer, "rev-parse", f"{TARGET}:lib") == git(inner, "rev-parse", "HEAD")
    assert "its commits move submodules, which stay as they are: lib" in bench.do("digest").out


@pytest.mark.parametrize("ignored", [False, True], ids=["shown by git", "ignored by git"])
def test_workspaces_in_the_persons_checkout(tmp_path: Path, ignored: bool) -> None:
    repo = repository(tmp_path, {"a.txt": "a\n", ".gitignore": "state/\n" if ignored else "*.log\n"})
    before = shown(repo)
    bench = lay(tmp_path, repo, task("T1", "test -f 1"), turns=[dev("T1", files={"1": ""})])
    bench = replace(bench, env={**os.environ, "XDG_STATE_HOME": str(repo / "state")})
    looked = bench.do("doctor")
    assert ("would lie in your checkout" in looked.out) is not ignored
    if ignored:
        assert bench.tick().code == 0, bench.log()
        assert bench.statuses() == {"T1": "done"}
    else:
        refused(bench, "would lie in your checkout", ("tick",))
        assert not (repo / "state").exists()
    assert shown(repo) == before


# Others at the same time ----------------------------------------------------------------------------------------------


def test_two_runs_at_once_share_the_work(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), task("T2", "true"),
        turns=[dev("T1", delay=1, files={"1": ""}), dev("T2", files={"2": ""})],
    )  # fmt: skip
    argv = bench.argv("run", "--project", str(bench.root))
    both = [subprocess.Popen(argv, env=bench.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    said = [run.communicate(timeout=60)[0].decode() for run in both]
    assert [run.returncode for run in both] == [0, 0], said
    assert all("Done: no task is open" in each for each in said)
    assert (bench.statuses(), len(bench.runs())) == ({"T1": "done", "T2": "done"}, 2)
    assert bench.commits() == ["T1: Task T1", "T2: Task T2"]


# A full disk ----------------------------------------------------------------------------------------------------------

DISK = """\
project=$1 state=$2 python=$3 said=$4
mount -t tmpfs -o size=500k tmpfs "$state"
say() { "$python" -m aiframe "$@" --project "$project" >> "$said" 2>&1; }
say tick
say status
echo "-- room" >> "$said"
mount -o remount,size=32m "$state"
say resume
say tick
"""


@needs("unshare")
@pytest.mark.parametrize("kind", ["worktree", "clone"])
def test_a_disk_that_is_full_while_a_workspace_is_made(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KIND, "kind", kind)
    repo = repository(tmp_path)
    (repo / "big.bin").write_bytes(os.urandom(800_000))
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "big")
    before = shown(repo)
    whole = "test $(wc -c <big.bin) = 800000 && grep -q one one.txt"
    bench = lay(tmp_path, repo, task("T1", whole), turns=[dev("T1", files={"one.txt": "one\n"})])
    (tmp_path / "state").mkdir()
    said = tmp_path / "said"
    words = [*mounting(), "sh", "-c", DISK, "sh", str(bench.root), str(tmp_path / "state"), sys.executable, str(said)]
    subprocess.run(words, env=bench.env, check=True, capture_output=True, timeout=100)
    full, later = said.read_text().split("-- room")
    assert "Traceback" not in full + later
    assert "make room" in full
    assert "0/1 done" in full
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"}), later
    assert git(repo, "log", "--format=%s", TARGET).splitlines() == ["T1: Task T1", "big", "first"]
    assert git(repo, "diff", "--name-only", "master", TARGET) == "one.txt"
    assert shown(repo) == before
