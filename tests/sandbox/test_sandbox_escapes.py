"""F18: a verify command that means harm, in the real bubblewrap: it changes, reads and reaches nothing outside."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from support.needs import needs
from support.projects import git
from support.sandboxed import folder, run_in, supervised

from aiframe.app.protection.sandboxing import repository_paths
from aiframe.core.ports import Policy, Sandbox
from aiframe.sandbox.bubblewrap import Bubblewrap
from aiframe.sandbox.choose import choose

pytestmark = needs("bwrap")

SECRET = "s3cret-" + uuid.uuid4().hex
CONTROL = ("STATE.json", "TASKS.yaml", "PROJECT.yaml", "logs", "notes")


@dataclass(frozen=True)
class Ground:
    """A project with a repository in *workspace*, a person's *home* with a key, and a process of that person's."""

    workspace: Path
    home: Path
    victim: int
    sandbox: Sandbox
    policy: Policy

    def fill(self, line: str) -> str:
        """*line* with the names of places and of the process filled in."""
        return line.format(ws=self.workspace, home=self.home, pid=self.victim, me=os.getpid())

    def state(self) -> dict[str, bytes]:
        """Every file outside of what the command may write to."""
        files = [path for path in self.home.rglob("*") if path.is_file()]
        files += [path for path in (self.workspace / ".git").rglob("*") if path.is_file()]
        for name in CONTROL:
            place = self.workspace / name
            files += [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files}


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    tmp_path = tmp_path.resolve()
    home, workspace = folder(tmp_path / "home"), folder(tmp_path / "frame" / "projects" / "shop")
    (folder(home / ".ssh") / "id_rsa").write_text(SECRET)
    (folder(home / ".local" / "bin") / "tool").write_text("#!/bin/sh\necho a tool\n")
    (home / ".local" / "bin" / "tool").chmod(0o755)
    (folder(home / ".local" / "share") / "keyring").write_text(SECRET)
    for name in CONTROL:
        (folder(workspace / name) / "file" if "." not in name else workspace / name).write_text("as it was")
    (workspace / "link").symlink_to(home / ".ssh" / "id_rsa")
    git(workspace, "init", "-q", "-b", "main")
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "-m", "first")
    environ = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{home}/.local/bin:{os.environ['PATH']}",
        "API_KEY": SECRET,
        "GIT_DIR": SECRET,
        "SSH_AUTH_SOCK": SECRET,
    }
    read = (*repository_paths(workspace), *(workspace / name for name in CONTROL))
    victim = subprocess.Popen(["sleep", "600"], env=environ)
    yield Ground(workspace, home, victim.pid, choose("bubblewrap", "", environ), Policy(workspace, read=read))
    assert victim.poll() is None, "the command ended a process outside"
    victim.kill()
    victim.wait()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("mount -o remount,rw / && touch /escaped", id="remount the root"),
        pytest.param("mount -o remount,rw,bind /usr && touch /usr/escaped", id="remount a bind"),
        pytest.param("mount -o remount,rw,bind {ws}/.git && touch {ws}/.git/escaped", id="remount the repository"),
        pytest.param("umount -l {ws}/.git; umount -l {ws}/STATE.json && false", id="take a bind off"),
        pytest.param("mount --bind /usr {ws}", id="mount something"),
        pytest.param("unshare -Um sh -c 'mount -o remount,rw,bind /usr && touch /usr/escaped'", id="own namespace"),
        pytest.param("unshare -Um sh -c 'umount -l {ws}/.git; touch {ws}/.git/escaped'", id="own mounts"),
        pytest.param(
            "bwrap --bind / / --dev /dev sh -c 'mount -o remount,rw,bind /usr; touch /usr/escaped'", id="nested bwrap"
        ),
        pytest.param("bwrap --bind / / --dev /dev sh -c 'touch {ws}/.git/escaped'", id="nested bwrap, repository"),
        pytest.param("grep '^Cap[EPB][a-z]*:.*[1-9a-f]' /proc/self/status", id="capabilities"),
        pytest.param("unshare -U true", id="a namespace of its own"),
        pytest.param("touch /usr/escaped", id="write to the system"),
        pytest.param("touch /escaped", id="write to the root"),
        pytest.param("echo x >> /etc/passwd", id="write to /etc"),
        pytest.param("touch {home}/.ssh/escaped", id="write to the home"),
        pytest.param("mkdir -p {home}/x; test -e {home}/.ssh", id="look into the home"),
        pytest.param("echo x >> {home}/.local/bin/tool", id="change a program on PATH"),
        pytest.param("echo x > link", id="write through a link"),
        pytest.param("cat link", id="read through a link"),
        pytest.param("cat {home}/.ssh/id_rsa", id="read a key"),
        pytest.param("cat {home}/.local/share/keyring", id="read beside PATH"),
        pytest.param("cat /proc/*/root{home}/.ssh/id_rsa", id="read by another's root"),
        pytest.param("chroot /proc/1/root cat {home}/.ssh/id_rsa", id="chroot"),
        pytest.param("cat /etc/shadow", id="read passwords"),
        pytest.param("env | grep -e API_KEY -e SSH_AUTH -e GIT_DIR", id="variables"),
        pytest.param("cat /proc/*/environ | tr '\\0' '\\n' | grep -e API_KEY -e SSH_AUTH", id="others' variables"),
        pytest.param("grep -l sleep /proc/[0-9]*/comm", id="see processes"),
        pytest.param("kill -9 {pid}", id="kill"),
        pytest.param("kill -9 {me}", id="kill aiframe"),
        pytest.param(
            "python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(16, {pid}, 0, 0) != 0)'", id="ptrace"
        ),
        pytest.param("cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern", id="kernel settings"),
        pytest.param(
            "unshare -Umpf --mount-proc sh -c 'cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness'",
            id="kernel settings, fresh /proc",
        ),
        pytest.param("unshare -UmC sh -c 'mount -t cgroup2 none /tmp && mkdir /tmp/evil'", id="control groups"),
        pytest.param("echo h > /proc/sysrq-trigger", id="sysrq"),
        pytest.param("mknod x b 8 0 && head -c 1 x", id="a device"),
        pytest.param("ls /dev/sda /dev/vda /dev/kmsg /dev/mem 2>/dev/null | grep .", id="the machine's devices"),
        pytest.param("ls /sys/kernel /run/systemd /var/lib /var/run/docker.sock", id="other folders"),
        pytest.param("echo evil > .git/hooks/pre-commit", id="plant a hook"),
        pytest.param("git config core.fsmonitor evil", id="plant a setting"),
        pytest.param("git commit -q --allow-empty -m evil", id="commit"),
        pytest.param("git update-ref refs/heads/main HEAD~0 && git branch evil", id="make a branch"),
        pytest.param("rm -rf .git; test ! -e .git/HEAD", id="remove the repository"),
        pytest.param("mv .git .evil", id="move the repository away"),
        pytest.param("git clean -fdxq; git worktree add -q /tmp/wt", id="add a worktree"),
        pytest.param("echo '{{}}' > STATE.json", id="write the state"),
        pytest.param("rm -f TASKS.yaml PROJECT.yaml", id="remove control files"),
        pytest.param("mv PROJECT.yaml other && cp other PROJECT.yaml", id="replace a control file"),
        pytest.param("touch notes/review_approval.md", id="approve itself"),
        pytest.param("mv logs other || echo x >> logs/file", id="rewrite the journal"),
    ],
)
def test_it_stays_inside(ground: Ground, line: str) -> None:
    before = ground.state()
    ran = run_in(ground.sandbox, ground.policy, ground.fill(line), timeout_s=30)
    assert ran.code != 0, ran.said
    assert SECRET not in ran.said
    assert ground.state() == before
    for place in ("/escaped", "/usr/escaped"):
        assert not os.path.lexists(place)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("mount -o remount,rw,bind /usr && touch /usr/escaped", id="remount the system"),
        pytest.param("umount -l {ws}/.git; touch {ws}/.git/escaped", id="uncover the repository"),
        pytest.param("umount -l /proc/sys; cat /proc/sys/vm/swappiness > /proc/sys/vm/swappiness", id="uncover /proc"),
        pytest.param("mount -t proc none /proc; echo 60 > /proc/sys/vm/swappiness", id="a fresh /proc"),
        pytest.param("cat {home}/.ssh/id_rsa /proc/*/root{home}/.ssh/id_rsa", id="read a key"),
    ],
)
def test_a_namespace_within_an_old_bubblewrap_uncovers_nothing(ground: Ground, line: str) -> None:
    """Releases before 0.8 cannot forbid it: there the command has every capability."""
    sandbox = Bubblewrap(str(shutil.which("bwrap")), {"PATH": os.environ["PATH"], "HOME": str(ground.home)}, old=True)
    before = ground.state()
    inside = shlex.quote(f"echo in; {ground.fill(line)}")
    ran = run_in(sandbox, ground.policy, f"unshare -Umpf sh -c {inside}")
    assert ran.out.startswith("in\n"), ran.said
    assert ran.code != 0, ran.said
    assert SECRET not in ran.said
    assert ground.state() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("echo x > made && cat made && rm made", "x", id="write in the project"),
        pytest.param("touch /tmp/x $HOME/x $TMPDIR/y && ls $HOME", "x", id="temporary folder and home"),
        pytest.param("echo x > /var/tmp/x && cat /tmp/x", "x", id="/var/tmp"),
        pytest.param("git diff --stat && git log --format=%s && git status --porcelain", "first", id="git reads"),
        pytest.param("python3 -c 'import ssl, sqlite3, ctypes; print(1 + 1)'", "2", id="python"),
        pytest.param("tool", "a tool", id="a program on PATH"),
        pytest.param("python3 -c 'from multiprocessing import Lock; Lock(); print(5)'", "5", id="shared memory"),
        pytest.param("getent hosts localhost | grep -o localhost | head -1", "localhost", id="localhost"),
        pytest.param("id -un", psutil.Process().username(), id="user"),
        pytest.param("test -r STATE.json && cat logs/file", "as it was", id="control files can be read"),
    ],
)
def test_what_checks_need_works(ground: Ground, line: str, said: str) -> None:
    ran = run_in(ground.sandbox, ground.policy, line)
    assert (ran.code, ran.out.strip()) == (0, said), ran.said


CONNECT = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 5)'"


@pytest.mark.parametrize("network", [False, True])
def test_the_network_is_there_only_when_asked_for(ground: Ground, network: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        policy = Policy(ground.workspace, network=network)
        line = f"{CONNECT.format(port=server.getsockname()[1])} && ls /etc/resolv.conf"
        server.settimeout(0.1)
        ran = run_in(ground.sandbox, policy, line)
        if network:
            with server.accept()[0]:
                assert ran.code == 0, ran.said
        else:
            assert ran.code != 0
            with pytest.raises(TimeoutError):
                server.accept()


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("sleep {n} &", id="in the background"),
        pytest.param("setsid env -i sleep {n} >/dev/null 2>&1 & sleep 0.2", id="daemon with a cleared environment"),
        pytest.param("unshare -U setsid sleep {n} >/dev/null 2>&1 & sleep 0.2", id="in a namespace of its own"),
        pytest.param("trap '' TERM INT HUP; sleep {n}; sleep {n}", id="deaf, past its time"),
    ],
)
def test_nothing_outlives_the_command(ground: Ground, how: str) -> None:
    number = f"{600 + int(uuid.uuid4().hex[:6], 16) / 1e8:.8f}"
    deaf = "trap" in how
    ended, _, _ = supervised(ground.sandbox, ground.policy, how.format(n=number), timeout_s=1 if deaf else 30)
    assert ended.reason == ("timeout" if deaf else "exit")
    assert [each.pid for each in psutil.process_iter() if number in " ".join(cmdline(each))] == []


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_linked_worktree_reads_what_it_shares(tmp_path: Path, ground: Ground) -> None:
    place = tmp_path.resolve() / "trees" / "one"
    git(ground.workspace, "worktree", "add", "-q", str(place))
    policy = Policy(place, read=repository_paths(place))
    assert run_in(ground.sandbox, policy, "git log --format=%s && git diff --exit-code").out == "first\n"
    before = ground.state()
    assert run_in(ground.sandbox, policy, f"git commit -qm x --allow-empty || touch {ground.workspace}/.git/x").code
    assert run_in(ground.sandbox, policy, "echo gitdir: /elsewhere > .git").code
    assert run_in(ground.sandbox, policy, f"cat {ground.workspace}/STATE.json").code, "only its repository is shared"
    assert ground.state() == before


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param("gitdir: {home}/.ssh", id="a secret folder"),
        pytest.param("gitdir: {ws}/fake/worktrees/shop", id="a repository of its own making"),
    ],
)
def test_a_planted_git_file_shows_nothing(ground: Ground, planted: str) -> None:
    fake = folder(ground.workspace / "fake" / "worktrees" / "shop")
    (fake / "gitdir").write_text(f"{ground.workspace}/.git\n")
    (fake / "commondir").write_text(f"{ground.home}/.ssh\n")
    (ground.workspace / ".git").rename(ground.workspace / "old")
    (ground.workspace / ".git").write_text(ground.fill(planted))
    assert repository_paths(ground.workspace) == (ground.workspace / ".git",)
