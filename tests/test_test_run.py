"""The promises of `make test` about itself: tests left out are counted, CI fails for them, and no process is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

LEFT_OUT = """
import pytest
from support.needs import needs, require

@needs("no-such-tool")
def test_marked(): ...

@pytest.mark.parametrize("way", ["require", "skip"])
def test_in_its_midst(way):
    require("no-such-tool") if way == "require" else pytest.skip("needs strace: not allowed here")

def test_for_another_reason():
    pytest.skip("runs on macOS only")
"""

LEFT_OUT_WHOLE = """
import pytest
pytest.skip("needs entr: install the Debian package entr", allow_module_level=True)
"""

LEAVES_A_PROCESS = """
import os, subprocess
from pathlib import Path
def test_forgets_its_child():
    env = dict(os.environ) | {name: "1" for name in %r}
    child = subprocess.Popen(["sleep", "66"], env=env)
    child.returncode = 0  # so that nothing but the check itself says a word
    while not Path(f"/proc/{child.pid}/environ").read_bytes():
        pass  # the kernel lays an environment out last when it starts a program; until then there is none to see
    Path("child.pid").write_text(str(child.pid))
"""


def run_of(folder: Path, *texts: str, workers: int = 0, ci: str = "") -> subprocess.CompletedProcess[str]:
    """A test run of its own over a file for each of *texts*, under our conftest.

    Its temporary folders are its own, too: at its end pytest removes what the runs before it left, and those of whole
    suites hold so many files that this took minutes.
    """
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "pytest.ini").write_text(f'[pytest]\npythonpath = "{TESTS}"\nfilterwarnings = error\n')
    for number, text in enumerate(texts):
        (folder / f"test_{number}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"-n{workers}", str(folder)]
    env = os.environ | {"CI": ci, "PYTEST_DEBUG_TEMPROOT": str(folder)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=90)


WORKERS = pytest.mark.parametrize("workers", [0, 2], ids=["one process", "two workers"])


@WORKERS
def test_left_out(tmp_path: Path, workers: int) -> None:
    """Single tests and a whole file, counted together."""
    run = run_of(tmp_path, LEFT_OUT, LEFT_OUT_WHOLE, workers=workers)
    assert "left out: 4 tests (entr 1, no-such-tool 2, strace 1)" in run.stdout
    assert "5 skipped" in run.stdout.splitlines()[-1]


@WORKERS
@pytest.mark.parametrize(
    ("text", "counts"),
    [
        pytest.param(LEFT_OUT, "2 failed, 1 skipped, 1 error", id="tests"),
        pytest.param(LEFT_OUT_WHOLE, "1 error", id="whole file"),
    ],
)
def test_left_out_in_ci(tmp_path: Path, text: str, counts: str, workers: int) -> None:
    run = run_of(tmp_path, text, workers=workers, ci="true")
    assert counts in run.stdout.splitlines()[-1]
    assert run.returncode not in (0, 5)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
@pytest.mark.parametrize(
    ("variables", "closing"),
    [
        pytest.param(["AIFRAME_RUN_left_by_a_test"], "1 passed, 1 error", id="of a run"),
        pytest.param([], "1 passed", id="of no run"),
    ],
)
def test_process_left(tmp_path: Path, variables: list[str], closing: str) -> None:
    run = run_of(tmp_path, LEAVES_A_PROCESS % variables)
    pid = int((tmp_path / "child.pid").read_text())
    alive = Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    assert closing in run.stdout.splitlines()[-1]
    assert alive == (not variables)
    if alive:
        os.kill(pid, 9)
    else:
        assert f"outlived the tests of this worker: {pid} sleep 66" in run.stdout
