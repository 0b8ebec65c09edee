"""The queue before a branch: tickets of living processes count, those of the dead do not, and one at a time lands."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.projects import git, wait_for

from aiframe.core.errors import StepError
from aiframe.core.landing import Ticket
from aiframe.core.model import Priority
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import host_lock_at
from aiframe.workspaces.tickets import draw_ticket, drop_turn, give_back, open_turn, queue_of, take_turn, waiting

Start = Callable[[str], "subprocess.Popen[str]"]
WAITS = """
import sys, time
from pathlib import Path
from aiframe.core.errors import StepError
from aiframe.core.landing import Ticket
from aiframe.workspaces.git import Repository
from aiframe.workspaces.host import host_lock_at
from aiframe.workspaces.tickets import draw_ticket, open_turn, take_turn
repo = Repository(Path(sys.argv[1]))
held = draw_ticket(repo, Ticket(sys.argv[2], 5.0))
turn = open_turn(repo)
print(take_turn(turn), flush=True)
time.sleep(600)
"""


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    git(tmp_path, "init", "-q", "-b", "main", "app")
    return Repository(tmp_path / "app")


@pytest.fixture
def waiter(repo: Repository) -> Iterator[Start]:
    """Starts processes that draw a ticket, try for the turn, and stay."""
    started = []

    def start(name: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", WAITS, str(repo.root), name]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def names(repo: Repository) -> list[str]:
    return sorted(ticket.run_id for ticket in waiting(repo))


def test_a_ticket_is_seen_until_it_is_given_back(repo: Repository) -> None:
    ticket = Ticket("r1", 12.5, Priority.HIGH, "T1", "/p", 7)
    held = draw_ticket(repo, ticket)
    assert waiting(repo) == (ticket,)
    give_back(held)
    assert waiting(repo) == ()
    assert list(queue_of(repo).iterdir()) == []


def test_one_at_a_time_has_the_turn(repo: Repository, waiter: Start) -> None:
    first, second = waiter("r1"), waiter("r2")
    assert sorted([said(first), said(second)]) == ["False", "True"]
    assert names(repo) == ["r1", "r2"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_the_dead_count_for_nothing_and_give_the_turn_back(repo: Repository, waiter: Start, end: int) -> None:
    dies = waiter("r1")
    assert said(dies) == "True"
    lives = waiter("r2")
    assert said(lives) == "False"
    mine = open_turn(repo)
    try:
        assert not take_turn(mine)
        os.kill(dies.pid, end)
        dies.wait()
        assert names(repo) == ["r2"]
        assert len(list(queue_of(repo).iterdir())) == 1, "the ticket of the dead is not swept"
        assert take_turn(mine)
        drop_turn(mine)
    finally:
        os.close(mine)


def test_a_look_without_sweeping_leaves_all_files(repo: Repository, waiter: Start) -> None:
    dies = waiter("r1")
    said(dies)
    dies.kill()
    dies.wait()
    assert waiting(repo, sweep=False) == ()
    assert len(list(queue_of(repo).iterdir())) == 1


@pytest.mark.parametrize("text", [b"", b"{", b'"words"', b'{"run_id": 5}', b"\xff"])
def test_what_is_no_ticket_blocks_nobody(repo: Repository, text: bytes) -> None:
    queue_of(repo).mkdir(parents=True)
    strange = queue_of(repo) / "x.json"
    strange.write_bytes(text)
    with strange.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert waiting(repo) == ()
    assert waiting(repo) == ()
    assert not strange.exists()


def test_what_a_kill_left_of_drawing_is_swept_later(repo: Repository) -> None:
    queue_of(repo).mkdir(parents=True)
    fresh, old = queue_of(repo) / ".fresh", queue_of(repo) / ".old"
    for path in (fresh, old):
        path.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    waiting(repo)
    wait_for(lambda: not old.exists(), "sweeping")
    assert fresh.exists()


def test_of_a_repository_that_was_moved_away_nothing_is_made_up_again(repo: Repository) -> None:
    root, common = repo.root, repo.common_dir
    root.rename(root.with_name("elsewhere"))
    for queue in (lambda: draw_ticket(repo, Ticket("T1", 5.0)), lambda: open_turn(repo)):
        with pytest.raises(StepError, match="No such file or directory") as refused:
            queue()
        assert "bring the repository back" in refused.value.hint
    with pytest.raises(StepError) as refused, host_lock_at(common):
        pass
    assert "bring the repository back" in refused.value.hint
    assert not root.exists()
