"""The first command of the day: nothing of aiframe is loaded yet, whatever it begins with.

Most tests run commands as copies of an interpreter that has loaded everything, in which a module that can only be
loaded after another would go unnoticed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.copies import can_copy
from support.projects import Bench, Ran, dev, lay_project, task

EACH_FIRST = """
import importlib, os, pkgutil, sys
import argparse, asyncio, filelock, jinja2, msgspec, psutil, rich.console, subprocess, watchfiles, yaml  # not ours
import aiframe

def names(path, prefix):
    for module in pkgutil.iter_modules(path, prefix):
        yield module.name
        if module.ispkg:
            yield from names([os.path.join(path[0], module.name.rpartition(".")[2])], module.name + ".")

found = [name for name in names(list(aiframe.__path__), "aiframe.") if name != "aiframe.__main__"]
assert [name for name in sys.modules if name.startswith("aiframe")] == ["aiframe"]
for name in found:
    pid = os.fork()
    if pid == 0:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
print(len(found))
"""


def test_each_module_can_be_the_first_that_is_loaded() -> None:
    ended = subprocess.run([sys.executable, "-P", "-c", EACH_FIRST], capture_output=True, text=True, timeout=100)
    assert (ended.stderr, ended.returncode) == ("", 0)
    *wrong, count = ended.stdout.splitlines()
    assert wrong == []
    assert int(count) > 200


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A project with one task done."""
    bench = lay_project(
        tmp_path_factory.mktemp("worked"), task("T1", "test -e 1.txt"), turns=[dev("T1", files={"1.txt": "one\n"})]
    )
    assert bench.tick().code == 0
    return bench


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["tick"], id="nothing to do"),
        pytest.param(["status"], id="status"),
        pytest.param(["why"], id="why"),
        pytest.param(["logs"], id="logs"),
        pytest.param(["events", "--json"], id="events"),
        pytest.param(["history"], id="history"),
        pytest.param(["report", "--json"], id="report"),
        pytest.param(["questions"], id="questions"),
        pytest.param(["undo", "T9"], id="a refusal"),
        pytest.param(["stauts"], id="no command"),
    ],
)
def test_a_copy_does_and_says_what_a_cold_start_does(worked: Bench, words: list[str]) -> None:
    cold = subprocess.run(
        worked.argv(*words), cwd=worked.root, env=worked.env, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert cold.stdout or cold.stderr
    assert worked.run(*words) == Ran(cold.returncode, cold.stdout, cold.stderr)


@pytest.mark.skipif(not can_copy(), reason="commands are copies where that is possible")
def test_a_copy_is_seen_as_what_it_is(tmp_path: Path) -> None:
    look = (
        "pid=$$; while [ $pid -gt 1 ]; do tr '\\0' ' ' </proc/$pid/cmdline; tr '\\0' '\\n' </proc/$pid/environ |"
        " grep -x MARK=here; pid=$(awk '/^PPid/ {print $2}' /proc/$pid/status); done >../seen"
    )
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev("T1", files={"1.txt": "one\n"}, run=[look])])
    assert bench.do("tick", MARK="here").code == 0
    mine = f"{sys.executable} -m aiframe tick --project {bench.root} "
    above = (tmp_path / "seen").read_text().partition("aiframe.app.runner")[2]
    assert mine in above
    assert "MARK=here" in above.partition(mine)[2].splitlines()[0]


PLAYER = r"""
{ tr '\0' '\n' </proc/$PPID/cmdline | grep .
  tr '\0' '\n' </proc/$PPID/environ | grep . | sort
  grep -E '^(Sig[BIC]|Umask|NoNewPrivs|Threads)' /proc/$PPID/status
  cat /proc/$PPID/limits
  for name in cwd exe fd/0 fd/1 fd/2 fd/3 fd/4 fd/5 fd/6 fd/7 fd/8 fd/9
  do echo $name $(readlink /proc/$PPID/$name); done
  env | sort
} | sed 's/[0-9]\{8\}[-_][0-9]\{6\}[-_][0-9a-f]\{6\}/RUN/; s/pipe:.*/a pipe/' >../player
grep -c _hashlib /proc/$PPID/maps >../loaded
"""


@pytest.mark.skipif(not can_copy(), reason="agents are copies where that is possible")
def test_a_player_that_is_a_copy_is_seen_as_one_that_is_not(tmp_path: Path) -> None:
    """Arguments, environment, signals, limits, descriptors, and what it hands on."""
    seen = []
    for name in ("copy", "cold"):
        bench = lay_project(tmp_path / name, task("T1", "true"), turns=[dev("T1", run=[PLAYER])])
        if name == "copy":
            assert bench.tick().code == 0
        else:
            argv = bench.argv("tick", "--project", str(bench.root))
            subprocess.run(
                argv,
                cwd=bench.root,
                env=bench.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=60,
                check=True,
            )
        assert (bench.text("../loaded") != "0\n") is (name == "copy")
        seen.append(bench.text("../player").replace(str(tmp_path / name), "HERE"))
    assert "AIFRAME_RUN_" in seen[0]
    assert seen[0].splitlines() == seen[1].splitlines()
