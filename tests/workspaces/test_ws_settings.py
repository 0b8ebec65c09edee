"""What is read of git's configuration without git is what git reads."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiframe.workspaces.settings import parse_settings, plain_settings

OF_A_NEW_REPOSITORY = b"""[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[remote "origin"]
\turl = git@example.org:a/b.git
\tfetch = +refs/heads/*:refs/remotes/origin/*
[User]
\tName = Per Son
  email=person@example.org

"""


def by_git(text: bytes) -> dict[str, str] | None:
    argv = ["git", "config", "--file", "-", "--no-includes", "-z", "--list"]
    done = subprocess.run(argv, cwd="/", input=text, capture_output=True, check=False)
    return parse_settings(done.stdout) if done.returncode == 0 else None


def test_a_common_one_needs_no_git() -> None:
    assert plain_settings(OF_A_NEW_REPOSITORY) == by_git(OF_A_NEW_REPOSITORY)
    assert plain_settings(b"") == {}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b'[core]\n\teditor = "a b"\n', id="quotes"),
        pytest.param(b"[core]\n\teditor = a\\tb\n", id="an escape"),
        pytest.param(b"[core]\n\teditor = a\\\n b\n", id="a line that goes on"),
        pytest.param(b"[core]\n\teditor = a # b\n", id="a comment"),
        pytest.param(b"; a comment\n", id="a line of comment"),
        pytest.param(b"[core]\n\tbare\n", id="a name without a value"),
        pytest.param(b"[core] bare = true\n", id="all on one line"),
        pytest.param(b"[branch.Main]\n\tremote = x\n", id="a section with a dot"),
        pytest.param(b"[core]\r\n\tbare = true\r\n", id="other ends of lines"),
        pytest.param("[user]\n\tname = Pér\n".encode(), id="other letters"),
        pytest.param(b"name = x\n", id="no section"),
        pytest.param(b"[core]\n\t1x = y\n", id="a mistake"),
    ],
)
def test_what_is_unusual_is_left_to_git(text: bytes) -> None:
    assert plain_settings(text) is None


PIECES = st.sampled_from([
    "[core]", "[Core]", '[remote "A b"]', '[remote ""]', "[a.b]", "[x-1]", "\n", "\n", "\n", "\n\t", " ", "=", " = ",
    "name", "Na-me", "1", "true", "a b", "a  b", "a\tb", "#", ";", '"', "\\", "\\n", "\r\n", "+refs/*:x/*", "é", "]",
    "\0", "\ufeff",
])  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join))
@settings(deadline=None, max_examples=150)
def test_whatever_is_read_is_what_git_reads(text: str) -> None:
    told = plain_settings(text.encode())
    assert told is None or told == by_git(text.encode())


LINES = st.sampled_from(
    [
        "[core]",
        '[remote "A b"]',
        '[remote ""]',
        "\tname = a b",
        "  Na-me=x",
        "name =",
        "name = a  b ",
        "",
        "\tx1 = +a:b",
    ]
)


@given(st.lists(LINES, max_size=6).map("\n".join))
@settings(deadline=None, max_examples=100)
def test_whole_lines_too(text: str) -> None:
    told = plain_settings(text.encode())
    assert told is None or told == by_git(text.encode())
