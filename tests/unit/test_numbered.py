"""The first free numbered name beside a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiframe.numbered import free_name


@pytest.mark.parametrize(
    ("there", "free"),
    [
        pytest.param([], "T1~1", id="nothing is there"),
        pytest.param(["T1"], "T1~1", id="the thing itself"),
        pytest.param(["T1~1", "T1~2"], "T1~3", id="earlier ones"),
        pytest.param(["T1~2"], "T1~1", id="the first one was removed"),
        pytest.param(["T1.aside-1", "T10~1"], "T1~1", id="those of others"),
    ],
)
def test_the_first_name_that_nothing_has(tmp_path: Path, there: list[str], free: str) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    assert free_name(tmp_path / "T1", "~") == tmp_path / free


def test_a_link_that_leads_nowhere_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "T1~1").symlink_to(tmp_path / "gone")
    assert free_name(tmp_path / "T1", "~") == tmp_path / "T1~2"
