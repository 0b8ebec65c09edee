"""What a person types to the project `shop`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from support.projects import Bench

Say: TypeAlias = Callable[..., str]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """``aiframe VERB --project SHOP WORDS``; what it printed, errors too.

    In a process of its own: the runners that it starts are copies of it, while this one, which has more threads, would
    have to start each anew.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def said(verb: str, *words: str) -> str:
        return Bench(tmp_path / "shop").do(verb, *words).said

    return said
