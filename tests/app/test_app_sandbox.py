"""Verify commands in the project's sandbox, from the tick to the result; and what a person is told and asked."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pexpect
import pytest
from support.needs import needs
from support.projects import Bench, dev, git, lay_project, task

from aiframe.app.making.frame import lay_frame
from aiframe.app.project.site import open_site
from aiframe.app.protection.sandboxing import policy_for, sandbox_of
from aiframe.app.reports.doctor import examine
from aiframe.core.errors import UsageError


def without(program: str, place: Path) -> str:
    """A PATH on which everything but *program* is found."""
    place.mkdir(exist_ok=True)
    for folder in reversed(os.environ["PATH"].split(":")):
        for path in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if path.name != program:
                (place / path.name).unlink(missing_ok=True)
                (place / path.name).symlink_to(path)
    return str(place)


@needs("bwrap")
def test_a_check_passes_in_the_sandbox_and_the_log_says_so(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "test -e one && git log -1 --format=%s && test -n \"$GIVEN\" && ! env | grep HELD"),
        turns=[dev(run=["touch one"])], settings={"sandbox": "auto", "env": ["GIVEN"]},
    )  # fmt: skip
    assert bench.tick(GIVEN="x", HELD="y").code == 0, bench.log()
    assert bench.statuses() == {"T1": "done"}
    assert "verify 1/1 (bubblewrap): test -e one" in bench.log()


HARM = {
    "reads a key": "! cat $KEYS/key",
    "reaches out": "! grep -v -e '|' -e lo: /proc/net/dev",
    "approves itself": "! touch notes/review_approval.md",
    "rewrites the plan": "! sh -c 'echo tasks: [] > TASKS.yaml'",
    "plants a hook": "! sh -c 'echo evil > .git/hooks/pre-commit'",
}


@needs("bwrap")
def test_f18_a_planned_check_that_means_harm_proves_nothing(tmp_path: Path) -> None:
    """Each check passes only where the harm that it tries does not come about."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "key").write_text("s3cret")
    lines = [line.replace("$KEYS", str(keys)) for line in HARM.values()]
    bench = lay_project(tmp_path, task("T1", *lines), turns=[dev(run=["touch one"])], settings={"sandbox": "auto"})
    assert bench.tick().code == 0, bench.log()
    assert bench.statuses() == {"T1": "done"}
    assert "s3cret" not in bench.log()
    assert not (bench.root / "notes" / "review_approval.md").exists()


@needs("bwrap")
@pytest.mark.parametrize("network", [False, True])
def test_the_network_is_the_task_s_to_ask_for(tmp_path: Path, network: bool) -> None:
    check = "test $(grep -c : /proc/net/dev) -gt 1"
    plan = task("T1", check, network=network)
    bench = lay_project(tmp_path, plan, turns=[dev(run=["touch one"])], settings={"sandbox": "auto"})
    bench.tick()
    outside = Path("/proc/net/dev").read_text().count(":") > 1
    assert (bench.statuses()["T1"] == "done") == (network and outside), bench.log()


SET_UP = {"gates": {"clean_checkout": True}, "workspace": {"setup": ["true"]}}


@pytest.mark.parametrize(
    ("verify", "more"),
    [
        pytest.param(["true"], {}, id="a verify command"),
        pytest.param([], {"gates": {"doctor": "true"}}, id="a command for the whole project"),
        pytest.param([], SET_UP, id="the setup of a clean checkout"),
    ],
)
def test_no_sandbox_stops_before_the_agent_is_paid_and_says_the_way_out(
    tmp_path: Path, verify: list[str], more: dict[str, object]
) -> None:
    bench = lay_project(
        tmp_path, task("T1", *verify), turns=[dev(run=["touch one"])], settings={"sandbox": "auto", **more}
    )
    path = without("bwrap", tmp_path / "path")
    ended = bench.tick(PATH=path)
    assert (ended.code, bench.where) == (1, "ERROR")
    assert "bubblewrap is not installed" in ended.said + bench.log()
    assert "sandbox: none" in bench.do("why", PATH=path).out
    assert not list(bench.root.glob("logs/runs/*/agent.jsonl")), "the agent was started in vain"
    bench.write("PROJECT.yaml", bench.text("PROJECT.yaml").replace('"auto"', '"none"'))
    assert bench.do("resume", PATH=path).code == 0
    assert bench.tick(PATH=path).code == 0
    assert bench.statuses() == {"T1": "done"}
    assert "(no sandbox)" in bench.log()


@needs("bwrap")
@pytest.mark.parametrize("clean", [False, True], ids=["in the workspace", "in a clean checkout"])
def test_a_worktree_s_checks_and_setup_reach_neither_the_repository_nor_the_project(
    tmp_path: Path, clean: bool
) -> None:
    repo = tmp_path / "theirs"
    repo.mkdir()
    (repo / ".gitignore").write_text("made\n")
    git(repo, "init", "-q", "-b", "master")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "first")
    before = (repo / ".git" / "config").read_bytes()
    harm = f"! sh -c 'echo x >>{repo}/.git/config' && ! test -e {tmp_path}/shop/TASKS.yaml"
    history = "! git log" if clean else "git log -1 --format=%s && ! git update-ref refs/x HEAD"
    look = f"test -f one && test -f made && {history}"
    settings = {
        "sandbox": "auto", "gates": {"clean_checkout": clean},
        "workspace": {"kind": "worktree", "repo": str(repo), "setup": [f"{harm} && touch made"]},
    }  # fmt: skip
    bench = lay_project(tmp_path, task("T1", f"{look} && {harm}"), turns=[dev(run=["touch one"])], settings=settings)
    places = {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    bench.tick(**places)
    assert bench.statuses() == {"T1": "done"}, bench.log()
    assert "(bubblewrap)" in bench.log()
    assert (repo / ".git" / "config").read_bytes() == before
    assert git(repo, "show", "aiframe/shop/landed:one") == ""


def test_a_task_without_commands_needs_no_sandbox(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", review=False), turns=[dev(run=["touch one"])], settings={"sandbox": "auto"}
    )
    bench.tick(PATH=without("bwrap", tmp_path / "path"))
    assert bench.statuses() == {"T1": "done"}, bench.log()


@needs("bwrap")
def test_a_document_may_be_a_link(tmp_path: Path) -> None:
    bench = lay_project(
        tmp_path, task("T1", "cat AGENTS.md && ! sh -c 'echo x > CLAUDE.md'"), turns=[dev(run=["touch one"])],
        settings={"sandbox": "auto"},
    )  # fmt: skip
    bench.write("CLAUDE.md", "Be brief.\n")
    (bench.root / "AGENTS.md").symlink_to("CLAUDE.md")
    assert bench.tick().code == 0, bench.log()


def test_what_project_yaml_lets_a_check_read(tmp_path: Path) -> None:
    settings = {"sandbox": {"read": ["../data", "/etc/hostname", "~/sdk"], "memory_mb": 100, "processes": 7}}
    bench = lay_project(tmp_path, settings=settings)
    for name in ("data", "home/sdk"):
        (tmp_path / name).mkdir(parents=True)
    site = open_site(bench.root, {**os.environ, "HOME": str(tmp_path / "home")})
    policy = policy_for(site, bench.root, network=False, run_id="r")
    assert set(policy.read) >= {tmp_path / "data", Path("/etc/hostname"), tmp_path / "home" / "sdk"}
    assert set(policy.read) >= {bench.root / name for name in (".git", "TASKS.yaml", "STATE.json", "notes", "logs")}
    assert (policy.memory_bytes, policy.processes) == (100 * 1024 * 1024, 7)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(UsageError, match=r"sandbox may read \.\./data, which does not exist"):
        policy_for(site, bench.root, network=False, run_id="r")


@needs("bwrap")
def test_a_sandbox_is_chosen_once_for_a_site(tmp_path: Path) -> None:
    site = open_site(lay_project(tmp_path, settings={"sandbox": "auto"}).root, os.environ)
    assert sandbox_of(site) is sandbox_of(site)


@pytest.mark.parametrize(
    ("sandbox", "ok", "detail", "cure"),
    [
        pytest.param("none", None, "your own rights", "sandbox: auto", id="none"),
        pytest.param("auto", True, "the project (writable)", "", id="auto", marks=needs("bwrap")),
        pytest.param("auto", True, "the project/.git (read-only)", "", id="what it binds", marks=needs("bwrap")),
        pytest.param({"processes": 0}, True, "processes: not limited", "", id="a limit", marks=needs("bwrap")),
        pytest.param({"kind": "container", "image": "nowhere/x"}, False, "no sandbox", "sandbox: none", id="no image"),
    ],
)
def test_doctor(tmp_path: Path, sandbox: object, ok: bool | None, detail: str, cure: str) -> None:
    bench = lay_project(tmp_path, settings={"sandbox": sandbox})
    bench.git("init", "-q")
    environ = os.environ if ok is not False else {**os.environ, "PATH": "/nowhere"}
    [found] = [each for each in examine(None, bench.root, environ) if each.name == "sandbox"]
    assert found.ok is ok
    assert detail in found.detail
    assert cure in found.cure


@pytest.mark.parametrize(
    ("answer", "written", "noted"),
    [pytest.param("yes", "none", False, id="yes"), pytest.param("", "auto", True, id="Enter"),
     pytest.param("\x04", "auto", True, id="end of input")],
)  # fmt: skip
def test_init_asks_at_a_terminal_where_no_sandbox_works(tmp_path: Path, answer: str, written: str, noted: bool) -> None:
    frame = lay_frame(tmp_path / "frame").root
    path = without("bwrap", tmp_path / "path")
    with pexpect.spawn(
        sys.executable, ["-m", "aiframe", "init", "shop"], cwd=str(frame), env={**os.environ, "PATH": path},
        encoding="utf-8", timeout=60, dimensions=(40, 200),
    ) as terminal:  # fmt: skip
        terminal.expect("your own rights")
        terminal.expect("yes for")
        if answer == "\x04":
            terminal.sendeof()
        else:
            terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        assert ("the first task will stop there" in str(terminal.before)) == noted
    assert f"\nsandbox: {written}\n" in (frame / "projects" / "shop" / "PROJECT.yaml").read_text()


def test_init_without_a_terminal_asks_nothing(tmp_path: Path) -> None:
    frame = Bench(lay_frame(tmp_path / "frame").root)
    made = frame.run("init", "shop", PATH=without("bwrap", tmp_path / "path"))
    assert made.code == 0
    assert "bubblewrap is not installed: the first task will stop there" in made.out
    assert "\nsandbox: auto\n" in frame.text("projects/shop/PROJECT.yaml")
