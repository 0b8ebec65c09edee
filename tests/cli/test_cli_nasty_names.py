"""Names that lead elsewhere, given to every command that takes one: an error with its cure, and nothing touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.projects import dev, lay_project, task

from aiframe.cli.main import run
from aiframe.core.errors import AiframeError
from aiframe.store.tasks_file import parse_tasks

NASTY = [
    "..", ".", "../outside", "../../outside/secret", "/etc/passwd", "a/../../outside", "T1/../T1", ".git",
    ".git/config", "logs/../../outside", "linked", "linked/secret", "~root", "$(touch pwned)", "`touch pwned`",
    "; touch pwned", "x\ny", "x\0y", "\x1b]0;title\x07", "\udcff", "a" * 300, "", " ", "-", "T1 ", "t1", "*", "%s",
    "{0}", "CON:", "\\\\host\\x",
]  # fmt: skip
COMMANDS = {
    "init": ["init", "NAME", "--frame", "FRAME"],
    "logs": ["logs", "--run", "NAME", "--project", "PROJECT"],
    "logs --follow": ["logs", "--follow", "--run", "NAME", "--project", "PROJECT"],
    "answer": ["answer", "NAME", "text", "--project", "PROJECT"],
    "retry": ["retry", "NAME", "--project", "PROJECT"],
    "reject": ["reject", "--notes", "no", "--task", "NAME", "--project", "PROJECT"],
    "accept": ["accept", "NAME", "--project", "PROJECT"],
    "accept --diff": ["accept", "--diff", "NAME", "--project", "PROJECT"],
    "accept --discard": ["accept", "--discard", "NAME", "--project", "PROJECT"],
    "project": ["status", "--project", "NAME", "--frame", "FRAME"],
    "schema": ["schema", "NAME"],
    "set": ["set", "NAME=1", "--project", "PROJECT"],
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A frame with a project in it, and beside it a folder that is nobody's business."""
    folder = tmp_path_factory.mktemp("ground")
    (folder / "outside").mkdir()
    (folder / "outside" / "secret").write_text("the family silver\n")
    frame = folder / "frame"
    (frame / "prompts").mkdir(parents=True)
    (frame / "TEMPLATE_ROOT").touch()
    bench = lay_project(frame / "projects", task("T1", "true"), turns=[dev()])
    bench.tick()
    assert bench.where == "DONE"
    (bench.root / "logs" / "tick-linked.log").symlink_to(folder / "outside" / "secret")
    (bench.root / "logs" / "runs" / "linked").symlink_to(folder / "outside")
    (bench.root / "linked").symlink_to(folder / "outside")
    before = os.getcwd()
    os.chdir(bench.root)
    yield folder
    os.chdir(before)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and link of *folder*, but for aiframe's own locks and stamps."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and "aiframe" not in path.name and path.name not in ("idle", "mutex"):
            found[str(path.relative_to(folder))] = (path.lstat().st_mode, path.read_bytes())
    return found


@pytest.mark.parametrize(
    ("command", "name"),
    # The folder that one is in is a project, so `.` names one.
    [pytest.param(c, n, id=f"{c} {n[:30]!a}") for c in COMMANDS for n in NASTY if (c, n) != ("project", ".")],
)
def test_a_name_that_leads_elsewhere(ground: Path, capsys: pytest.CaptureFixture[str], command: str, name: str) -> None:
    before = tree(ground)
    places = {"FRAME": str(ground / "frame"), "PROJECT": str(ground / "frame" / "projects" / "shop")}
    words = [places.get(word, word.replace("NAME", name) if word != "--frame" else word) for word in COMMANDS[command]]
    code = run(words)
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert "family silver" not in said.out + said.err
    assert "\x1b]" not in said.err + said.out
    assert (code, tree(ground)) == (2, before), said.err
    assert "cure" in said.err or "usage" in said.err or "hint" in said.err or "help" in said.err


@pytest.mark.parametrize("pattern", ["/etc", "../x", "src/../../x", "~/x", ".."])
def test_a_task_locks_nothing_outside(pattern: str) -> None:
    text = f"tasks:\n- id: T1\n  title: x\n  locks: {{writes: [src/, '{pattern}']}}\n"
    with pytest.raises(AiframeError) as caught:
        parse_tasks(Path("TASKS.yaml"), text.encode())
    assert "4:" in caught.value.message
    assert "leads out of the workspace" in caught.value.message
    assert parse_tasks(Path("TASKS.yaml"), text.replace(pattern, "a..b/**").encode()).tasks[0].writes == (
        "src/",
        "a..b/**",
    )
