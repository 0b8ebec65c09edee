"""What gets into a prompt: no more than the agent takes, and nothing from outside of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.projects import Bench, dev, lay_project, play, task

CAT = {"name": "command", "argv": ["sh", "-c", "cat > got; wc -c < got"]}


def test_a_prompt_that_is_too_long_is_shortened_and_kept_whole(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "true"), agent={"name": "command", "argv": ["sh", "-c", "true", "{prompt}"]}
    )
    bench.write("SPEC.md", "BEGIN\n" + "much to say. " * 60_000 + "\nEND\n")
    assert (bench.tick().code, bench.where) == (0, "DONE")
    prompt = bench.prompts()[0]
    whole = bench.runs()[0] / "prompt-whole.md"
    assert len(prompt.encode()) < 128 * 1024
    assert f"characters are left out here; all of it: {whole} ...]" in prompt
    assert ("BEGIN\n" in prompt, "\nEND\n" in prompt, "must be a JSON object" in prompt) == (
        True,
        True,
        "must be a JSON object" in whole.read_text(),
    )
    assert whole.read_text().count("much to say. ") == 60_000
    assert "Implement exactly one task: T1" in prompt


def test_a_prompt_that_fits_is_as_it_is(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "test -e got"), agent=CAT)
    bench.write("SPEC.md", "much to say. " * 60_000)
    assert (bench.tick().code, bench.where) == (0, "DONE")
    assert bench.text("got") == bench.prompts()[0]
    assert bench.prompts()[0].count("much to say. ") == 60_000
    assert not (bench.runs()[0] / "prompt-whole.md").exists()


LINKED = ["SPEC.md", "ROLES.md", "notes/context_snapshot.md", "notes/interaction_notes.md", "INTAKE_HISTORY.md"]


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("far", [True, False], ids=["to outside", "within"])
def test_a_link_out_of_the_project_is_not_read(tmp_path: Path, name: str, far: bool) -> None:
    bench = lay_project(tmp_path, task("T1", "true"), turns=[dev()])
    target = tmp_path / "private" if far else bench.root / "docs" / "private"
    target.parent.mkdir(exist_ok=True)
    target.write_text("the family silver\n")
    (bench.root / name).parent.mkdir(exist_ok=True)
    (bench.root / name).unlink(missing_ok=True)
    (bench.root / name).symlink_to(target)
    role = "SPEC_READY" if name == "INTAKE_HISTORY.md" else "DEV_READY"
    bench.edit_state(state=role)
    play(bench, [dev(), {"role": "PO", "closing": {"summary": "x"}}])
    bench.tick()
    told = [e["message"] for e in bench.events if e["kind"] == "noted" and "leads out of the project" in e["message"]]
    if name != "ROLES.md":  # DEV's prompt has none of it
        assert ("family silver" in bench.prompts()[0]) is not far
    assert told == ([f"{name} is a link that leads out of the project: it was not read"] if far else [])
    assert target.read_text() == "the family silver\n"


def test_a_link_that_an_agent_makes_of_a_note(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("the family silver\n")
    plant = dev(run=["mkdir -p notes; ln -sf ../../private notes/context_snapshot.md", "echo 1 > one"], attempt=1)
    bench = lay_project(tmp_path, task("T1", "grep -q 2 one"), turns=[plant, dev(files={"one": "2"})])
    bench.tick()
    assert bench.where == "DONE"
    assert "family silver" not in "".join(bench.prompts())
    assert any("notes/context_snapshot.md is a link that leads out" in e.get("message", "") for e in bench.events)


def reviewed(folder: Path) -> Bench:
    """A project whose review waits."""
    state = {"state": "DEV_READY", "interactive_mode": True}
    bench = lay_project(folder, task("T1", "true", review=True), turns=[dev()], state=state)
    bench.tick()
    bench.tick()
    assert bench.where == "REVIEW_WAITING"
    return bench


def test_a_review_by_a_link_out_of_the_project(tmp_path: Path) -> None:
    bench = reviewed(tmp_path)
    (tmp_path / "private").write_text("the family silver\n")
    (bench.root / "notes" / "review_rejection.md").symlink_to(tmp_path / "private")
    ended = bench.tick()
    assert (ended.code, bench.where) == (2, "REVIEW_WAITING")
    assert "review_rejection.md" in ended.said
    assert "is a link that leads out of the project" in ended.said
    assert "Traceback" not in ended.said


def test_an_archive_that_leads_out_of_the_project(tmp_path: Path) -> None:
    bench = reviewed(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", bench.root / "notes" / "reviews")
    bench.do("approve", "--notes", "fine")
    bench.tick()
    assert os.listdir(tmp_path / "elsewhere") == []
    assert [path.name.partition("-")[0] for path in (bench.root / "notes" / "reviews").iterdir()] == ["approval"]


def test_a_note_is_not_written_through_a_link(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    (tmp_path / "private").write_text("mine\n")
    (bench.root / "notes").mkdir()
    (bench.root / "notes" / "interaction_notes.md").symlink_to(tmp_path / "private")
    ended = bench.do("note", "use tabs")
    assert (ended.code, (tmp_path / "private").read_text()) == (2, "mine\n")
    assert "leads outside of the project" in ended.said
