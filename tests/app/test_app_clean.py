"""`aiframe clean`: what finished runs left goes, and nothing that is needed, unmerged, alive or to be looked at."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from app.test_app_lanes import lay as lay_lanes
from app.test_app_lanes import proven
from app.test_app_worktree import TARGET, lay, repository, workspace
from support.engines import ENGINE, store_with_image
from support.needs import needs
from support.projects import Bench, Ran, dev, git, lay_project, lock_free, task, tasks_yaml, wait_for

from aiframe.app.cleaning.keeping import Known, why_run_stays
from aiframe.app.cleaning.places import clean_workspaces
from aiframe.app.project.site import open_site
from aiframe.app.reports.attempt import Attempt
from aiframe.core.model import HandedWork, HeldWork, Project, Question, Role, Settings, State, Task, TaskStatus
from aiframe.store.layout import Layout
from aiframe.store.run_files import clear_run
from aiframe.store.tasks_file import load_tasks
from aiframe.workspaces.backups import kept_refs
from aiframe.workspaces.git import Repository

HELD = HeldWork("outside of its scope", "t", "refs/aiframe/held/T1", "c")
NOT_PLANNED = Project(State.SPEC_READY)


def clean(bench: Bench, *words: str) -> Ran:
    """`aiframe clean` where there is no container engine."""
    return bench.do("clean", *words, PATH=str(_without_engines()))


@functools.cache
def _without_engines() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bin-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "git").symlink_to(str(shutil.which("git")))
    return folder


def run_of(task_id: str = "T1", **more: Any) -> Attempt:
    return Attempt("R1", role="DEV", task=task_id, outcome="done", started=100.0, seconds=50.0, **more)


def known(project: Project | None = None, *, tasks: tuple[Task, ...] = (), **more: Any) -> Known:
    """A project with a later run, so that R1 is not the last."""
    later = Attempt("R2", role="DEV", task="T9", outcome="done", started=200.0)
    project = project or Project(State.DEV_READY)
    return Known(project, tasks or (Task("T1", "one", status=TaskStatus.DONE),), (run_of(), later), **more)


@pytest.mark.parametrize(
    ("seen", "run", "why"),
    [
        pytest.param(known(), run_of(), "", id="its task is done"),
        pytest.param(known(tasks=(Task("T1", "", status=TaskStatus.CANCELLED),)), run_of(), "", id="cancelled"),
        pytest.param(known(), run_of("T7"), "", id="its task is in no plan any more"),
        pytest.param(known(), run_of(""), "", id="a role without a task"),
        pytest.param(known(tasks=(Task("T1", ""),)), run_of(), "not over (todo)", id="to do"),
        pytest.param(known(tasks=(Task("T1", "", status=TaskStatus.FAILED),)), run_of(), "not over", id="failed"),
        pytest.param(known(tasks=(Task("T1", "", status=TaskStatus.REVIEW),)), run_of(), "review", id="in review"),
        pytest.param(known(Project(State.DEV_READY, review_items=("T1",))), run_of(), "review", id="to be reviewed"),
        pytest.param(
            known(Project(State.DEV_READY, review_items=("T1",), settings=Settings(interactive_mode=False))), run_of(),
            "", id="done, and nobody reviews",
        ),
        pytest.param(known(Project(State.DEV_READY, held={"T1": HELD})), run_of(), "aiframe approve T1", id="held"),
        pytest.param(
            known(Project(State.DEV_READY, questions=(Question("Q1", "?", "T1"),))), run_of(), "question",
            id="a question",
        ),
        pytest.param(
            known(Project(State.DEV_READY, questions=(Question("Q1", "?", "T1", answer="yes"),))), run_of(), "",
            id="an answered question",
        ),
        pytest.param(
            known(Project(State.WORK_WAITING, handed=HandedWork(Role.DEV, "T1", "p", "w"))), run_of(), "your hands",
            id="in a person's hands",
        ),
        pytest.param(known(lanes=("T1",)), run_of(), "in a lane", id="an open lane"),
        pytest.param(known(NOT_PLANNED), run_of(""), "the project is in SPEC_READY", id="before there is a plan"),
        pytest.param(known(Project(State.ERROR)), run_of(""), "in ERROR", id="an error to look at"),
        pytest.param(known(busy="a step is running"), run_of(), "a step is running", id="busy"),
        pytest.param(known(), run_of().__class__("R1", task="T1", outcome="running"), "under way", id="alive"),
        pytest.param(known(), run_of().__class__("R1", task="T1"), "how it ended", id="no end"),
        pytest.param(known(), Attempt("R2", task="T1", outcome="done", started=200.0), "the last one", id="the last"),
    ],
)  # fmt: skip
def test_why_the_logs_of_a_run_stay(seen: Known, run: Attempt, why: str) -> None:
    told = why_run_stays(seen, run)
    assert why in told
    assert bool(told) is bool(why)


@pytest.mark.parametrize(("before", "stays"), [(149.0, True), (151.0, False)], ids=["younger", "older"])
def test_how_old_a_run_has_to_be(before: float, stays: bool) -> None:
    assert bool(why_run_stays(known(), run_of(), before=before)) is stays


# Logs -----------------------------------------------------------------------------------------------------------------


def worked_off(folder: Path) -> Bench:
    """A project with T1 done at the second try, T2 held for a person, and T3 done."""
    tasks = [
        task("T1", "grep -q good one.txt"), task("T2", "true", locks={"writes": ["src/"]}), task("T3", "true"),
    ]  # fmt: skip
    bench = lay_project(
        folder, *tasks,
        turns=[
            dev("T1", files={"one.txt": "bad\n"}), dev("T1", attempt=2, files={"one.txt": "good\n"}),
            dev("T2", files={"elsewhere.txt": "x\n"}), dev("T3", files={"three.txt": "3\n"}),
        ],
    )  # fmt: skip
    for _ in range(3):
        bench.tick()
    assert bench.statuses() == {"T1": "done", "T2": "review", "T3": "done"}, bench.log()
    return bench


def told(bench: Bench) -> tuple[Any, Any]:
    """What is told of the runs, and of what was spent."""
    runs = json.loads(bench.do("history", "--json").out)
    status = json.loads(bench.do("status", "--json").out)
    return runs, {key: value for key, value in status.items() if "spen" in key or "tasks" in key or "budget" in key}


def left(bench: Bench) -> dict[str, list[str]]:
    """The files of each run, by its task."""
    task_of = {e["run_id"]: e["task"] for e in bench.events if e["kind"] == "step_started"}
    found: dict[str, list[str]] = {}
    for run in bench.runs():
        log = [path.name for path in [bench.root / "logs" / f"tick-{run.name}.log"] if path.exists()]
        names = [str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()]
        found.setdefault(task_of[run.name], []).extend([*sorted(names), *(["log"] if log else [])])
    return found


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project that was worked off, to be copied."""
    return worked_off(tmp_path_factory.mktemp("worked")).root.parent


@pytest.fixture
def bench(ground: Path, tmp_path: Path) -> Bench:
    shutil.copytree(ground, tmp_path, dirs_exist_ok=True, symlinks=True)
    return Bench(tmp_path / "shop")


def test_logs_of_finished_runs_go_and_what_is_told_of_them_stays(bench: Bench) -> None:
    before, all_files = told(bench), left(bench)
    looked = clean(bench, "--dry-run")
    assert (looked.code, left(bench)) == (0, all_files)
    done = clean(bench)
    assert done.code == 0, done.said
    after = left(bench)
    assert after["T1"] == ["result.json", "result.json"]
    assert {name: after[name] for name in ("T2", "T3")} == {name: all_files[name] for name in ("T2", "T3")}
    assert told(bench) == before
    assert "kept: logs" in done.out
    assert "its work is held for your word: `aiframe approve T2`" in done.out
    assert "it is the last one" in done.out
    assert looked.out == done.out.replace("removed", "would remove")
    again = clean(bench)
    assert "removed 0" in again.out
    assert lock_free(bench)
    assert bench.do("undo", "T1").code == 0
    assert bench.do("approve", "T2").code == 0


def test_one_run_alone(bench: Bench) -> None:
    first, second, held = (run.name for run in bench.runs()[:3])
    done = clean(bench, "--run", first)
    assert (done.code, "removed 1, " in done.out) == (0, True), done.said
    assert left(bench)["T1"][0] == "result.json"
    assert (bench.root / "logs" / "runs" / second / "agent.jsonl").exists()
    stays = clean(bench, "--run", held)
    assert (stays.code, "held for your word" in stays.out) == (1, True)
    assert clean(bench, "--run", "none").code == 2
    assert "there is no log of a run" in bench.do("logs", "--run", first).err


def test_of_young_runs_nothing_goes(bench: Bench) -> None:
    before = left(bench)
    done = clean(bench, "--older-than", "1")
    assert (done.code, "removed 0" in done.out, left(bench)) == (0, True, before)


def test_work_that_no_branch_holds_is_kept_in_its_ref(bench: Bench) -> None:
    refs = bench.git("for-each-ref", "--format=%(refname)", "refs/aiframe").splitlines()
    assert [ref for ref in refs if "unverified" in ref], "the first attempt at T1 left no ref"
    merged = bench.git("commit-tree", "-m", "as it is", "-p", "HEAD", "HEAD^{tree}")
    bench.git("update-ref", "refs/aiframe/unverified/merged", merged)
    first = bench.git("rev-list", "--max-parents=0", "HEAD")
    landed = with_file(bench, first, "three.txt", "3\n")  # as T3 has landed, on other files than there were
    bench.git("update-ref", "refs/aiframe/unverified/landed", landed)
    lost = with_file(bench, landed, "lost.txt", "in no branch\n")
    bench.git("update-ref", "refs/aiframe/unverified/lost", lost)
    refs = sorted([*refs, "refs/aiframe/unverified/lost"])
    done = clean(bench)
    assert "removed: backup refs/aiframe/unverified/merged" in done.out
    assert "removed: backup refs/aiframe/unverified/landed" in done.out
    assert bench.git("for-each-ref", "--format=%(refname)", "refs/aiframe").splitlines() == refs


def with_file(bench: Bench, parent: str, name: str, text: str) -> str:
    """A commit on top of *parent* that adds the file *name*."""

    def fed(text: str, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=bench.root, input=text, capture_output=True, text=True, check=True
        ).stdout.strip()

    blob = fed(text, "hash-object", "-w", "--stdin")
    tree = fed(f"{bench.git('ls-tree', parent)}\n100644 blob {blob}\t{name}\n", "mktree")
    return bench.git("commit-tree", "-m", f"with {name}", "-p", parent, tree)


def test_a_link_in_the_place_of_logs_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    first = bench.runs()[0]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine\n")
    shutil.rmtree(first / "gates", ignore_errors=True)
    (first / "gates").symlink_to(outside)
    second = bench.runs()[1]
    second.rename(second.with_name("away"))
    second.symlink_to(outside)
    done = clean(bench)
    assert done.code == 0, done.said
    assert (outside / "mine.txt").exists()
    assert not (first / "gates").is_symlink()
    assert f"{second.name} (T1): " in done.out


@needs("strace")
def test_killed_at_any_removal_the_next_one_goes_on(bench: Bench) -> None:
    before, kills = told(bench), 0
    for number in range(1, 100):
        inject = f"inject=?unlink,?unlinkat,?rmdir:signal=KILL:when={number}"
        strace = ["strace", "-f", "-q", "-o", os.devnull, "-e", "trace=?unlink,?unlinkat,?rmdir", "-e", inject]
        argv = [*strace, *bench.argv("clean", "--project", str(bench.root))]
        ended = subprocess.run(argv, cwd=bench.root, capture_output=True, timeout=60, check=False)
        if ended.returncode == 0:
            break
        kills += 1
    assert kills > 3
    assert told(bench) == before
    assert left(bench)["T1"] == ["result.json", "result.json"]
    assert "agent.jsonl" in left(bench)["T2"]


def test_while_a_step_runs_no_logs_go(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), task("T2", "true"),
        turns=[dev("T1", files={"one.txt": "1\n"}), dev("T2", delay=60)],
    )  # fmt: skip
    bench.tick("--no-wait")
    wait_for(lambda: len(bench.text("logs/events.ndjson")) and len(bench.runs()) == 2, "the second step")
    before = left(bench)
    done = clean(bench)
    assert (done.code, "a step is running" in done.out, left(bench)["T1"]) == (0, True, before["T1"])
    bench.do("stop")
    assert "removed: logs" in clean(bench).out


def test_after_a_runner_died_the_tick_comes_first(bench: Bench) -> None:
    (bench.control_dir / "carrying").write_text("")
    done = clean(bench)
    assert ("removed 0" in done.out, "`aiframe tick` does that" in done.out) == (True, True)


def test_a_project_that_was_never_ticked(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    done = clean(bench)
    assert (done.code, done.out) == (0, "there is nothing to clean\n")
    assert not (bench.root / ".git").exists()


def test_a_run_that_left_no_result_goes_whole(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    folder = layout.run_dir("R1") / "gates"
    folder.mkdir(parents=True)
    (folder / "verify-1.log").write_bytes(b"12345")
    layout.tick_log("R1").write_bytes(b"123")
    assert clear_run(layout, "R1", remove=False) == (3, 8)
    assert clear_run(layout, "R1", remove=True) == (3, 8)
    assert clear_run(layout, "R1", remove=True) == (0, 0)
    assert not layout.run_dir("R1").exists()


# Workspaces and lanes -------------------------------------------------------------------------------------------------


def test_workspaces_of_tasks_that_are_over_go_and_their_work_is_kept(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    bench = lay(
        tmp_path, repo, task("T1", "false"), task("T2", "true"), turns=[dev("T1", files={"one.txt": "1\n"})],
    )  # fmt: skip
    bench.tick()
    place = workspace(bench, "T1")
    aside = place.with_name("T1.aside-1")
    aside.mkdir()
    (aside / "mine.txt").write_text("mine\n")
    done = clean(bench)
    assert f"kept: workspace {place}: T1 is not over" in done.out
    assert (place / "one.txt").exists()
    (place / "two.txt").write_text("not committed\n")
    bench.write("TASKS.yaml", tasks_yaml(task("T1", "false", status="cancelled"), task("T2", "true")))
    gone = clean(bench)
    assert f"removed: workspace {place}" in gone.out, gone.said
    assert not place.exists()
    assert (aside / "mine.txt").exists()
    assert "look what is in it" in gone.out
    backups = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup").splitlines()
    assert any("two.txt" in git(repo, "ls-tree", "--name-only", ref).split() for ref in backups)
    assert all(f"kept: backup {ref}" in gone.out for ref in backups)
    for ref in backups:
        git(
            repo,
            "branch",
            "-f",
            TARGET,
            git(repo, "commit-tree", "-m", "m", "-p", TARGET, "-p", ref, f"{ref}^{{tree}}"),
        )
    merged = clean(bench)
    assert all(f"removed: backup {ref}" in merged.out for ref in backups), merged.said
    assert git(repo, "for-each-ref", "refs/aiframe/backup") == ""


def test_of_a_clone_only_the_folder_is_told(tmp_path: Path) -> None:
    bench = lay(tmp_path, repository(tmp_path), task("T1", "false"), turns=[dev("T1")], kind="clone")
    bench.tick()
    place = workspace(bench, "T1")
    assert place.with_name(".T1.git").is_dir()
    told = [line for line in clean(bench).out.splitlines() if "workspace" in line]
    assert told == [f"kept: workspace {place}: T1 is not over (todo)"]


def test_a_task_that_is_taken_up_again_meanwhile_keeps_its_workspace(tmp_path: Path) -> None:
    tasks = [task(name, "false") for name in ("T1", "T2")]
    bench = lay(tmp_path, repository(tmp_path), *tasks, turns=[dev("T1", files={"one.txt": "1\n"})])
    bench.tick()
    (first, second) = (workspace(bench, name) for name in ("T1", "T2"))
    second.mkdir()
    bench.write("TASKS.yaml", tasks_yaml(*({**each, "status": "cancelled"} for each in tasks)))
    site = open_site(bench.root, bench.env)
    seen = Known(site.store.load().project, load_tasks(site.layout.tasks_yaml).tasks, ())
    looked = clean_workspaces(site, seen, remove=True)
    assert next(looked).kept == ""
    bench.write("TASKS.yaml", tasks_yaml(*tasks))
    assert next(looked).kept == "T2 is not over any more"
    assert (first.exists(), second.exists()) == (False, True)


def test_without_the_branch_that_work_lands_on_nothing_counts_as_landed(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    git(repo, "update-ref", "refs/aiframe/backup/shop/T1", "HEAD")
    for branches, merged in (["HEAD"], True), (["refs/heads/gone"], False):
        (kept,) = kept_refs(Repository(repo), ["refs/aiframe/backup/"], branches)
        assert kept.merged is merged


def test_lanes_that_are_open_stay_and_what_gone_ones_left_goes(tmp_path: Path) -> None:
    bench = lay_lanes(
        tmp_path, proven("T1"), {**proven("T2"), "verify": ["false"]}, seconds=0, parallel=2,
        limits={"max_attempts": 1},
    )  # fmt: skip
    bench.do("run")
    repo, home = tmp_path / "app", tmp_path / "state" / "aiframe" / "workspaces"
    for name in ("shop.T1", "shop.T2"):
        (home / name / ".home" / "sessions").mkdir(parents=True)  # as an agent in a container has it
    assert (bench.statuses()["T1"], (home / "shop.T1").is_dir()) == ("done", True)
    lane, place = bench.root / "lanes" / "shop.T2", home / "shop.T2" / "T2"
    done = clean(bench)
    assert "kept: lane shop.T2: it is open" in done.out, done.said
    assert (lane.is_dir(), place.is_dir(), (home / "shop.T1").exists()) == (True, True, False)
    text = bench.text("TASKS.yaml").splitlines()
    bench.write("TASKS.yaml", "\n".join(_cancelled(line) if '"T2"' in line else line for line in text) + "\n")
    bench.edit_state(state="DEV_READY")
    bench.tick()
    (closed,) = (bench.root / "lanes").iterdir()
    looked = clean(bench, "--dry-run")
    assert f"would remove: workspace {place}" in looked.out, looked.said
    assert (closed.is_dir(), place.is_dir()) == (True, True)
    (place / "more.txt").write_text("not committed\n")
    gone = clean(bench)
    assert f"removed: workspace {place}" in gone.out, gone.said
    assert f"removed: lane {closed.name}" in gone.out
    assert (list((bench.root / "lanes").iterdir()), (home / "shop.T2").exists()) == ([], False)
    assert git(repo, "branch", "--list", "aiframe/shop.T2/*") == ""
    refs = git(repo, "for-each-ref", "--format=%(refname)", "refs/aiframe/backup").splitlines()
    held = {name for ref in refs for name in git(repo, "ls-tree", "--name-only", ref).split()}
    assert {"T2.txt", "more.txt"} <= held, "what has not landed is in no ref"
    assert all(f"kept: backup {ref}: " in gone.out and f" show {ref}`" in gone.out for ref in refs)


def _cancelled(line: str) -> str:
    entry: Mapping[str, Any] = json.loads(line.strip().removeprefix("- "))
    return f"  - {json.dumps({**entry, 'status': 'cancelled'})}"


# Containers -----------------------------------------------------------------------------------------------------------


@needs(ENGINE)
def test_containers_of_runs_that_are_over_go(bench: Bench) -> None:
    with store_with_image() as (variables, image):
        env = {**bench.env, **variables}

        def ask(*words: str) -> str:
            return subprocess.run([ENGINE, *words], env=env, capture_output=True, text=True, check=True).stdout.strip()

        def made(*labels: str) -> str:
            words = [f"--label={label}" for label in labels]
            return ask("create", "--network=none", *words, image, "/bin/sleep", "60")

        over = made(f"aiframe.run={bench.runs()[0].name}")
        agents = made(f"aiframe.project={bench.root}")
        others = made("aiframe.run=elsewhere", "aiframe.project=/elsewhere")
        foreign = made("mine=1")
        original = made(f"aiframe.agent={bench.runs()[0].name}", f"aiframe.project={bench.root.parent}")
        moved = made(f"aiframe.agent={bench.runs()[0].name}", "aiframe.project=/where/it/was")
        looked = bench.do("clean", "--dry-run", **variables)
        assert f"would remove: container {over[:12]}" in looked.out, looked.said
        done = bench.do("clean", **variables)
        assert done.code == 0
        gone = {line.split()[2] for line in done.out.splitlines() if line.startswith("removed: container")}
        assert gone == {over[:12], agents[:12], moved[:12]}
        assert set(ask("ps", "--all", "--quiet", "--no-trunc").split()) == {others, foreign, original}


def test_an_engine_that_does_not_answer_is_named(bench: Bench, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(str(shutil.which("git")))
    docker = programs / "docker"
    docker.write_text("#!/bin/sh\necho cannot connect >&2\nexit 1\n")
    docker.chmod(0o755)
    done = bench.do("clean", PATH=str(programs))
    assert (done.code, "note: docker does not answer" in done.out) == (0, True), done.said
