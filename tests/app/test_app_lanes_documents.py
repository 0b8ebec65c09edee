"""Tasks side by side that change SPEC.md at the same time: nothing is lost, and nothing written over unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench
from support.scripted_lanes import does, lay, proven

from aiframe.app.lanes.collecting import collect
from aiframe.app.lanes.opening import open_
from aiframe.app.project.lanes import lane_root, read_record, write_record
from aiframe.app.project.site import open_site
from aiframe.core.effects import OpenLane
from aiframe.store.layout import IGNORED
from aiframe.workspaces.create import ensure_repository

SPEC = "# Shop\n\nSells things.\n\n## Prices\n\nLow.\n\n## Hours\n\nLong.\n"
MEET = "touch {0}/met-{1}; while ! test -e {0}/met-T1 -a -e {0}/met-T2; do sleep 0.05; done"


def edits(folder: Path, name: str, what: str) -> dict[str, Any]:
    """A turn that changes its SPEC.md by `sed` once both agents are there."""
    spec = folder / "shop" / "lanes" / f"shop.{name}" / "SPEC.md"
    return does(name, run=[MEET.format(folder, name), f"sed -i '{what}' {spec}"])


def lay_both(folder: Path, first: str, second: str) -> Bench:
    turns = [edits(folder, "T1", first), edits(folder, "T2", second)]
    bench = lay(folder, proven("T1"), proven("T2"), turns=turns, attended=False)
    bench.write("SPEC.md", SPEC)
    return bench


@pytest.mark.parametrize("person", [False, True], ids=["two agents", "and a person"])
def test_changes_of_different_places_are_both_taken(tmp_path: Path, person: bool) -> None:
    bench = lay_both(tmp_path, "s/Low/Lower/", "s/Long/Longer/")
    if person:
        script = tmp_path / "script.json"
        line = f"sed -i 's/Sells things/Sells all/' {bench.root}/SPEC.md; sed -i 's/Low/Lower/'"
        script.write_text(script.read_text().replace("sed -i 's/Low/Lower/'", line))
    ran = bench.do("run")
    assert bench.where == "DONE", ran.said
    wanted = SPEC.replace("Low", "Lower").replace("Long", "Longer")
    assert bench.text("SPEC.md") == (wanted.replace("things", "all") if person else wanted), ran.said
    assert "SPEC.md has the changes of" in ran.out
    assert not bench.quarantined()
    assert bench.git("status", "--porcelain") == ""


@pytest.mark.parametrize("taken", [True, False], ids=["accepted", "discarded"])
def test_changes_that_do_not_go_together_wait_for_a_person(tmp_path: Path, taken: bool) -> None:
    bench = lay_both(tmp_path, "s/Low/Lower/", "s/Low/Higher/")
    ran = bench.do("run")
    first, second = ("Lower", "Higher") if "Lower" in bench.text("SPEC.md") else ("Higher", "Lower")
    later = "T2" if first == "Lower" else "T1"
    assert bench.text("SPEC.md") == SPEC.replace("Low", first)
    assert f"SPEC.md was changed by {later}, and by others meanwhile: it stays" in ran.out
    (kept,) = (bench.control_dir / "quarantine").glob(f"*.{later}/project/SPEC.md")
    assert kept.read_text() == SPEC.replace("Low", second)
    assert str(kept) in ran.out
    for said in (bench.do("why").out, bench.do("status").out):
        assert "aiframe accept SPEC.md" in said
        assert "(it was changed by several tasks at once, and their changes do not go together; kept in" in said
    notes = [event["message"] for event in bench.events if event["kind"] == "noted"]
    assert len([note for note in notes if "SPEC.md was changed by" in note]) == 1, "told once"
    assert f"-{first}." in bench.do("accept", "--diff", "SPEC.md").out
    done = bench.do("accept", *([] if taken else ["--discard"]), "SPEC.md")
    assert done.code == 0, done.said
    assert bench.text("SPEC.md") == SPEC.replace("Low", second if taken else first)
    assert "accept SPEC.md" not in bench.do("why").out
    assert kept.exists()


def test_killed_in_between_a_change_is_taken_once(tmp_path: Path) -> None:
    bench = lay(tmp_path, proven("T1"), proven("T2"), turns=[], attended=False)
    bench.write("SPEC.md", SPEC)
    site = open_site(bench.root, bench.env)
    ensure_repository(bench.root, IGNORED)
    for name, old, new in (("T1", "Low", "Lower"), ("T2", "Long", "Longer")):
        open_(site, OpenLane(name))
        (lane_root(site.root, name) / "SPEC.md").write_text(SPEC.replace(old, new))
    before = read_record(lane_root(site.root, "T2"))
    assert before is not None
    collect(site, lane_root(site.root, "T1"))
    collect(site, lane_root(site.root, "T2"))
    both = bench.text("SPEC.md")
    assert both == SPEC.replace("Low", "Lower").replace("Long", "Longer")
    write_record(lane_root(site.root, "T2"), before)  # as if the document had been written, and then nothing more
    collect(site, lane_root(site.root, "T2"))
    assert bench.text("SPEC.md") == both
