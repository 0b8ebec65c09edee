"""Patterns of file names: what one names, and whether two can name the same path."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiframe.core.patterns import matches_any, may_meet

NAMES = ["".join(letters) for count in (1, 2, 3) for letters in product("ab", repeat=count)]
PATHS = ["/".join(names) for count in (1, 2, 3) for names in product(["a", "b", "ab", "ba", "aab"], repeat=count)]
names = st.text("ab*?", min_size=1, max_size=3).filter(lambda name: "**" not in name)
patterns = st.lists(names | st.just("**"), min_size=1, max_size=3).map("/".join)


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        pytest.param("src/**", "src/api/**", True, id="a folder in it"),
        pytest.param("src/api", "src/api/x.py", True, id="a name stands for all below it"),
        pytest.param("src/api/**", "src/web/**", False, id="folders beside each other"),
        pytest.param("src/api", "src/apis", False, id="a longer name"),
        pytest.param("**/*.py", "docs/**", True, id="any folder"),
        pytest.param("*.py", "*.md", False, id="endings"),
        pytest.param("*.py", "src/*.py", False, id="at the top and below"),
        pytest.param("t*.py", "*t.py", True, id="begins and ends"),
        pytest.param("?.py", "ab.py", False, id="one letter"),
        pytest.param("./src/", "src", True, id="spelt otherwise"),
        pytest.param("**", "a", True, id="everything"),
        pytest.param("a/**/z", "a/z", True, id="no folder between"),
        pytest.param("a/**/z", "a/y", True, id="deeper on both sides"),
    ],
)
def test_two_patterns(one: str, other: str, meets: bool) -> None:
    assert may_meet(one, other) is meets
    assert may_meet(other, one) is meets


@given(patterns, patterns)
@example("a/**/b", "**/a")
def test_they_meet_where_a_path_shows_it(one: str, other: str) -> None:
    shown = any(matches_any(path, [one]) and matches_any(path, [other]) for path in PATHS)
    assert may_meet(one, other) or not shown


@given(names, names)
def test_names_meet_only_where_a_name_shows_it(one: str, other: str) -> None:
    shown = any(matches_any(name, [one]) and matches_any(name, [other]) for name in (*NAMES, "aaab", "abab", "bbab"))
    wide = any(wild in name for name in (one, other) for wild in "*")
    assert may_meet(one, other) == shown or wide
