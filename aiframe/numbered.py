"""Names that nothing has yet, for what is put aside: whatever was put aside before stays."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path


def free_name(path: Path, mark: str) -> Path:
    """*path* with *mark* and a number after its name: the first from 1 on that nothing beside it has.

    A link that leads nowhere has its name, too. Another process may take the name before the caller does.
    """
    names = (path.with_name(f"{path.name}{mark}{number}") for number in count(1))
    return next(name for name in names if not os.path.lexists(name))
