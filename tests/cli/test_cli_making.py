"""`frame`, `init` and `watch`: from nothing to a project that is looked after."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, play, task, tasks_yaml, wait_for


@pytest.fixture
def frame(tmp_path: Path) -> Bench:
    """A new frame."""
    assert Bench(tmp_path).run("frame", "my-frame").code == 0
    return Bench(tmp_path / "my-frame")


def test_a_frame_is_laid_and_laid_again_without_loss(tmp_path: Path) -> None:
    here = Bench(tmp_path)
    laid = here.run("frame", "f")
    assert (laid.code, laid.err) == (0, "")
    assert "next: cd f && aiframe init" in laid.out
    own = tmp_path / "f" / "START_HERE.md"
    own.write_text("mine\n")
    again = here.run("frame", "f")
    assert again.code == 0
    assert "START_HERE.md" in again.out
    assert own.read_text() == "mine\n"


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null/x", "file/x"])
def test_a_frame_that_cannot_be_laid_is_a_wrong_argument(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    ended = Bench(tmp_path).run("frame", place)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert "cannot make the folder" in ended.err
    assert "cure: choose another folder" in ended.err


def test_init_says_the_exact_next_commands(frame: Bench) -> None:
    frame.write("idea.md", "# A tool\n\nthat counts words.\n")
    made = frame.run("init", "words", "--idea", "idea.md", "--agent", "scripted")
    assert (made.code, made.err) == (0, "")
    assert f"made {frame.root / 'projects' / 'words'} (agent: scripted)" in made.out
    assert "  aiframe tick --project projects/words" in made.out.splitlines()
    assert "that counts words." in frame.text("projects/words/SPEC.md")
    again = frame.run("init", "words", "--idea", "idea.md", "--agent", "scripted")
    assert "projects/words-2" in again.out
    assert "the name words was taken" in again.out


def test_an_idea_may_come_from_standard_input(frame: Bench) -> None:
    argv = frame.argv("init", "piped", "--idea", "-")
    done = subprocess.run(argv, cwd=frame.root, input=b"count words\n", capture_output=True, check=False)
    assert done.returncode == 0
    assert "count words" in frame.text("projects/piped/SPEC.md")


def test_unattended_means_no_interview(frame: Bench) -> None:
    made = frame.run("init", "alone", "--unattended")
    assert (made.code, "INTAKE_ANSWERS" in made.out) == (0, False)
    assert made.out.endswith("  aiframe watch --project projects/alone\n")
    assert Bench(frame.root / "projects" / "alone").state["interactive_mode"] is False


def test_init_inside_projects_is_refused(frame: Bench) -> None:
    ended = frame.run("init", "x", cwd=frame.root / "projects")
    assert ended.code == 2
    assert "cd " in ended.err
    assert not (frame.root / "projects" / "x").exists()


def test_a_frame_may_be_named_from_anywhere(frame: Bench, tmp_path: Path) -> None:
    frame.run("init", "shop")
    away = Bench(tmp_path)
    assert away.run("status", "--frame", "my-frame", "--project", "shop").code == 0
    away = Bench(tmp_path, env={**os.environ, "AIFRAME_FRAME": str(frame.root)})
    assert away.run("status", "--project", "shop").code == 0
    assert away.run("status", "--project", "other").code == 2


# Watch ----------------------------------------------------------------------------------------------------------------


def test_watch_starts_a_step_when_a_file_changes_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "test -f out.txt"), state="PAUSED")
    play(bench, [dev("T1", files={"out.txt": "x\n"})])
    log = tmp_path / "heard"
    with log.open("wb") as heard:
        argv = bench.argv("watch", "--project", str(bench.root), "--interval", "60")
        with subprocess.Popen(argv, cwd=tmp_path, stdout=heard, stderr=heard, start_new_session=True) as watch:
            try:
                wait_for(log.read_bytes, "a first line")
                bench.do("resume")
                wait_for(lambda: bench.where == "DONE", "the end of the work")
                watch.send_signal(signal.SIGINT)
                assert watch.wait(timeout=30) == 0
            finally:
                watch.kill()
    assert b"stopped watching" in log.read_bytes()
    assert b"Traceback" not in log.read_bytes()
    assert bench.statuses() == {"T1": "done"}


@pytest.mark.parametrize("words", [["watch"], ["watch", "--project", "nobody"]], ids=["frame", "unknown"])
def test_watch_of_nothing_is_refused_at_once(frame: Bench, words: list[str]) -> None:
    ended = frame.run(*words)
    assert ended.code == 2
    assert "cure: " in ended.err


def test_watch_refuses_a_folder_that_is_a_copy_of_a_frame(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, state="DEV_READY")
    bench.write("TEMPLATE_ROOT", "")
    bench.write("TASKS.yaml", tasks_yaml(task("T1", "true")))
    for verb in ("watch", "tick", "status", "pause", "stop", "logs"):
        ended = bench.do(verb)
        assert ended.code == 2, verb
        assert "TEMPLATE_ROOT" in ended.err
    assert not (bench.root / ".git").exists()
