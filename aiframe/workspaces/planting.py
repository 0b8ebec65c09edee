"""A fault in a tree: which source file to take, and the tree that has a line in it that no language allows.

No file is touched: the faulty tree is made of git objects alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from msgspec import Struct

from aiframe.workspaces.git import Repository, names
from aiframe.workspaces.trees import Change, covered, tree_with

SUFFIXES = (
    "py", "js", "ts", "go", "rs", "c", "cc", "java", "rb", "php", "sh", "cpp", "cxx", "tsx", "jsx", "mjs", "cs", "kt",
    "swift", "scala", "lua", "pl", "ex", "exs", "erl", "hs", "ml", "clj", "dart", "zig", "jl", "r", "groovy", "m",
)  # fmt: skip
"""What programs are written in, by the ends of their names; of equally frequent ones the earlier goes first."""
MAX_BYTES = 1_000_000
FAULT = b"\n<?php )]}'\"({[ a fault that aiframe has planted\n"
"""No program in any language of SUFFIXES; after the end of a PHP program it begins a new one."""
_ASIDE = re.compile(
    r"(?:.*/)?(?:tests?|testing|testdata|specs?|__tests__|docs?|examples?|fixtures|bench(?:marks?)?|vendor|third_party"
    r"|node_modules|dist|build)/.*|(?:.*/)?(?:test_[^/]*|conftest\.py|[^/]*[._](?:test|spec)\.[^/]*)",
    re.IGNORECASE,
)
"""Files that a check of the whole need not look at: tests, documents, what others have written."""


class Source(Struct, frozen=True):
    """A tracked file, no link and no submodule: *mode* and *blob* are git's, *size* is in bytes."""

    path: str
    mode: str
    blob: str
    size: int


def source_file(repo: Repository, tree: str, path: str) -> Source | None:
    """The file *path* of *tree*; None where there is none. Raises GitError."""
    return next((each for each in _files(repo, tree) if each.path == path), None)


def source_files(repo: Repository, tree: str, left_out: Sequence[str], count: int) -> tuple[Source, ...]:
    """At most *count* files of *tree* for a fault to be planted in, the likeliest to be noticed first.

    They are of the two most frequent languages in turn; in each, those apart from tests and documents go first, and
    larger ones before smaller ones. *left_out* are paths that are no part of the work. Raises GitError.
    """
    found = [each for each in _files(repo, tree) if _suffix(each) in SUFFIXES and not covered(each.path, left_out)]
    often = Counter(map(_suffix, found))
    languages = sorted(often, key=lambda suffix: (-often[suffix], SUFFIXES.index(suffix)))[:2]
    ranked = [sorted((each for each in found if _suffix(each) == suffix), key=_rank) for suffix in languages]
    longest = max(map(len, ranked), default=0)
    return tuple(files[place] for place in range(longest) for files in ranked if place < len(files))[:count]


def faulty_tree(repo: Repository, tree: str, source: Source) -> str:
    """*tree* with the fault at the end of *source*. Raises GitError."""
    text = repo.run("cat-file", "blob", source.blob) + FAULT
    blob = repo.run("hash-object", "-w", "--stdin", stdin=text).decode().strip()
    return tree_with(repo, tree, [Change("M", source.path, source.mode, blob, source.mode)])


def _files(repo: Repository, tree: str) -> list[Source]:
    files = []
    for entry in names(repo.run("ls-tree", "-r", "-l", "-z", "--full-tree", tree)):
        head, _, path = entry.partition("\t")
        mode, kind, blob, size = head.split()
        if kind == "blob" and mode.startswith("100") and int(size) <= MAX_BYTES:
            files.append(Source(path, mode, blob, int(size)))
    return files


def _suffix(source: Source) -> str:
    return PurePosixPath(source.path).suffix[1:].lower()


def _rank(source: Source) -> tuple[bool, int, str]:
    return _ASIDE.fullmatch(source.path) is not None, -source.size, source.path
