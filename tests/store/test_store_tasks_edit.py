"""TASKS.yaml with tasks added or changed: whatever a person has written around them stays, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from aiframe.store.atomic import StorageError
from aiframe.store.tasks_edit import add_tasks, as_entry, entries_of, set_fields
from aiframe.store.tasks_file import parse_tasks

NEW: dict[str, Any] = {"id": "N1", "title": "new: thing", "verify": ["a: b", "c"], "description": "two\nlines", "x": 1}
BLOCK = """# plan
tasks:
  # first
  - id: T1   # one
    title: "a"
    verify:
      - "true"   # why
      # said of the check
  # said at the end
"""
TEXTS = {
    "a block with comments": BLOCK,
    "a block that ends with a text": "tasks:\n- id: T1\n  title: a\n  description: |\n    long\n    text\n",
    "JSON": '{"tasks": [{"id":"T1","title":"a"}]}',
    "an item a line": 'tasks:\n  - {"id": "T1", "title": "a"}\n  - {"id": "T2", "title": "b"}',
    "Windows line ends": "tasks:\r\n  - id: T1\r\n    title: a\r\n    verify: [x]\r\n",
    "a byte order mark": "\ufefftasks:\n- {id: T1, title: a}\n",
    "no task yet": "version: 1\ntasks: []\n",
    "an empty key": "version: 1\ntasks:\n# nothing\n",
    "nothing": "",
}


def tasks_of(text: str) -> Any:
    return parse_tasks(Path("TASKS.yaml"), text.encode()).tasks


def new_task() -> Any:
    entry = {key: value for key, value in NEW.items() if key != "x"}
    return tasks_of(f"tasks: [{json.dumps(entry)}]")


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_a_task_is_added_and_all_else_stays(text: str) -> None:
    after = add_tasks(text, {"N1": NEW}, new_task())
    assert tasks_of(after) == (*tasks_of(text), *new_task())
    assert entries_of(after)["N1"]["x"] == 1
    kept = [line for line in text.splitlines() if line.strip() and "[" not in line and line != "tasks:"]
    assert [line for line in kept if line not in after] == []
    if text == BLOCK:
        assert after.index("said of the check") < after.index("N1") < after.index("said at the end")


@pytest.mark.parametrize("text", [text for text in TEXTS.values() if "T1" in text])
def test_fields_of_a_task_are_changed_and_all_else_stays(text: str) -> None:
    before = tasks_of(text)[0]
    wanted = replace(before, description="new\nwords", verify=("p", "q: r"), title="zz", max_duration_min=5)
    entry = as_entry(wanted)
    fields = {name: entry[name] for name in ("description", "verify", "title", "max_duration_min")}
    after = set_fields(text, "T1", fields, wanted)
    assert tasks_of(after) == (wanted, *tasks_of(text)[1:])
    if text == BLOCK:
        comments = ["# plan", "# first", "# one", "# why", "# said of the check", "# said at the end"]
        assert [each for each in comments if each not in after] == []


def test_what_cannot_be_written_so_that_it_reads_the_same_is_refused() -> None:
    with pytest.raises(StorageError, match="without changing more"):
        add_tasks(BLOCK, {"N1": NEW | {"title": "other"}}, new_task())
    with pytest.raises(StorageError, match="no task T9"):
        set_fields(BLOCK, "T9", {"title": "x"}, new_task()[0])
