"""The gates around a task's own checks: scope, the doctor's command, clean checkouts, time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.projects import Bench, dev, lay_project, play, task

from aiframe.core.patterns import matches_any


@pytest.mark.parametrize(
    ("pattern", "named", "not_named"),
    [
        pytest.param("a.py", ["a.py"], ["b/a.py", "a.pyc", "xa.py"], id="a file"),
        pytest.param("src", ["src", "src/a", "src/b/c"], ["srcs", "a/src"], id="a folder"),
        pytest.param("src/", ["src/a", "src/b/c"], ["srcs/a"], id="a folder with its slash"),
        pytest.param("./src/a", ["src/a"], ["a"], id="from here"),
        pytest.param("*.py", ["a.py", ".py"], ["b/a.py"], id="star stays in its folder"),
        pytest.param("**/*.py", ["a.py", "b/a.py", "b/c/a.py"], ["a.pyc"], id="any folder"),
        pytest.param("tests/**", ["tests/a", "tests/b/c"], ["test/a", "a/tests/b"], id="all below"),
        pytest.param("**/tests/**", ["tests/a", "a/tests/b"], ["tests"], id="all below, anywhere"),
        pytest.param("a?c", ["abc"], ["ac", "a/c"], id="one letter"),
        pytest.param("a[b].(x)", ["a[b].(x)"], ["ab.x"], id="nothing else is special"),
        pytest.param("**", ["a", "a/b"], [], id="everything"),
    ],
)
def test_patterns_of_files(pattern: str, named: list[str], not_named: list[str]) -> None:
    assert [path for path in named if not matches_any(path, (pattern,))] == []
    assert [path for path in not_named if matches_any(path, (pattern,))] == []


NAMES = st.text(st.sampled_from("ab.[({^$+\\ \nä"), min_size=1, max_size=4)


@given(st.lists(NAMES, min_size=1, max_size=3).map("/".join))
def test_a_path_names_itself_and_what_is_below_it(path: str) -> None:
    if path.strip() == path and "." not in path.split("/")[:1]:
        assert matches_any(path, (path,))
        assert matches_any(f"{path}/x", (path,))


FILES = {f"src/{number}.txt": str(number) for number in range(1, 9)} | {"tests/check.sh": "exit 1\n"}
TOO_MANY = {f"old/{number}": "x" for number in range(25)}


def laid(tmp_path: Path, turn: dict[str, Any], *, gates: dict[str, Any] | None = None, **more: Any) -> Bench:
    """A project with some files in it and one task, which the agent's *turn* works on."""
    settings = {"gates": gates} if gates else {}
    verify = more.pop("verify", ["true"])
    bench = lay_project(tmp_path, task("T1", *verify, **more), turns=[turn], settings=settings)
    for name, text in (FILES | TOO_MANY).items():
        bench.write(name, text)
    return bench


@pytest.mark.parametrize(
    ("work", "gates", "more", "says"),
    [
        pytest.param(
            {"files": {"tests/check.sh": "exit 0\n"}},
            {"protect": ["tests/**"]},
            {"verify": ["sh tests/check.sh"]},
            ["it changes protected files", "protected: tests/check.sh changed"],
            id="F5 the agent weakens a test",
        ),
        pytest.param(
            {"run": ["rm tests/check.sh"]},
            {"protect": ["tests"]},
            {"verify": ["! test -e tests/check.sh || sh tests/check.sh"]},
            ["protected: tests/check.sh deleted"],
            id="F5 the agent deletes a failing test",
        ),
        pytest.param(
            {"run": ["sed -i s/tests/nothing/ PROJECT.yaml; echo 'exit 0' > tests/check.sh"]},
            {"protect": ["tests/**"]},
            {"verify": ["sh tests/check.sh"]},
            ["protected: tests/check.sh changed"],
            id="F5 the agent lifts the protection too",
        ),
        pytest.param(
            {"run": ["rm -r old"]}, None, {}, ["it deletes 25 of", "deletion: old/0 deleted"], id="F24 a bulk deletion"
        ),
        pytest.param(
            {"run": ["rm src/1.txt src/2.txt"]},
            {"max_deleted_files": 1},
            {},
            ["it deletes 2 of"],
            id="F24 more than the project allows",
        ),
        pytest.param(
            {"run": ["git rm -qr src old tests; git -c user.name=a -c user.email=b commit -qm 'merge'"]},
            {"max_deleted_files": 1000},
            {},
            ["it deletes 34 of"],
            id="F24 more than half, hidden in a commit",
        ),
        pytest.param(
            {"files": {"src/new.txt": "x", "other.txt": "x"}},
            None,
            {"locks": {"writes": ["src/**"]}},
            ["not declared: other.txt added"],
            id="beyond what the task declares",
        ),
    ],
)
def test_what_exceeds_the_scope_is_held_for_a_person(
    tmp_path: Path, work: dict[str, Any], gates: dict[str, Any] | None, more: dict[str, Any], says: list[str]
) -> None:
    bench = laid(tmp_path, dev("T1", **work), gates=gates, **more)
    before = bench.stamps()
    assert bench.tick().code == 0
    assert (bench.where, bench.statuses()) == ("REVIEW_WAITING", {"T1": "review"})
    result = bench.results()[0]
    assert result["finished"] is None
    assert result["success"] is False
    told = [result["held"]["reason"], *result["held"]["findings"]]
    assert all(any(words in line for line in told) for words in says), told
    assert all(words in bench.do("why").out for words in says[:1])
    # Nothing of it has landed or is left in the folder, and all of it is kept.
    assert bench.commits() == []
    assert {name for name in before if "/.git/" not in name} <= set(bench.stamps())
    assert bench.text("tests/check.sh") == "exit 1\n"
    held = bench.control["held"]["T1"]
    assert bench.git("rev-parse", f"{held['ref']}^{{tree}}") == held["tree"] == result["held"]["tree"]


@pytest.mark.parametrize(
    ("work", "gates", "more"),
    [
        pytest.param({"files": {"src/1.txt": "new"}}, {"protect": ["tests/**"]}, {}, id="nothing protected"),
        pytest.param({"run": ["rm src/1.txt"]}, {"max_deleted_files": 1}, {}, id="few deletions"),
        pytest.param({"files": {"src/a/b": "x"}}, None, {"locks": {"writes": ["src"]}}, id="as declared"),
        pytest.param({}, {"protect": ["**"]}, {"locks": {"writes": ["nothing"]}}, id="no change at all"),
    ],
)
def test_what_stays_within_its_scope_lands(
    tmp_path: Path, work: dict[str, Any], gates: dict[str, Any] | None, more: dict[str, Any]
) -> None:
    bench = laid(tmp_path, dev("T1", **work), gates=gates, **more)
    assert bench.tick().code == 0
    assert (bench.where, bench.statuses()) == ("DONE", {"T1": "done"})


DOCTOR = "echo looking; grep -q good one"


def test_the_doctors_command_must_pass_too(tmp_path: Path) -> None:
    bench = laid(tmp_path, dev("T1", files={"one": "bad"}), gates={"doctor": DOCTOR, "prove_doctor": False})
    play(bench, [dev("T1", attempt=1, files={"one": "bad"}), dev("T1", files={"one": "good"})])
    assert bench.tick().code == 0
    assert bench.statuses() == {"T1": "done"}
    first, second = bench.results()
    assert [(gate["name"], gate["exit_code"]) for gate in first["gates"]] == [("verify-1", 0), ("doctor", 1)]
    assert [(gate["name"], gate["exit_code"]) for gate in second["gates"]] == [("verify-1", 0), ("doctor", 0)]
    assert "looking" in bench.text(first["gates"][1]["log_file"])
    assert "The command `echo looking; grep -q good one` ended with exit code 1" in bench.prompts()[1]
    assert bench.git("rev-parse", f"{second['commit']}^{{tree}}") == second["gates"][0]["tree"]
    assert "1 verify command passed, doctor passed" in bench.git("log", "--format=%B")


def test_a_gate_that_does_not_end_goes_back_to_the_agent(tmp_path: Path) -> None:
    bench = laid(tmp_path, dev("T1", files={"one": ""}), gates={"timeout_min": 0.01}, verify=["sleep 60"])
    play(bench, [dev("T1", attempt=1, files={"one": ""})])
    bench.tick()
    assert [kind for _, kind, _ in bench.ended()][:1] == ["verify_failed"]
    assert "did not end within 0.6 s" in bench.results()[0]["error"]


@pytest.mark.parametrize(
    ("times", "signal", "failures"),
    [
        pytest.param(1, "KILL", [], id="killed once, it runs once more"),
        pytest.param(1, "TERM", [], id="ended politely"),
        pytest.param(2, "KILL", ["verify_failed"], id="killed whenever it runs"),
        pytest.param(1, "SEGV", ["verify_failed"], id="a crash is its own"),
    ],
)
def test_a_check_that_somebody_kills_says_nothing_about_the_work(
    tmp_path: Path, times: int, signal: str, failures: list[str]
) -> None:
    count = tmp_path / "count"
    line = f"echo >>{count}; test $(wc -l <{count}) -gt {times} || kill -{signal} $$"
    bench = laid(tmp_path, dev("T1", files={"one": ""}), verify=[line])
    play(bench, [dev("T1", attempt=1, files={"one": ""})])
    bench.tick()
    assert [kind for _, kind, _ in bench.ended()][: len(failures)] == failures
    result = bench.results()[0]
    assert result["success"] is (not failures)
    assert len(result["gates"]) == 1, "the check is told once"
    assert (bench.statuses() == {"T1": "done"}) is (not failures)
    if not failures:
        assert "it runs once more" in bench.log()
    elif times > 1:
        assert "was killed, twice" in result["error"]


# Clean checkouts ------------------------------------------------------------------------------------------------------

HIDDEN = {".gitignore": "*.o\nmade/\n", "hidden.o": ""}


@pytest.mark.parametrize("clean", [False, True], ids=["in place", "clean checkout"])
def test_a_clean_checkout_holds_nothing_that_git_ignores(tmp_path: Path, clean: bool) -> None:
    bench = laid(
        tmp_path,
        dev("T1", files=HIDDEN),
        gates={"clean_checkout": clean},
        verify=["test -e hidden.o && test -e .gitignore"],
    )
    bench.tick(XDG_CACHE_HOME=str(tmp_path / "cache"))
    result = bench.results()[0]
    assert bench.statuses() == {"T1": "todo" if clean else "done"}
    assert (result["ignored_inputs"], result["gates"][0]["clean_checkout"]) == (not clean, clean)


def test_the_setup_makes_a_clean_checkout_ready_and_what_it_made_is_kept_warm(tmp_path: Path) -> None:
    setup = "test -e made/lib && echo warm >> made/log || { mkdir -p made; echo lib > made/lib; }"
    check = 'test "$(cat made/lib)" = lib && ! test -e once.o && touch once.o && grep -q 1 src/1.txt && pwd'
    bench = lay_project(
        tmp_path,
        *(task(f"T{number}", check) for number in (1, 2)),
        turns=[dev("T1", files=HIDDEN), dev("T2", files={"src/2.txt": "2"})],
        settings={"gates": {"clean_checkout": True}, "workspace": {"setup": [setup]}},
    )
    bench.write("src/1.txt", "1")
    assert bench.tick(XDG_CACHE_HOME=str(tmp_path / "cache")).code == 0
    assert bench.statuses() == {"T1": "done", "T2": "done"}
    first, second = bench.results()
    assert [gate["name"] for gate in first["gates"]] == ["setup-1", "verify-1"]
    folders = {bench.text(result["gates"][1]["log_file"]).strip() for result in (first, second)}
    assert len(folders) == 1
    folder = Path(folders.pop())
    assert folder.is_relative_to(tmp_path / "cache")
    # T2's own setup found what the first one had made, but not what a check had left there.
    assert (folder / "made/log").read_text() == "warm\n"
    assert not (folder / ".git").exists()


@pytest.mark.parametrize(
    ("setup", "check", "says"),
    [
        pytest.param("exit 3", "true", "the setup command `exit 3` failed with exit code 3", id="the setup fails"),
        pytest.param("echo x > one", "true", "changed the files they were to prove: one", id="the setup changes files"),
        pytest.param("true", "echo x > one", "changed the files they were to prove: one", id="a check changes files"),
    ],
)
def test_a_clean_checkout_that_is_not_the_candidate_proves_nothing(
    tmp_path: Path, setup: str, check: str, says: str
) -> None:
    bench = lay_project(
        tmp_path,
        task("T1", check),
        turns=[dev("T1", files={"one": "1"})],
        settings={"gates": {"clean_checkout": True}, "workspace": {"setup": setup}},
    )
    bench.tick(XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert says in bench.results()[0]["error"]
    assert bench.commits() == []
