"""The pages made from the code: always the same text, and a stale one is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import aiframe
from aiframe.core.model import State

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/state-machine.md"


def gen_docs(root: Path, *options: str, hashes: str = "0") -> subprocess.CompletedProcess[str]:
    """Run tools/gen_docs.py for the folder *root*."""
    package = Path(aiframe.__file__).resolve().parent.parent
    return subprocess.run(
        [sys.executable, ROOT / "tools/gen_docs.py", "--root", root, *options],
        env={**os.environ, "PYTHONPATH": str(package), "PYTHONHASHSEED": hashes},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    return tmp_path


def test_the_page_is_always_the_same(root: Path) -> None:
    pages = set()
    for start in ("1", "2", "3"):
        assert gen_docs(root, hashes=start).returncode == 0
        pages.add((root / PAGE).read_text(encoding="utf-8"))
        (root / PAGE).unlink()
    assert len(pages) == 1


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        pytest.param(lambda text: text, "", id="fresh"),
        pytest.param(lambda text: text.replace("| PAUSED |", "| PAUSE |"), "+| PAUSED", id="a changed line"),
        pytest.param(lambda text: "", "+# The states of a project", id="empty"),
    ],
)
def test_check_shows_what_is_stale_and_writes_nothing(root: Path, change: Callable[[str], str], shown: str) -> None:
    assert gen_docs(root).returncode == 0
    text = change((root / PAGE).read_text(encoding="utf-8"))
    (root / PAGE).write_text(text, encoding="utf-8")
    checked = gen_docs(root, "--check")
    assert checked.returncode == bool(shown), checked.stderr
    assert shown in checked.stdout
    assert ("make docs" in checked.stderr) is bool(shown)
    assert (root / PAGE).read_text(encoding="utf-8") == text


def test_check_of_a_missing_page(root: Path) -> None:
    assert gen_docs(root, "--check").returncode == 1
    assert not (root / PAGE).exists()


def test_every_state_is_in_the_page(root: Path) -> None:
    gen_docs(root)
    text = (root / PAGE).read_text(encoding="utf-8")
    diagram, tables = text.split("```mermaid")[1].split("```", 1)
    for state in State:
        assert state in diagram
        assert f"| {state} |" in tables
