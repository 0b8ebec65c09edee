"""What the packaged prompt templates compile to, kept where Python keeps what it compiled of this package.

Whoever can write there can change the package itself, so that nobody gains anything by it. Templates of a project or of
a frame lie where others write, and are compiled each time.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import jinja2
from jinja2 import Environment
from jinja2.bccache import Bucket, BytecodeCache

from aiframe.durable import replace_file

_SPOILED = (OSError, EOFError, ValueError, TypeError, AttributeError, IndexError, pickle.UnpicklingError)


class PromptCache(BytecodeCache):
    """Keeps the code of the templates in the folder *packaged* as files in *home*, as far as that can be written.

    Code that was made by another Python or Jinja, with other settings or from another text does not count.
    """

    def __init__(self, packaged: Path, home: Path) -> None:
        self._packaged = str(packaged)
        self._home = home

    def get_bucket(self, environment: Environment, name: str, filename: str | None, source: str) -> Bucket:
        """The place for the code of a template, filled where it is known."""
        bucket = Bucket(environment, self._file(environment, filename), self.get_source_checksum(source))
        self.load_bytecode(bucket)
        return bucket

    def _file(self, environment: Environment, filename: str | None) -> str:
        """The name of the file for a template; empty for one that is not kept."""
        if filename is None or os.path.dirname(filename) != self._packaged:
            return ""
        made_by = (jinja2.__version__, sys.implementation.cache_tag, environment.trim_blocks, environment.lstrip_blocks,
                   environment.keep_trailing_newline, environment.autoescape, filename)  # fmt: skip
        return f"prompt-{hashlib.sha256(repr(made_by).encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.bin"

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take over what was kept, if it is whole and of this very text."""
        if not bucket.key:
            return
        try:
            with open(self._home / bucket.key, "rb") as file:
                bucket.load_bytecode(file)
        except _SPOILED:
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled, unless Python is told to keep nothing, or must not write there."""
        if bucket.key and not sys.dont_write_bytecode and sys.pycache_prefix is None:
            with suppress(OSError):
                replace_file(self._home / bucket.key, bucket.bytecode_to_string(), 0o644)
