"""The code of the packaged prompts is kept; what is kept is used, and nothing that is spoiled or of another text."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader

from aiframe.app.attempts.prompt_cache import PromptCache

NAME = "dev.md.j2"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what is kept, by a Python that keeps what it compiles."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    for folder in ("packaged", "own", "home"):
        (tmp_path / folder).mkdir()
    (tmp_path / "packaged" / NAME).write_text("packaged {{ x }}")
    return tmp_path / "home"


def environment(home: Path, *, trim_blocks: bool = True) -> Environment:
    """As a step makes it: the project's own prompts count more than the packaged ones."""
    packaged = home.parent / "packaged"
    return Environment(
        loader=FileSystemLoader([str(home.parent / "own"), str(packaged)]), autoescape=False, trim_blocks=trim_blocks,
        bytecode_cache=PromptCache(packaged, home),
    )  # fmt: skip


def rendered(home: Path, *, trim_blocks: bool = True) -> str:
    return environment(home, trim_blocks=trim_blocks).get_template(NAME).render(x=1)


def keep_other_code(home: Path) -> None:
    """Put the code of another text in the place of what is kept for this one."""
    made, filename = environment(home), str(home.parent / "packaged" / NAME)
    cache = PromptCache(home.parent / "packaged", home)
    bucket = cache.get_bucket(made, NAME, filename, Path(filename).read_text())
    bucket.code = made.compile("kept {{ x }}", NAME, filename)
    cache.set_bucket(bucket)


def test_what_is_kept_is_used(home: Path) -> None:
    assert rendered(home) == "packaged 1"
    assert len(os.listdir(home)) == 1
    keep_other_code(home)
    assert len(os.listdir(home)) == 1
    assert rendered(home) == "kept 1"


def another_text(home: Path) -> None:
    (home.parent / "packaged" / NAME).write_text("packaged  {{ x }}")


def an_own_prompt(home: Path) -> None:
    (home.parent / "own" / NAME).write_text("own {{ x }}")


def kept(home: Path) -> Path:
    return next(home.iterdir())


def cut_off(home: Path) -> None:
    kept(home).write_bytes(kept(home).read_bytes()[:-7])


def empty(home: Path) -> None:
    kept(home).write_bytes(b"")


def nonsense(home: Path) -> None:
    kept(home).write_bytes(kept(home).read_bytes()[:14] + b"nonsense")


def a_folder(home: Path) -> None:
    file = kept(home)
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("act", "said"),
    [
        pytest.param(another_text, "packaged  1", id="another text"),
        pytest.param(an_own_prompt, "own 1", id="a prompt of the project's own"),
        pytest.param(cut_off, "packaged 1", id="cut off"),
        pytest.param(empty, "packaged 1", id="empty"),
        pytest.param(nonsense, "packaged 1", id="nonsense"),
        pytest.param(a_folder, "packaged 1", id="a folder in its place"),
    ],
)
def test_what_does_not_fit_is_made_anew(home: Path, act: Callable[[Path], None], said: str) -> None:
    rendered(home)
    keep_other_code(home)
    act(home)
    assert rendered(home) == said
    assert rendered(home) == said


def test_other_settings_have_code_of_their_own(home: Path) -> None:
    rendered(home)
    keep_other_code(home)
    assert rendered(home, trim_blocks=False) == "packaged 1"


def test_only_packaged_prompts_are_kept(home: Path) -> None:
    an_own_prompt(home)
    assert rendered(home) == "own 1"
    assert os.listdir(home) == []


@pytest.mark.parametrize("where", ["nowhere", "packaged/dev.md.j2"])
def test_where_nothing_can_be_kept_it_works_all_the_same(home: Path, where: str) -> None:
    cache = PromptCache(home.parent / "packaged", home.parent / where)
    made = Environment(loader=FileSystemLoader(str(home.parent / "packaged")), autoescape=False, bytecode_cache=cache)
    assert made.get_template(NAME).render(x=1) == "packaged 1"


def test_a_python_that_keeps_nothing_keeps_no_prompts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered(home) == "packaged 1"
    assert os.listdir(home) == []
