"""What a person types to the project `shop`, in the process of the test: quick, and as `aiframe` would do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from aiframe.cli.main import run as command_line

Say: TypeAlias = Callable[..., str]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """``aiframe VERB --project SHOP WORDS`` in this process; what it printed, errors too."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def said(verb: str, *words: str) -> str:
        command_line([verb, "--project", str(tmp_path / "shop"), *words])
        told = capsys.readouterr()
        return told.out + told.err

    return said
