"""The event log and the quarantine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiframe.store.atomic import StorageError
from aiframe.store.journal import MAX_LINE, append_event, events_from, last_events, read_events
from aiframe.store.layout import Layout
from aiframe.store.quarantine import last_good, remember_good, set_aside


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {"ts": 1.5, "kind": "step_ended", "run_id": f"r{number}", "role": "DEV", **fields}


def test_no_events_yet(layout: Layout) -> None:
    assert list(read_events(layout)) == []
    assert last_events(layout, 5) == []
    assert os.listdir(layout.root) == []


def test_events_come_back_in_order(layout: Layout) -> None:
    events = [event(n, note="多行\n文字") for n in range(5)]
    for each in events:
        append_event(layout, each)
    assert layout.events.read_bytes().count(b"\n") == 5
    assert list(read_events(layout)) == events
    assert last_events(layout, 2) == events[3:]
    assert last_events(layout, 0) == []


def test_a_follower_goes_on_where_it_was(layout: Layout) -> None:
    append_event(layout, event(1))
    ((offset, first),) = events_from(layout)
    assert first["run_id"] == "r1"
    append_event(layout, event(2))
    assert [each["run_id"] for each in read_events(layout, offset)] == ["r2"]


@pytest.mark.parametrize(
    "torn", [b'{"kind": "ste', b"\xff\xfe", b"\0\0\0", b"[1]\n[2]", b"9" * 9999 + b"\n", b"[" * 99_999]
)
def test_lines_that_are_no_events_are_passed_over(layout: Layout, torn: bytes) -> None:
    append_event(layout, event(1))
    with layout.events.open("ab") as file:
        file.write(torn)
    assert [each["run_id"] for each in read_events(layout)] == ["r1"]
    assert [each["run_id"] for each in last_events(layout, 9)] == ["r1"]
    append_event(layout, event(2))
    assert [each["run_id"] for each in read_events(layout)] == ["r1", "r2"]
    assert [each["run_id"] for each in last_events(layout, 9)] == ["r1", "r2"]


def test_a_line_that_is_still_being_written_is_left_for_later(layout: Layout) -> None:
    append_event(layout, event(1))
    whole = layout.events.read_bytes()
    with layout.events.open("ab") as file:
        file.write(b'{"kind": "x"')
    ((offset, _),) = events_from(layout)
    assert offset == len(whole)
    with layout.events.open("ab") as file:
        file.write(b', "run_id": "r2"}\n')
    assert [each["run_id"] for each in read_events(layout, offset)] == ["r2"]


def test_f28_a_replayed_event_is_shown_once(layout: Layout) -> None:
    for number, key in ((1, "settle"), (1, "settle"), (2, "settle"), (1, ""), (1, ""), (1, "settle")):
        append_event(layout, event(number, key=key))
    assert [(each["run_id"], each["key"]) for each in read_events(layout)] == [
        ("r1", "settle"),
        ("r2", "settle"),
        ("r1", ""),
        ("r1", ""),
    ]
    assert len(last_events(layout, 9)) == 4


def test_f20_a_huge_line_does_not_hide_the_others(layout: Layout) -> None:
    append_event(layout, event(1))
    append_event(layout, event(2, text="x" * (3 * MAX_LINE)))
    with layout.events.open("ab") as file:
        file.write(b'{"run_id": "r2"}' + b" " * (3 * MAX_LINE) + b"\n")
    append_event(layout, event(3))
    assert [each["run_id"] for each in read_events(layout)] == ["r1", "r3"]
    assert [each["run_id"] for each in last_events(layout, 9)] == ["r1", "r3"]


def test_f20_text_that_utf8_cannot_carry(layout: Layout) -> None:
    append_event(layout, event(1, text="a\udcff", path=layout.root))
    (found,) = read_events(layout)
    assert found["text"] == "a?"
    assert found["path"] == str(layout.root)


LINES = st.lists(
    st.sampled_from(
        [
            b'{"a":1}\n',
            b'{"a":2,"key":"k"}\n',
            b"\n",
            b"{\n",
            b"x" * 70_000 + b"\n",
            b'{"b":"' + b"y" * 66_000 + b'"}\n',
        ]
    )
)


@given(LINES, st.sampled_from([b"", b'{"a":', b"z" * 70_000]), st.integers(0, 6))
@settings(max_examples=60)
def test_the_end_read_backwards_is_the_end_read_forwards(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], torn: bytes, n: int
) -> None:
    layout = Layout(tmp_path_factory.mktemp("p"))
    layout.logs.mkdir()
    layout.events.write_bytes(b"".join(lines) + torn)
    forwards = list(read_events(layout))
    unkeyed = [each for each in forwards if "key" not in each]
    assert [each for each in last_events(layout, 1000) if "key" not in each] == unkeyed
    assert len(last_events(layout, 1000)) == len(forwards)
    if len(unkeyed) == len(forwards):
        assert last_events(layout, n) == (forwards[-n:] if n else [])


def test_last_good_copies(layout: Layout) -> None:
    assert last_good(layout, "TASKS.yaml") is None
    remember_good(layout, "TASKS.yaml", b"tasks: []\n")
    remember_good(layout, "TASKS.yaml", b"tasks: \xff\n")
    assert last_good(layout, "TASKS.yaml") == b"tasks: \xff\n"
    assert layout.last_good_dir.is_relative_to(layout.control_dir)
    with pytest.raises(ValueError):
        remember_good(layout, "../escape", b"")


def test_f12_what_is_broken_is_kept_once_with_the_reason(layout: Layout) -> None:
    layout.tasks_yaml.write_bytes(b"\xff broken")
    kept = set_aside(layout, layout.tasks_yaml, "line 1: no UTF-8")
    assert kept.read_bytes() == b"\xff broken"
    assert kept.with_name(f"{kept.name}.why").read_text() == "line 1: no UTF-8\n"
    assert layout.tasks_yaml.read_bytes() == b"\xff broken"
    assert set_aside(layout, layout.tasks_yaml, "again") == kept
    layout.tasks_yaml.write_bytes(b"other")
    assert set_aside(layout, layout.tasks_yaml, "other") != kept
    assert len(os.listdir(layout.quarantine_dir)) == 4


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_file_is_moved_out_of_the_way(layout: Layout, kind: str) -> None:
    for _ in range(2):
        if kind == "folder":
            layout.spec.mkdir()
            (layout.spec / "inner").write_text("x")
        elif kind == "link":
            layout.spec.symlink_to("/nowhere")
        else:
            os.mkfifo(layout.spec)
        kept = set_aside(layout, layout.spec, "no file")
        assert os.path.lexists(kept)
        assert not os.path.lexists(layout.spec)


def test_a_folder_in_the_way_of_the_log(layout: Layout) -> None:
    layout.events.mkdir(parents=True)
    with pytest.raises(StorageError) as caught:
        append_event(layout, event(1))
    assert "folder" in caught.value.hint
