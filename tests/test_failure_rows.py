"""The table in tests/README.md: every row that this version has to show is there, and every test it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| (F\d+) \| [^|]+ \| (\S+)::(\w+) \|$", re.MULTILINE)
ROWS = ROW.findall((TESTS / "README.md").read_text(encoding="utf-8"))
PROMISED = {f"F{number}" for number in range(1, 31)}


def test_every_promised_row_has_a_test() -> None:
    assert {row for row, _, _ in ROWS} == PROMISED


@pytest.mark.parametrize(("row", "file", "name"), ROWS, ids=[f"{row} {name}" for row, _, name in ROWS])
def test_the_named_test_exists(row: str, file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, row
