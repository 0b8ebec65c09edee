"""The documents: every page, file and test that one names by a path is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("prompts/*.md")])
LINK = re.compile(r"\]\((?!\w+://|mailto:)([^)#\s]+)")
TEST = re.compile(r"(?<![\w/])(?:tests/)?((?:[a-z]+/)+test_\w+\.py)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_it_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    missing += [name for name in TEST.findall(text) if not (ROOT / "tests" / name).exists()]
    assert not missing
