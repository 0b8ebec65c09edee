"""Notices: who is away hears of waits, errors and the end, once each; and nothing waits for a network."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.projects import Bench, dev, lay_project, task, wait_for
from support.receiver import Receiver, absent, receiver, silent

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("apprise") is None, reason="needs apprise: pip install 'aiframe[notify]'"
)

ATTENDED = {"state": "DEV_READY", "interactive_mode": True, "review_every_n_tasks": 0}
SECRET = "hunter2-topic"


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    with receiver() as there:
        yield there


def notified(bench: Bench) -> str:
    return bench.text(".git/aiframe/notify.log")


def lay(tmp_path: Path, to: str | list[str], *tasks: dict[str, Any], turns: list[Any], **more: Any) -> Bench:
    return lay_project(tmp_path, *tasks, turns=turns, settings={"notify": to}, **more)


ASKS = dev("T1", closing={"summary": "?", "question": {"text": "What is the password, s3cr3t-words?"}})


@pytest.mark.parametrize(
    ("tasks", "turns", "state", "attempts", "title", "says"),
    [
        pytest.param([task("T1", "true")], [dev("T1")], "DEV_READY", 1, "shop: DONE", "Every task is done.", id="done"),
        pytest.param(
            [task("T1", "true", review=True)], [dev("T1")], ATTENDED, 1, "shop: REVIEW_WAITING", "A review", id="review"
        ),
        pytest.param(
            [task("T1", "false")], [dev("T1")], "DEV_READY", 1, "shop: ERROR", "an error (verify_failed)", id="error"
        ),
        pytest.param(
            [task("T1", "true", agent="human")], [], "DEV_READY", 1, "shop: WORK_WAITING", "in your hands", id="work"
        ),
        pytest.param(
            [task("T1", "true")],
            [dev("T1", fail={"kind": "quota", "message": "full"})],
            "DEV_READY",
            1,
            "shop: DEV_READY",
            "waits for a quota",
            id="quota",
        ),
        pytest.param(
            [task("T1", "false")], [ASKS], ATTENDED, 2, "shop: QUESTION_WAITING", "question about T1", id="question"
        ),
    ],
)
def test_a_rest_is_told_once(
    tmp_path: Path,
    inbox: Receiver,
    tasks: list[Any],
    turns: list[Any],
    state: Any,
    attempts: int,
    title: str,
    says: str,
) -> None:
    bench = lay(tmp_path, inbox.address(), *tasks, turns=turns, state=state, limits={"max_attempts": attempts})
    bench.tick()
    wait_for(lambda: "sent to entry 1" in notified(bench), "a notice")
    (notice,) = inbox.got
    assert notice["title"] == title
    assert says in notice["message"]
    assert "s3cr3t-words" not in str(notice)
    bench.tick()
    bench.edit_state(review_every_n_tasks=7)  # so that a runner looks again
    bench.tick()
    assert bench.control["settings"]["review_every_n_tasks"] == 7
    bench.do("notify")  # a later one, which shows that no other is on its way
    wait_for(lambda: len(inbox.got) > 1, "the test notice")
    assert [each["title"] for each in inbox.got] == [title, "shop: a test"]


def test_the_same_failure_of_a_later_run_is_told_again(tmp_path: Path, inbox: Receiver) -> None:
    bench = lay(
        tmp_path, inbox.address(), task("T1", "false"), turns=[dev("T1"), dev("T1")], limits={"max_attempts": 1}
    )
    bench.tick()
    wait_for(lambda: len(inbox.got) == 1, "a notice")
    bench.do("retry", "T1")
    bench.tick()
    wait_for(lambda: len(inbox.got) == 2, "a second notice")
    wait_for(lambda: notified(bench).count("sent to") == 2, "its sender's end")


def test_what_is_collected_while_other_tasks_go_on_is_told_at_once(tmp_path: Path, inbox: Receiver) -> None:
    tasks = [task("T1", "true", review=True), task("T2", "true")]
    bench = lay(tmp_path, inbox.address(), *tasks, turns=[dev("T1"), dev("T2")], state=ATTENDED)
    bench.tick(AIFRAME_UNATTENDED="1", DEV_CHAIN_LIMIT="1")
    wait_for(lambda: "sent to entry 1" in notified(bench), "a notice")
    (notice,) = inbox.got
    assert notice["title"] == "shop: DEV_READY"
    assert notice["message"].startswith("T1 waits for your review, while other tasks go on")


def test_nothing_waits_for_a_server_that_is_silent(tmp_path: Path) -> None:
    with silent() as there:
        bench = lay(tmp_path, there.address(SECRET), task("T1", "true"), turns=[dev("T1")])
        assert bench.tick().code == 0
        assert bench.where == "DONE"
        assert "entry 1" not in notified(bench)  # the step has ended, and the sender still waits
        wait_for(lambda: "not sent to entry 1 (json://...)" in notified(bench), "the end of the sender")
    assert SECRET not in notified(bench)


def test_one_that_is_down_does_not_keep_the_others_from_being_told(tmp_path: Path, inbox: Receiver) -> None:
    to = [absent().address(SECRET), inbox.address(), "nosuch://" + SECRET, "json://127.0.0.1:${NO_SUCH_PORT}"]
    bench = lay(tmp_path, to, task("T1", "true"), turns=[dev("T1")])
    assert bench.tick().code == 0
    wait_for(lambda: notified(bench).count("entry") == 4, "the end of the sender")
    assert [each["title"] for each in inbox.got] == ["shop: DONE"]
    lines = notified(bench)
    assert "not sent to entry 1 (json://...): it was not taken" in lines
    assert " sent to entry 2" in lines
    assert "not sent to entry 3 (nosuch://...): apprise does not know" in lines
    assert "not sent to entry 4 (json://...): the variable NO_SUCH_PORT is not set" in lines
    doctor = bench.do("doctor").said
    assert "BAD  notify: entry 3 (nosuch://...)" in doctor
    assert bench.do("notify").code == 1
    assert SECRET not in lines + doctor + bench.do("notify").said + bench.do("why").said


def test_an_address_may_take_its_secret_from_the_environment(tmp_path: Path, inbox: Receiver) -> None:
    bench = lay(tmp_path, "json://127.0.0.1:${SHOP_PORT}/x", task("T1", "true"), turns=[dev("T1")])
    bench.tick(SHOP_PORT=str(inbox.port))
    wait_for(lambda: "sent to entry 1" in notified(bench), "a notice")
    assert len(inbox.got) == 1


def test_without_the_library_the_log_and_the_doctor_say_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError('not here')\n")
    bench = lay(tmp_path, absent().address(SECRET), task("T1", "true"), turns=[dev("T1")])
    path = f"{tmp_path}:{bench.env.get('PYTHONPATH', '')}"
    assert bench.tick(PYTHONPATH=path).code == 0
    wait_for(lambda: "pip install 'aiframe[notify]'" in notified(bench), "the sender's word")
    for command in ("doctor", "notify"):
        said = bench.do(command, PYTHONPATH=path).said
        assert "cure: " in said
        assert "pip install 'aiframe[notify]'" in said
        assert SECRET not in said + notified(bench)
