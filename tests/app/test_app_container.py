"""Agents in containers: what they see there, what limits them, and that their work lands as from anywhere else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from app.test_app_worktree import TARGET, repository, shown
from support.engines import BROKEN, ENGINE, WORKER_PROGRAMS, store_with_image
from support.needs import needs
from support.projects import Bench, git, lay_project, task

pytestmark = needs(ENGINE)
Engine: TypeAlias = tuple[Mapping[str, str], str]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The variables by which the engine finds its store, and an image there that an agent can work in."""
    with store_with_image(WORKER_PROGRAMS) as found:
        yield found


def lay(
    folder: Path, engine: Engine, line: str, *tasks: Mapping[str, Any], settings: Any = None,
    limits: Any = None, **workspace: Any,
) -> Bench:  # fmt: skip
    """A project whose agent is a line of shell in a container; *workspace* are more keys of that."""
    variables, image = engine
    repo = repository(folder)
    place = {"kind": "container", "repo": str(repo), "image": image, "network": "none", **workspace}
    agent = {"name": "command", "argv": ["sh", "-c", line]}
    bench = lay_project(folder, *tasks, agent=agent, settings={"workspace": place, **(settings or {})},
                        limits=limits)  # fmt: skip
    env = {**os.environ, **variables, "XDG_STATE_HOME": str(folder / "state"), "HOME": str(folder / "home")}
    (folder / "home").mkdir()
    return replace(bench, env=env)


def ask(bench: Bench, *words: str) -> str:
    done = subprocess.run([ENGINE, *words], env=dict(bench.env), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def containers(bench: Bench) -> list[str]:
    return ask(bench, "ps", "--all", "--format={{.Names}}", f"--filter=label=aiframe.project={bench.root}").split()


def test_a_task_is_worked_in_a_container_and_lands(tmp_path: Path, engine: Engine) -> None:
    line = "grep -q 'Task T1' && echo one >one.txt && git add -A && git -c user.name=a -c user.email=a@b.c commit -qm x"
    bench = lay(tmp_path, engine, line, task("T1", "grep -qx one one.txt"))
    repo = tmp_path / "my app"
    before = shown(repo)
    done = bench.tick()
    assert bench.where == "DONE", done.said + bench.log()
    assert git(repo, "log", "--format=%s", TARGET).splitlines()[0] == "T1: Task T1"
    assert shown(repo) == before
    assert containers(bench) == []


LOOK = """
ask() { if (eval "$2") >/dev/null 2>&1; then echo "$1"; fi >>seen.txt; }
ask "prompt on standard input" 'grep -q "Task T1"'
ask "the specification" 'grep -q "Sells things" "$P/SPEC.md"'
ask "the state" 'grep -q RUNNING "$P/STATE.json"'
ask "the tasks" 'grep -q T1 "$P/TASKS.yaml"'
ask "WRITES a document" 'echo x >>"$P/SPEC.md"'
touch "$P/NEW.md" "$R/NEW.md"
ask "PROJECT.yaml" 'test -e "$P/PROJECT.yaml"'
ask "its repository" 'ls "$P/.git"'
ask "its logs" 'ls "$P/logs/events.ndjson"'
ask "the person's repository" 'ls "$R"'
ask "WRITES to the root" 'touch /x || touch /bin/x'
ask "a temporary folder" 'touch "$TMPDIR/x"'
ask "a home of its own" 'test "$HOME" = /home/agent && touch ~/kept'
ask "an allowed file" 'grep -q the-whole-secret ~/.tool/auth.json'
ask "WRITES an allowed file" 'echo x >>~/.tool/auth.json'
ask "ANOTHER file of the home" 'ls ~/.ssh "$H/.ssh"'
ask "an allowed variable" 'test "$TOOL_TOKEN" = t0ken-allowed'
ask "ANOTHER variable" 'env | grep -q other-secret'
cat ~/.tool/auth.json; echo "the login is $TOOL_LOGIN"
ask "the locale" 'test -n "$LC_ALL"'
ask "the run" 'env | grep -q AIFRAME_RUN_'
ask "A CAPABILITY" 'grep CapEff /proc/self/status | grep -v 0000000000000000'
ask "no new privileges" 'grep -q "NoNewPrivs:.*1" /proc/self/status'
ask "ONLY loopback" 'test "$(ls /sys/class/net)" = lo'
ask "MORE memory" 'head -c 90000000 /dev/zero | grep -ac 0 || test $? = 1'
ask "MORE processes" 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1 & done'
"""
SEEN = """\
prompt on standard input
the specification
the state
the tasks
a temporary folder
a home of its own
an allowed file
an allowed variable
the locale
no new privileges
ONLY loopback
"""


def test_an_agent_gets_what_is_allowed_by_name_and_nothing_else(tmp_path: Path, engine: Engine) -> None:
    home, repo = tmp_path / "home", tmp_path / "my app"
    line = f"P='{tmp_path}/shop' R='{repo}' H='{home}'\n{LOOK}"
    credentials = {"env": ["TOOL_TOKEN", "TOOL_LOGIN"], "files": ["~/.tool/auth.json"]}
    bench = lay(tmp_path, engine, line, task("T1", "test -s seen.txt"), credentials=credentials, memory_mb=40,
                processes=20)  # fmt: skip
    for name, text in {".tool/auth.json": '{"refresh_token": "the-whole-secret-of-it"}\n', ".ssh/id": "key\n"}.items():
        (home / name).parent.mkdir()
        (home / name).write_text(text)
    done = bench.tick(TOOL_TOKEN="t0ken-allowed", TOOL_LOGIN="l0gin-that-is-allowed", OTHER="other-secret")
    assert bench.where == "DONE", done.said + bench.log()
    assert git(repo, "show", f"{TARGET}:seen.txt") + "\n" == SEEN, bench.log()
    assert not (bench.root / "NEW.md").exists()
    assert not (repo / "NEW.md").exists()
    assert "the-whole-secret" in (home / ".tool" / "auth.json").read_text()
    assert "the login is [redacted TOOL_LOGIN]" in bench.log()
    logged = b"".join(path.read_bytes() for path in (bench.root / "logs").rglob("*") if path.is_file())
    assert [secret for secret in (b"l0gin-that-is-allowed", b"the-whole-secret") if secret in logged] == []
    left = tmp_path / "state" / "aiframe" / "workspaces" / "shop"
    assert [path.name for path in left.iterdir()] == [".owner.json"], "the agent's home is left"
    assert containers(bench) == []


def test_what_is_too_long_for_a_prompt_is_there_to_be_read(tmp_path: Path, engine: Engine) -> None:
    look = f"grep -q 'the last word' '{tmp_path}'/shop/logs/runs/*/prompt-whole.md && echo one >one.txt"
    line = f"cat >asked.log <<'END-OF-IT'\n{{prompt}}\nEND-OF-IT\n{look}"
    bench = lay(tmp_path, engine, line, task("T1", "test -s one.txt", description="word " * 40_000 + "the last word"))
    done = bench.tick()
    assert bench.where == "DONE", done.said + bench.log()


def without(name: str) -> str:
    """The folders of PATH in which there is no program *name*, nor any other engine."""
    folders = os.environ["PATH"].split(":")
    return ":".join(f for f in folders if not any((Path(f) / each).exists() for each in (name, "docker")))


@pytest.mark.parametrize(
    ("workspace", "env", "said", "cure"),
    [
        pytest.param({"image": "localhost/nothing:1"}, {}, "has no image localhost/nothing:1", "aiframe image build",
                     id="no image"),
        pytest.param({}, BROKEN, f"{ENGINE} does not work here", "apt-get install podman",
                     id="an engine that does not work"),
        pytest.param({"credentials": {"files": ["~/.nothing"]}}, {}, "get ~/.nothing, which does not exist", "log in",
                     id="no login"),
        pytest.param({"credentials": {"files": [f"~/{'x' * 300}"]}}, {}, "which does not exist", "log in",
                     id="a login with a name that cannot be"),
        pytest.param({"network": "nowhere"}, {}, "nowhere", "workspace", id="no such network"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_with_its_cure_before_an_agent_is_paid(
    tmp_path: Path, engine: Engine, workspace: dict[str, Any], env: dict[str, str], said: str, cure: str
) -> None:
    bench = lay(tmp_path, engine, "touch one.txt", task("T1", "test -f one.txt"), **workspace)
    done = bench.tick(**env)
    assert bench.where == "ERROR", bench.log()
    assert bench.state["failure"]["kind"] == "setup"
    assert said in done.said, done.said
    assert cure in done.said
    assert bench.control["attempts"] == {}
    assert containers(bench) == []


def test_the_roles_that_write_documents_work_in_containers_too(tmp_path: Path, engine: Engine) -> None:
    plan = "version: 1\ntasks:\n  - {id: T1, title: Make it, verify: [test -f one.txt]}\n"
    line = (
        "case $(cat) in *'You are PO'*) ls '{repo}' >SPEC.md; touch .git/x lanes/x '{repo}/x'; echo x >>PROJECT.yaml;"
        " printf '%s' '{plan}' >TASKS.yaml;; *) echo one >one.txt;; esac"
    )
    repo = tmp_path / "my app"
    bench = lay(tmp_path, engine, line.format(repo=repo, plan=plan))
    bench.write("STATE.json", json.dumps({"state": "SPEC_READY", "interactive_mode": False}))
    settings = bench.text("PROJECT.yaml")
    (bench.root / "lanes").mkdir()
    done = bench.tick()
    done = bench.tick()
    assert bench.where == "DONE", done.said + bench.log()
    assert "a.txt" in bench.text("SPEC.md"), "the code is out of sight"
    assert bench.text("PROJECT.yaml") == settings
    assert not (repo / "x").exists()
    assert not (bench.root / ".git" / "x").exists()
    assert not (bench.root / "lanes" / "x").exists()
    assert containers(bench) == []


def test_tasks_side_by_side_have_a_container_each(tmp_path: Path, engine: Engine) -> None:
    port = 'echo "$AIFRAME_RESOURCE_PORT" >"$TASK.txt"'
    line = f"case $(cat) in *'one task: T1'*) TASK=T1;; *) TASK=T2;; esac; {port}; sleep 1"
    both = [task(name, f"test -f {name}.txt", locks={"writes": ["port", f"{name}.txt"]}) for name in ("T1", "T2")]
    settings = {"parallel": 2, "resources": {"port": {"range": [9000, 9001]}}}
    bench = lay(tmp_path, engine, line, *both, settings=settings)
    done = bench.run("run", "--project", str(bench.root))
    assert bench.where == "DONE", done.said + bench.log()
    repo = tmp_path / "my app"
    assert sorted(git(repo, "show", f"{TARGET}:{name}.txt") for name in ("T1", "T2")) == ["9000", "9001"]
    assert ask(bench, "ps", "--all", "--quiet", "--filter=label=aiframe.agent") == ""


def test_a_link_that_an_agent_leaves_is_not_followed_here(tmp_path: Path, engine: Engine) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret-0f-the-machine")
    line = f"ln -s {secret} {{run_dir}}/last_message.txt; mkfifo {{run_dir}}/pipe; echo one >one.txt"
    bench = lay(tmp_path, engine, line, task("T1", "test -f one.txt"))
    bench.tick()
    assert bench.where == "DONE", bench.log()
    assert list((bench.runs()[0] / "shared").iterdir()) == []
