"""The image that agents work in: built, looked at, and what `doctor` says of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from app.test_app_container import Engine, containers, engine, lay
from support.engines import ENGINE
from support.needs import needs
from support.projects import task

__all__ = ["engine"]
pytestmark = needs(ENGINE)


def test_an_image_is_built_by_the_frames_own_file_and_work_is_done_in_it(tmp_path: Path, engine: Engine) -> None:
    _, image = engine
    frame = tmp_path / "frame"
    for folder in ("projects", "prompts", "templates"):
        (frame / folder).mkdir(parents=True)
    (frame / "TEMPLATE_ROOT").touch()
    (frame / "templates" / "worker.Containerfile").write_text("ARG BASE\nFROM ${BASE}\nENV MADE=here\n")
    made = f"localhost/made-{tmp_path.name.lower().replace('_', '')}"
    line = 'echo "$MADE" >one.txt'
    bench = lay(tmp_path, engine, line, task("T1", "grep -qx here one.txt"), image=made)
    told = bench.tick()
    assert f"{ENGINE} has no image {made}" in told.said
    built = bench.do("image", "build", "--base", image, "--frame", str(frame))
    assert built.code == 0, built.said
    assert f"{ENGINE} has the image {made}" in built.out
    bench.do("resume")
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert containers(bench) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("FROM scratch\nCOPY nothing /\n", "could not build", id="it cannot be built"),
        pytest.param("FROM scratch\nCOPY worker.Containerfile /\n", "no container of", id="no shell"),
    ],
)
def test_an_image_that_no_agent_can_work_in_is_refused(tmp_path: Path, engine: Engine, text: str, said: str) -> None:
    frame = tmp_path / "frame"
    for folder in ("projects", "prompts", "templates"):
        (frame / folder).mkdir(parents=True)
    (frame / "TEMPLATE_ROOT").touch()
    (frame / "templates" / "worker.Containerfile").write_text(text)
    bench = lay(tmp_path, engine, "true", task("T1"), image=f"localhost/bad-{tmp_path.name.lower().replace('_', '')}")
    built = bench.do("image", "build", "--frame", str(frame))
    assert built.code == 1
    assert said in built.err


def test_why_no_container_of_an_image_starts_is_told(tmp_path: Path, engine: Engine) -> None:
    bench = lay(tmp_path, engine, "true", task("T1"), image=f"localhost/empty-{tmp_path.name.lower().replace('_', '')}")
    (tmp_path / "x").touch()
    made = ["tar", "--create", "--directory", str(tmp_path), "x"]
    with subprocess.Popen(made, stdout=subprocess.PIPE) as tar:
        words = [ENGINE, "import", "-", json.loads(bench.text("PROJECT.yaml"))["workspace"]["image"]]
        subprocess.run(words, stdin=tar.stdout, env=dict(bench.env), check=True, capture_output=True)
    told = bench.tick().said
    assert bench.state["failure"]["kind"] == "setup"
    assert re.search(r"the agent's container cannot be started: .*\bsh\b.* not found", told), told


def test_doctor_tells_limits_that_the_engine_does_not_hold(tmp_path: Path, engine: Engine) -> None:
    """As podman without root's rights where cgroups are of version 1: it says so and starts the container."""
    bench = lay(tmp_path, engine, "true", task("T1"))
    assert "does not hold all limits" not in bench.do("doctor").said
    complains = "echo 'Resource limits are not supported and ignored on cgroups V1 rootless systems' >&2"
    real = shutil.which(ENGINE, path=bench.env["PATH"])
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / ENGINE
    stand_in.write_text(f'#!/bin/sh\ncase "$*" in *--memory=*--pids-limit=*) {complains};; esac\nexec {real} "$@"\n')
    stand_in.chmod(0o755)
    told = bench.do("doctor", PATH=f"{tmp_path / 'bin'}:{bench.env['PATH']}").said
    assert f"{ENGINE} does not hold all limits: Resource limits are not supported" in told, told


def test_doctor_looks_into_the_image(tmp_path: Path, engine: Engine) -> None:
    bench = lay(tmp_path, engine, "true", task("T1"), credentials={"env": ["TOOL_TOKEN"]})
    told = bench.do("doctor").out
    assert f"container: {ENGINE} starts {engine[1]}" in told
    assert "agents are to get TOOL_TOKEN, which is not set" in told
    settings = json.loads(bench.text("PROJECT.yaml"))
    bench.write("PROJECT.yaml", json.dumps(settings | {"agent": "codex"}))
    told = bench.do("doctor").out
    assert f"{engine[1]} has no codex" in told
    assert "codex: was not found" not in told, "it is looked for where it is not needed"
