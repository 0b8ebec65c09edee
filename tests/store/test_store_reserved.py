"""Words for which room was taken in advance: in place, and never more than the room."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiframe.store.reserved import SIZE, read_words, reserve, write_words


@pytest.mark.parametrize(
    ("said", "read"),
    [
        pytest.param("error: no room\n  cure: make some", "error: no room\n  cure: make some", id="words"),
        pytest.param("", "", id="none"),
        pytest.param("x" * 9000, "x" * (SIZE - 1), id="too long"),
        pytest.param("ü" * 4000, "ü" * ((SIZE - 1) // 2), id="cut between letters"),
    ],
)
def test_words_take_the_room_that_is_there(tmp_path: Path, said: str, read: str) -> None:
    path = tmp_path / "words"
    assert read_words(path) == ""
    reserve(path)
    before = path.stat()
    write_words(path, "older words, which are longer than some that come after them")
    write_words(path, said)
    assert read_words(path) == read
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, SIZE)
    reserve(path)
    assert read_words(path) == ""


def test_where_there_is_no_folder_nothing_is_said(tmp_path: Path) -> None:
    write_words(tmp_path / "none" / "words", "said")
    assert read_words(tmp_path / "none" / "words") == ""
