"""TASKS.yaml: read leniently, refused precisely, and only its status words ever written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aiframe.core.errors import UnreadableFile
from aiframe.core.model import CommandStep, Priority, Task, TaskStatus
from aiframe.store.atomic import StorageError
from aiframe.store.tasks_file import load_tasks, parse_tasks, set_statuses

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
TASKS = Path("TASKS.yaml")
DEEP = b"tasks: " + b"[" * 51 + b"]" * 51


def tasks(text: str) -> tuple[Task, ...]:
    return parse_tasks(TASKS, text.encode()).tasks


def one(fields: str) -> Task:
    (task,) = tasks(f"tasks:\n- id: T1\n  title: x\n  {fields}\n")
    return task


def problems(data: bytes) -> list[str]:
    with pytest.raises(UnreadableFile) as caught:
        parse_tasks(TASKS, data)
    assert all(problem.hint for problem in caught.value.problems)
    return [f"{problem.line}:{problem.column}: {problem.message}" for problem in caught.value.problems]


def test_the_original_s_file() -> None:
    file = load_tasks(FIXTURES / "TASKS.original.yaml")
    assert (file.project, file.version) == ("shop", "1")
    assert file.text == (FIXTURES / "TASKS.original.yaml").read_text()
    assert file.tasks == (
        Task("T1", "Project skeleton", status=TaskStatus.DONE, priority=Priority.HIGH, dod=("make test passes",),
             verify=("make test",)),
        Task("T2", "Basket page", "Shows what is in the basket.\nTotals come from the server.\n",
             status=TaskStatus.IN_PROGRESS, size="M", max_duration_min=25, blocked_by=("T1",),
             dod=("totals are right",), verify=("python3 -m unittest", "manual: look at it on a phone")),
        Task("T3", "结账页面", priority=Priority.LOW, blocked_by=("T2",), reads=("db",), writes=("port:8080",),
             network=False, review=True),
    )  # fmt: skip


@pytest.mark.parametrize("content", [None, b"", b"\n# nothing yet\n", b"---\n", b"tasks:\n", b"tasks: []", b"~"])
def test_no_tasks_yet(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "TASKS.yaml").write_bytes(content)
    assert load_tasks(tmp_path / "TASKS.yaml").tasks == ()


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ("status: pending", "status", TaskStatus.TODO),
        ("status: open", "status", TaskStatus.TODO),
        ("status: completed", "status", TaskStatus.DONE),
        ("status: DONE", "status", TaskStatus.DONE),
        ("status:", "status", TaskStatus.TODO),
        ("status: null", "status", TaskStatus.TODO),
        ("priority: 1", "priority", Priority.HIGH),
        ("priority: High", "priority", Priority.HIGH),
        ("size: l", "size", "L"),
        ("verify: no", "verify", ("no",)),
        ("verify: make test", "verify", ("make test",)),
        ("dod: [a, 'b: c']", "dod", ("a", "b: c")),
        ("steps: [a b, {cmd: c, desc: d}]", "steps", (CommandStep("a b"), CommandStep("c", "d"))),
        ("steps: [a]\n  review: false\n  agent: ''", "steps", (CommandStep("a"),)),
        ("steps: ", "steps", ()),
        ("notes: [a, b]", "notes", "a\nb"),
        ("review: no", "review", False),
        ("network: True", "network", True),
        ("max_duration_min: 0.5", "max_duration_min", 0.5),
        ("unknown: {a: [b]}", "title", "x"),
    ],
)
def test_leniency(fields: str, name: str, value: object) -> None:
    assert getattr(one(fields), name) == value


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(b"tasks: [", "1:9: is no YAML", id="syntax"),
        pytest.param(b"tasks:\n\t- id: T1", "2:1: is indented with a tab", id="tab"),
        pytest.param(b"- id: T1", "1:1: must hold the key `tasks`", id="a list"),
        pytest.param(b"task: []", "1:1: has no key `tasks`", id="misspelt"),
        pytest.param(b"tasks: {a: b}", "1:8: tasks must be a list", id="a mapping"),
        pytest.param(b"tasks:\n- T1", "2:3: a task must hold keys", id="a word"),
        pytest.param(b"tasks: []\n---\na: b", "2:1: a second document", id="documents"),
        pytest.param(b"tasks: []\ntasks: []", "2:1: the key 'tasks' stands here again, first", id="key twice"),
        pytest.param(b"tasks:\n- {id: a, title: x}\n- {id: a, title: x}", "3:8: the id a stands", id="id twice"),
        pytest.param(b"tasks:\n- {id: &x a, title: *x}", "2:8: the anchor &x", id="anchor"),
        pytest.param(b"a: &a [*a, *a]\ntasks: []", "1:4: the anchor &a", id="self reference"),
        pytest.param(b"tasks: !!python/object:os.system []", "1:8: the tag", id="tag"),
        pytest.param(b"tasks:\n- {title: x}", "2:3: a task: it has no id", id="no id"),
        pytest.param(b"tasks:\n- {id: a}", "2:3: a: it has no title", id="no title"),
        pytest.param(b"tasks:\n- {id: " + b"a" * 480 + b", title: x}", f"2:8: {'a' * 80}: the id", id="endless id"),
        pytest.param(b"tasks:\n- {id: ../x, title: x}", "2:8: ../x: the id '../x' is not usable", id="unsafe id"),
        pytest.param(b"tasks:\n- {id: -x, title: x}", "2:8: -x: the id '-x' is not usable", id="option as id"),
        pytest.param(b"tasks:\n- {id: a, title: x, status: dnoe}", "2:29: a: status `dnoe` is unknown", id="status"),
        pytest.param(b"tasks:\n- {id: a, title: x, status: [done]}", "2:29: a: status this is", id="a list"),
        pytest.param(b"tasks:\n- {id: a, title: x, priority: 9}", "2:31: a: priority `9`", id="priority"),
        pytest.param(b"tasks:\n- {id: a, title: x, size: XL}", "2:27: a: size `xl`", id="size"),
        pytest.param(b"tasks:\n- {id: a, title: x, review: 'yes'}", "2:29: a: review must be", id="quoted flag"),
        pytest.param(b"tasks:\n- {id: a, title: x, max_duration_min: 0}", "2:39: a: max_duration_min", id="zero"),
        pytest.param(b"tasks:\n- {id: a, title: x, max_duration_min: .inf}", "2:39: a: max_duration_min", id="inf"),
        pytest.param(b"tasks:\n- id: a\n  title: x\n  verify:\n  - a: b", "5:5: a: an entry of verify", id="colon"),
        pytest.param(b"tasks:\n- {id: a, title: x, blocked_by: [b]}", "2:34: a: blocked_by names 'b'", id="unknown id"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: make}", "2:28: a: steps must be a list", id="steps: text"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: []}", "2:28: a: steps must be a list", id="no steps"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: [' ']}", "2:29: a: a step has no command", id="empty step"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: [{desc: y}]}", "2:29: a: a step has no", id="no command"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: [{cmd: y, do: z}]}", "2:38: a: a step: the key", id="do"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: [y], review: true}", "2:41: a: review does not", id="review"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: [y], agent: codex}", "2:40: a: agent does not", id="agent"),
        pytest.param(b"tasks:\n- {id: a, title: x, steps: [y], verify: manual}", "2:41: a: verify does", id="manual"),
        pytest.param(b"tasks:\n- {id: a, title: x, locks: db}", "2:28: a: locks must hold", id="locks"),
        pytest.param(b"tasks:\n- {id: a, title: [[x]]}", "2:19: a: an entry of title", id="nested title"),
        pytest.param(b"tasks:\n- {id: a, ? [b] : c, title: x}", "2:13: a key must be a plain text", id="odd key"),
        pytest.param(b"a: \x01", "1:4: holds a character that YAML forbids", id="control character"),
        pytest.param(b"a: \0", "1:4: holds a NUL", id="NUL"),
        pytest.param(b"tasks:\n- \xff", "2:3: byte 9 (0xff) is no UTF-8", id="no UTF-8"),
        pytest.param(DEEP, "1:57: is nested deeper than 50", id="deep"),
        pytest.param(b"[" * 1_000_000, "1:51: is nested deeper than 50", id="very deep"),
    ],
)  # fmt: skip
def test_f12_refused_with_the_place(data: bytes, found: str) -> None:
    assert any(text.startswith(found) for text in problems(data)), problems(data)


def test_a_cycle_is_named() -> None:
    text = "tasks:\n" + "".join(f"- {{id: {a}, title: x, blocked_by: [{b}]}}\n" for a, b in ("ab", "bc", "ca", "da"))
    assert problems(text.encode()) == ["2:33: tasks wait for each other: a -> b -> c -> a"]


def test_a_long_chain_is_no_cycle() -> None:
    chain = "".join(f"- {{id: T{n}, title: x, blocked_by: T{n - 1}}}\n" for n in range(1, 2000))
    assert len(tasks("tasks:\n- {id: T0, title: x}\n" + chain)) == 2000


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    found = problems(b"tasks:\n- id: a\n  status: x\n- id: b\n  title: t\n  review: x\n  blocked_by: z\n")
    assert [text.partition(":")[0] for text in found] == ["2", "3", "6", "7"]


def test_a_huge_file(tmp_path: Path) -> None:
    (tmp_path / "TASKS.yaml").write_bytes(b"#" * (10 * 1024 * 1024 + 1))
    with pytest.raises(UnreadableFile, match="at most"):
        load_tasks(tmp_path / "TASKS.yaml")


def test_countless_problems_do_not_take_for_ever() -> None:
    assert len(problems(b"tasks:\n" + b"- x\n" * 5000)) == 50


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_fuzz_bytes(data: bytes) -> None:
    with suppress(UnreadableFile):
        parse_tasks(TASKS, data)


PIECES = st.sampled_from(
    [
        "tasks:",
        "\n",
        "\n- ",
        "\n  ",
        " ",
        "id: T1",
        "title: x",
        "status: ",
        "blocked_by: ",
        "[",
        "]",
        "{",
        "}",
        ",",
        ": ",
        "? ",
        "|",
        ">-",
        "'",
        '"',
        "&a",
        "*a",
        "<<",
        "#",
        "---",
        "...",
        "!!x",
        "\t",
        "\r\n",
        "T1",
        "no",
        "1e9",
        "~",
        "\u2028",
        "\U0001f600",
        "%YAML 1.1\n",
    ]
)


@given(st.lists(PIECES, max_size=25).map("".join))
@settings(max_examples=300)
def test_fuzz_pieces(text: str) -> None:
    try:
        parsed = tasks(text)
    except UnreadableFile:
        return
    for task in parsed:
        with suppress(StorageError):
            changed = set_statuses(text, {task.id: TaskStatus.DONE})
            assert tasks(changed) == tuple(
                replace(each, status=TaskStatus.DONE) if each.id == task.id else each for each in parsed
            )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("- id: A # first\n  title: x", "- id: A # first\n  status: done\n  title: x", id="no status"),
        pytest.param("- title: x\n  id: A", "- title: x\n  id: A\n  status: done", id="id last, no newline"),
        pytest.param("- title: x\r\n  id: A\r\n", "- title: x\r\n  id: A\r\n  status: done\r\n", id="CRLF"),
        pytest.param("- {title: x, id: A}", "- {title: x, id: A, status: done}", id="flow"),
        pytest.param('- {"id": "A", "title": "x"}', '- {"id": "A", "status": "done", "title": "x"}', id="JSON"),
        pytest.param("- id: A\n  title: x\n  status:\n", "- id: A\n  title: x\n  status: done\n", id="empty"),
        pytest.param("- {id: A, title: x, status: }", "- {id: A, title: x, status: done}", id="empty in flow"),
        pytest.param("- id: A\n  title: x\n  status:   # c", "- id: A\n  title: x\n  status: done   # c", id="comment"),
        pytest.param("- id: A\n  title: x\n  status: ~ ", "- id: A\n  title: x\n  status: done ", id="null"),
        pytest.param("- id: A\n  title: x\n  status: 'open'", "- id: A\n  title: x\n  status: 'done'", id="quoted"),
        pytest.param("- id: >-\n    A\n  title: x\n", "- id: >-\n    A\n  status: done\n  title: x\n", id="folded id"),
        pytest.param(
            "- id: A\n  title: x\n  status: completed", "- id: A\n  title: x\n  status: completed", id="is so"
        ),
    ],
)
def test_set_statuses(before: str, after: str) -> None:
    assert set_statuses(f"tasks:\n{before}", {"A": TaskStatus.DONE}) == f"tasks:\n{after}"


def test_a_task_that_is_not_there() -> None:
    with pytest.raises(StorageError, match="no task B") as caught:
        set_statuses("tasks:\n- {id: A, title: x}\n", {"A": TaskStatus.DONE, "B": TaskStatus.DONE})
    assert caught.value.hint


@dataclass(frozen=True)
class Layout:
    """How one task is written: in a block or with braces, its keys in some order, its status in some shape."""

    keys: tuple[str, ...]
    shape: str
    flow: bool
    title: str
    noise: str
    word: TaskStatus


SHAPES = {
    "absent": None,
    "plain": "status: {}",
    "single": "status:  '{}'",
    "double": 'status: "{}"',
    "quoted key": '"status": {}',
}
LAYOUTS = st.builds(
    Layout,
    keys=st.permutations(["id", "status", "title", "dod"]).map(tuple),
    shape=st.sampled_from(sorted(SHAPES)),
    flow=st.booleans(),
    title=st.sampled_from(
        ["plain words", '"quo: ted # not a comment"', "'it''s'", "\U0001f600 结账 é", '"\\u00e9\\n"']
    ),
    noise=st.sampled_from(["", "   ", " # status: todo", "\t# tab", " # \U0001f600"]),
    word=st.sampled_from(TaskStatus),
)


def render(
    layouts: list[Layout], words: list[TaskStatus], indent: int, end: str, *, inserted: dict[int, TaskStatus]
) -> str:
    """The file with the statuses *words*; tasks without a status get the *inserted* one, as set_statuses should."""
    lines = ["# the plan  ", "version: 1", "", "tasks:   # all of them"]
    for number, (layout, word) in enumerate(zip(layouts, words, strict=True)):
        new = [f"status: {inserted[number]}"] if number in inserted else []
        status = SHAPES[layout.shape]
        parts = {
            "id": [f"id: T{number}", *new],
            "status": [status.format(word)] if status else [],
            "title": [f"title: {layout.title}"],
            "dod": ["dod: [a,  'status: todo']"],
        }
        fields = [(part, part in new) for key in layout.keys for part in parts[key]]
        start = " " * indent
        if layout.flow:
            lines.append(f"{start}- {{{', '.join(part for part, _ in fields)}}}{layout.noise}")
            continue
        noisy = [part if fresh else part + layout.noise for part, fresh in fields]
        lines += [f"{start}- {noisy[0]}", *(f"{start}  {part}" for part in noisy[1:]), ""]
    return end.join(lines)


@given(
    st.lists(LAYOUTS, min_size=1, max_size=4),
    st.lists(st.none() | st.sampled_from(TaskStatus), min_size=4, max_size=4),
    st.sampled_from([0, 2, 4]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
)
@settings(max_examples=200)
def test_every_other_byte_stays(
    layouts: list[Layout], wanted: list[TaskStatus | None], indent: int, end: str, bom: str
) -> None:
    before = [layout.word for layout in layouts]
    statuses = {f"T{n}": new for n, (new, _) in enumerate(zip(wanted, layouts, strict=False)) if new is not None}
    words = [statuses.get(f"T{n}", word) for n, word in enumerate(before)]
    inserted = {
        n: statuses[f"T{n}"]
        for n, layout in enumerate(layouts)
        if layout.shape == "absent" and statuses.get(f"T{n}", TaskStatus.TODO) is not TaskStatus.TODO
    }
    text = bom + render(layouts, before, indent, end, inserted={})
    assert set_statuses(text, statuses) == bom + render(layouts, words, indent, end, inserted=inserted)
