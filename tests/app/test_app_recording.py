"""Recording: what agents did goes into a file, whole at every moment, and played again it gives the same commits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from app.test_app_worktree import TARGET, lay, repository
from support.projects import DEADLINE_S, Bench, dev, git, lay_project, lock_free, play, task, tasks_yaml, wait_for

from aiframe.agents.script_file import Turn, read_script

SECRET = "sk-this-is-a-secret-of-mine-0123456789"


def twin(bench: Bench, folder: Path, script: Path, **options: Any) -> Bench:
    """A project like *bench* before its first step, whose agent plays *script*."""
    copy = folder / "again" / bench.root.name
    copy.parent.mkdir()
    subprocess.run(["cp", "-a", str(bench.root), str(copy)], check=True)
    again = Bench(copy, bench.env)
    plays = {"name": "scripted", "file": str(script), "speed": 0, **options}
    again.write("PROJECT.yaml", json.dumps({**yaml.safe_load(again.text("PROJECT.yaml")), "agent": plays}))
    return again


def story(bench: Bench, *control: str) -> list[tuple[str, str, str]]:
    """Each commit of a task: its subject, its tree, and those of its trailers that must be the same.

    Without PROJECT.yaml, which names another agent, and *control*, which may be as another bookkeeping left it.
    """
    told = []
    for commit in bench.git("log", "--reverse", "--format=%H", "--grep=^Aiframe-Task:").split():
        files = bench.git("ls-tree", "-r", commit).splitlines()
        work = "\n".join(line for line in files if line.split("\t")[1] not in ("PROJECT.yaml", *control))
        trailers = bench.git("log", "-1", "--format=%(trailers:only)", commit).splitlines()
        kept = [line for line in trailers if line.split(":")[0] in ("Aiframe-Task", "Aiframe-Gates")]
        told.append((bench.git("log", "-1", "--format=%s", commit), work, "\n".join(kept)))
    return told


def recorded(tmp_path: Path) -> Path:
    return tmp_path / "recorded.yaml"


MAKES: dict[str, str] = {
    "text": "printf 'a\\nb\\n' > a.txt; printf 'no end' > b.txt",
    "crlf and tabs": "printf 'a\\r\\n\\tb \\n\\n  c' > a.txt",
    "unicode": "printf '\\303\\244 \\360\\237\\230\\200 \\302\\205 \\177 \\357\\273\\277' > a.txt",
    "binary": "printf '\\000\\001\\377' > a.bin; printf '\\377\\n' > b.bin",
    "empty": ": > empty",
    "modes": "printf 'x' > run.sh; chmod 755 run.sh; chmod 755 old.txt; chmod 644 old.sh",
    "deleted": "rm old.txt dir/deep.txt",
    "moved": "mv old.txt new.txt",
    "link": "ln -s old.txt link; ln -s not-there out",
    "link to file": "rm old-link; echo text > old-link",
    "file to link": "rm old.txt; ln -s old.sh old.txt",
    "folder to file": "rm -r dir; echo file > dir",
    "file to folder": "rm old.txt; mkdir old.txt; echo deep > old.txt/deep.txt",
    "odd names": "echo x > 'a b'; echo y > '-dash'; echo z > ä; echo q > '\"quote\"'",
    "a name of two lines": "echo r > \"$(printf 'new\\nline')\"",
    "yaml like": "printf -- '- a: 1\\n# none\\n%%TAG\\n---\\n...\\n' > a.txt; printf ': ' > b.txt; printf yes > c.txt",
}
EACH_IN_ITS_FOLDER = "; ".join(f"(cd '{name}' && {line})" for name, line in MAKES.items())


@pytest.mark.parametrize("line", [pytest.param(EACH_IN_ITS_FOLDER, id="all sorts"), pytest.param("true", id="nothing")])
def test_whatever_an_agent_makes_of_the_files_is_made_again(tmp_path: Path, line: str) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", run=[line])])
    for name in MAKES:
        bench.write(f"{name}/old.txt", "old\n")
        bench.write(f"{name}/old.sh", "#!/bin/sh\n").chmod(0o755)
        bench.write(f"{name}/dir/deep.txt", "deep\n")
        (bench.root / name / "old-link").symlink_to("old.txt")
    before = twin(bench, tmp_path, recorded(tmp_path))
    ran = bench.tick("--record", str(recorded(tmp_path)))
    assert (ran.code, bench.where) == (0, "DONE"), ran.said
    ran = before.tick()
    assert (ran.code, before.where) == (0, "DONE"), ran.said
    assert story(before) == story(bench)
    (turn,) = read_script(recorded(tmp_path))
    told = [turn.clear, turn.files, turn.binary, turn.links, turn.modes, turn.delete]
    assert {name.split("/")[0] for names in told for name in names} == (set(MAKES) if line != "true" else set())
    assert not turn.run, "the commands are not run again"


def test_a_whole_project_with_its_failures_is_played_again(tmp_path: Path) -> None:
    plan = tasks_yaml(task("T1", "grep -q right made.txt"), task("T2", "test -f two"))
    turns = [
        {"role": "PO", "say": "I plan.", "files": {"TASKS.yaml": plan, "SPEC.md": "# Shop\n"},
         "closing": {"summary": "planned"}},
        dev("T1", attempt=1, say="wrong", files={"made.txt": "wrong\n", "left.txt": "x\n"}),
        dev("T1", attempt=2, say="right", files={"made.txt": "right\n"}, delete=["left.txt"],
            usage={"input_tokens": 7}, cost_usd=0.25),
        dev("T2", files={"two": "2"}, closing={"summary": "ok", "state": "DEV_READY"}),
    ]  # fmt: skip
    bench = lay_project(tmp_path, turns=turns, state="SPEC_READY")
    again = twin(bench, tmp_path, recorded(tmp_path))
    for number in range(8):
        if bench.where == "DONE":
            break
        bench.tick("--record", str(recorded(tmp_path)))
        assert len(read_script(recorded(tmp_path))) > number // 4
    assert bench.where == "DONE"
    for _ in range(8):
        again.tick()
    assert again.where == "DONE"
    assert story(again) == story(bench)
    assert [e[:2] for e in again.ended()] == [e[:2] for e in bench.ended()]
    assert [r["usage"] for r in again.results()] == [r["usage"] for r in bench.results()]
    assert [r["output"] for r in again.results()] == [r["output"] for r in bench.results()]


@contextmanager
def watched(bench: Bench, *words: str) -> Iterator[None]:
    """``aiframe watch`` of *bench*, as a person has it in a terminal, until Ctrl-C."""
    printed = bench.root.parent / "printed"
    argv = bench.argv("watch", "--project", str(bench.root), "--interval", "3600", *words)
    with printed.open("wb") as out:
        process = subprocess.Popen(argv, cwd=bench.root.parent, env=dict(bench.env), stdout=out, stderr=out)
        try:
            wait_for(lambda: "watching " in printed.read_text(), "the beginning of the watch")
            yield
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE_S) == 0, printed.read_text()
        finally:
            process.kill()
            process.wait()


def test_the_steps_of_a_watch_are_recorded_in_one_file_and_played_again(tmp_path: Path) -> None:
    first = [task("T1", "grep -q right made.txt"), task("T2", "test -f two")]
    more = tasks_yaml(*(task(each["id"], *each["verify"], status="done") for each in first), task("T3", "test -f 3"))
    turns = [
        {"role": "PO", "files": {"TASKS.yaml": tasks_yaml(*first)}, "closing": {"summary": "planned"}},
        dev("T1", attempt=1, files={"made.txt": "wrong\n", "left.txt": "x\n"}),
        dev("T1", attempt=2, files={"made.txt": "right\n"}, delete=["left.txt"]),
        dev("T2", files={"two": "2"}),
        dev("T3", run=["printf '\\000' > 3; chmod 755 made.txt"]),
    ]
    bench = lay_project(tmp_path, turns=turns, state="SPEC_READY")
    again = twin(bench, tmp_path, recorded(tmp_path))
    for project, words in ((bench, ["--record", str(recorded(tmp_path))]), (again, [])):
        with watched(project, *words):
            wait_for(lambda: project.where == "DONE" and lock_free(project), "the end of the plan")  # noqa: B023
            project.write("TASKS.yaml", more)
            project.do("resume")  # a person has another wish, and the watch hears of it
            wait_for(lambda: project.statuses().get("T3") == "done" and lock_free(project), "T3")  # noqa: B023
    assert story(again) == story(bench)
    assert [subject for subject, *_ in story(bench)] == ["T1: Task T1", "T2: Task T2", "T3: Task T3"]
    assert [outcome for _, outcome, _ in again.ended()] == [outcome for _, outcome, _ in bench.ended()]
    turns_told = [(turn.role, turn.task, turn.attempt) for turn in read_script(recorded(tmp_path))]
    assert turns_told == [("PO", "", 1), ("DEV", "T1", 1), ("DEV", "T1", 2), ("DEV", "T2", 1), ("DEV", "T3", 1)]


def test_a_watch_of_several_projects_has_no_file_to_record_in(tmp_path: Path) -> None:
    (tmp_path / "TEMPLATE_ROOT").touch()
    bench = lay_project(tmp_path / "projects", task("T1", "true"), turns=[dev("T1")])
    ran = bench.run("watch", "--all", "--frame", str(tmp_path), "--record", str(recorded(tmp_path)))
    assert ran.code == 2
    assert "a file records one project" in ran.err
    assert not recorded(tmp_path).exists()


def test_failures_that_cost_no_attempt_come_in_their_order(tmp_path: Path) -> None:
    limits = {"transient_base_sec": 0.01, "transient_max_sec": 0.01, "quota_base_sec": 0.01}
    turns = [
        dev("T1", fail={"kind": "transient", "message": "busy"}, files={"made.txt": "1\n"}, closing=None),
        dev("T1", repeat=1, fail={"kind": "transient", "message": "busy again"}, closing=None),
        dev("T1", repeat=2, fail={"kind": "quota", "message": "full", "reset_in": 0.01}, closing=None),
        dev("T1", repeat=3, append={"made.txt": "2\n"}),
    ]
    bench = lay_project(tmp_path, task("T1", "grep -q 2 made.txt"), turns=turns, limits=limits)
    again = twin(bench, tmp_path, recorded(tmp_path))
    for project, words in ((bench, ["--record", str(recorded(tmp_path))]), (again, [])):
        wait_for(lambda: project.tick(*words) and project.where == "DONE", "the end")  # noqa: B023
        kinds = [outcome for _, outcome, _ in project.ended()]
        assert kinds == ["transient", "transient", "quota", "ok"]
    assert story(again) == story(bench)
    assert [turn.repeat for turn in read_script(recorded(tmp_path))] == [None, 1, 2, 3]


def test_secrets_do_not_get_into_the_recording(tmp_path: Path) -> None:
    turns = [dev("T1", say=f"it is {SECRET}", files={"made.txt": f"key={SECRET}\n"}, closing={"summary": SECRET})]
    bench = lay_project(tmp_path, task("T1", "true"), turns=turns)
    ran = bench.tick("--record", str(recorded(tmp_path)), MY_API_KEY=SECRET)
    assert ran.code == 0, ran.said
    assert SECRET not in recorded(tmp_path).read_text()
    assert "made.txt" in recorded(tmp_path).read_text()


@pytest.mark.parametrize("moment", ["before the end of the agent", "during the checks"])
def test_a_killed_step_is_recorded_once_and_whole(tmp_path: Path, moment: str) -> None:
    busy = "during the checks" in moment
    flag = tmp_path / "go"
    wait = f"touch {tmp_path}/there; while [ ! -f {flag} ]; do sleep 0.05; done"
    turns = [dev("T1", files={"made.txt": "1\n"}, run=[] if busy else [wait])]
    bench = lay_project(tmp_path, task("T1", wait if busy else "true", "test -f made.txt"), turns=turns)
    again = twin(bench, tmp_path, recorded(tmp_path))
    bench.tick("--no-wait", "--record", str(recorded(tmp_path)))
    wait_for((tmp_path / "there").exists, moment)
    os.kill(bench.control["run"]["runner"]["pid"], signal.SIGKILL)
    wait_for(lambda: lock_free(bench), "the end of the runner")
    flag.touch()
    play(bench, [dev("T1", files={"more.txt": "2\n"})])
    wait_for(lambda: bench.tick("--record", str(recorded(tmp_path))) and bench.where == "DONE", "the end")
    again.tick()
    assert again.where == "DONE"
    assert story(again, "TASKS.yaml") == story(bench, "TASKS.yaml")
    assert len(read_script(recorded(tmp_path))) == 1


def test_it_goes_on_in_the_same_file_and_people_can_read_it(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), turns=[dev("T1", say="one\ntwo", files={"a.txt": "first\nsecond\n"})]
    )
    recorded(tmp_path).write_text("version: 1\nturns:\n- {role: PO, say: mine}  # kept\n")
    bench.tick("--record", str(recorded(tmp_path)))
    text = recorded(tmp_path).read_text()
    assert text.startswith("version: 1\nturns:\n- {role: PO, say: mine}  # kept\n")
    assert "    a.txt: |\n      first\n      second\n" in text
    turns = read_script(recorded(tmp_path))
    assert [turn.say for turn in turns] == ["mine", "one\ntwo"]
    assert isinstance(turns[1], Turn)
    assert turns[1].delay > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--record", "inside.yaml"], "lies in the project", id="in the project"),
        pytest.param(["--record", "/nowhere/at/all.yaml"], "cannot be written", id="no folder"),
        pytest.param(["--record", ".."], "cannot be written", id="a folder"),
        pytest.param(["--record", "../script.txt"], "must be a list", id="another file"),
    ],
)
def test_where_a_recording_cannot_go(tmp_path: Path, words: list[str], said: str) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1")])
    (tmp_path / "script.txt").write_text("version: 1\n")
    ran = bench.tick(*words)
    assert ran.code == 2
    assert said in ran.err
    assert bench.where == "DEV_READY"


def test_what_a_person_did_by_hand_is_recorded_too(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "grep -q 2 made.txt"), agent={"name": "human"})
    again = twin(bench, tmp_path, recorded(tmp_path))
    bench.tick()
    bench.write("made.txt", "1\n")
    assert bench.do("done", "--record", str(recorded(tmp_path))).code == 1
    bench.write("made.txt", "2\n")
    assert bench.do("done", "--record", str(recorded(tmp_path))).code == 0
    again.tick()
    again.tick()
    assert again.where == "DONE"
    assert story(again) == story(bench)
    assert git(again.root, "show", "HEAD:made.txt") == "2"


def test_work_in_a_worktree_is_played_again(tmp_path: Path) -> None:
    trees = []
    for folder, turns in ((tmp_path / "one", True), (tmp_path / "two", False)):
        folder.mkdir()
        repo = repository(folder)
        made = [
            dev("T1", attempt=1, run=["echo 1 > made.txt; chmod 755 b.txt"]),
            dev("T1", run=["echo 2 > made.txt; rm a.txt"]),
        ]
        bench = lay(folder, repo, task("T1", "grep -q 2 made.txt"), turns=made if turns else [])
        if not turns:
            plays = {"name": "scripted", "file": str(recorded(tmp_path)), "speed": 0}
            bench.write("PROJECT.yaml", json.dumps({**yaml.safe_load(bench.text("PROJECT.yaml")), "agent": plays}))
        ran = bench.tick(*(["--record", str(recorded(tmp_path))] if turns else []))
        assert (ran.code, bench.where) == (0, "DONE"), ran.said
        trees.append((git(repo, "log", "--format=%s %T", TARGET), [outcome for _, outcome, _ in bench.ended()]))
    assert trees[0] == trees[1]
    assert trees[0][1] == ["verify_failed", "ok"]
