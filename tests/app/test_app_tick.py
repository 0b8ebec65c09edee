"""How a tick starts its runner: a copy of itself where that is clean, else a new interpreter, and how that lives on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.needs import needs
from support.projects import DEADLINE_S, Bench, dev, lay_project, lock_free, play, task, wait_for

SCRIPT = """
import os, sys, threading
from pathlib import Path
from aiframe.app.tick import tick
over = threading.Event()
if sys.argv[2] == "two threads":
    threading.Thread(target=over.wait, daemon=True).start()
environ = {**os.environ, "GIVEN": "yes"}
print(tick(Path(sys.argv[1]), environ, wait=False, out=print).run_id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A project whose agent tells that it has begun, and ends when it is told to."""
    waits = "echo $GIVEN >made.txt; touch ../begun; until test -e ../end; do sleep 0.02; done"
    made = lay_project(tmp_path, task("T1", "test -e made.txt"), settings={"env": ["GIVEN"]})
    play(made, [dev(run=[waits])])
    return made


@pytest.mark.parametrize("threads", ["one thread", "two threads"])
def test_a_runner_lives_by_itself(bench: Bench, threads: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    argv = [sys.executable, "-P", "-c", SCRIPT, str(bench.root), threads]
    process = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        wait_for((bench.root.parent / "begun").exists, "the agent")
        runner = psutil.Process(bench.control["run"]["runner"]["pid"])
        copied = sys.platform == "linux" and threads == "one thread"
        assert any("python" in word for word in runner.cmdline()) is not copied
        assert "aiframe.app.runner" in runner.cmdline()
        assert os.getsid(runner.pid) == runner.pid
        assert runner.cwd() == str(bench.root)
        os.killpg(process.pid, 9)
        process.wait(DEADLINE_S)
    assert not lock_free(bench)
    (bench.root.parent / "end").touch()
    wait_for(lambda: bench.where == "DONE" and lock_free(bench), "the end of the step")
    assert bench.text("made.txt") == "yes\n"
    assert bench.text(".git/aiframe/runner.log") == ""


@needs("bwrap")
@pytest.mark.parametrize("words", [(), ("--no-wait",)], ids=["waits", "does not wait"])
def test_a_runner_that_gives_up_before_its_step_is_told(tmp_path: Path, words: tuple[str, ...]) -> None:
    made = lay_project(tmp_path, task("T1", "true"), task("T2", "true"), turns=[dev()])
    made.tick(DEV_CHAIN_LIMIT="1")
    made.write(".git/aiframe/runner.log", "error: of long ago\n")
    fixed = str(made.root / "TASKS.yaml")
    ticked = replace(made, prefix=("bwrap", "--dev-bind", "/", "/", "--ro-bind", fixed, fixed)).tick(*words)
    assert ticked.code == 1, ticked.said
    assert f"error: {fixed}: cannot write: " in ticked.out
    assert "cure: " in ticked.out
    assert "of long ago" not in ticked.said


@pytest.mark.parametrize("delay", [0, 60], ids=["ends at once", "takes long"])
def test_a_tick_that_does_not_wait_says_that_its_step_has_begun(tmp_path: Path, delay: int) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev(files={"a": "a"}, delay=delay)])
    ticked = bench.tick("--no-wait")
    assert (ticked.code, "a runner looks after it" in ticked.out) == (0, True), ticked.said
    if delay:
        assert bench.where == "RUNNING"
        assert bench.do("stop").code == 0
    wait_for(lambda: lock_free(bench), "the end of the step")
