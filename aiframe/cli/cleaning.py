"""`clean`: take away what finished work has left."""

from __future__ import annotations

from argparse import Namespace

from aiframe.cli import where
from aiframe.cli.reporting import harmless


def clean(args: Namespace) -> int:
    """Say of each thing that was looked at what became of it."""
    from aiframe.app.cleaning.clean import clean as take_away

    done = take_away(where.site(args), run=args.run or "", older_than_days=args.older_than, dry_run=args.dry_run)
    verb = "would remove" if args.dry_run else "removed"
    for item in done.items:
        told = f"({size(item.size)})" if item.size else ""
        line = f"kept: {item.kind} {item.name}: {item.kept}" if item.kept else f"{verb}: {item.kind} {item.name} {told}"
        print(harmless(line.rstrip()))
    for note in done.notes:
        print(harmless(f"note: {note}"))
    removed, kept = len(done.removed), len(done.items) - len(done.removed)
    print(f"{verb} {removed}, {size(done.size)}; kept {kept}" if done.items else "there is nothing to clean")
    return 1 if args.run and not any(item.kind == "logs" for item in done.removed) else 0


def size(count: int) -> str:
    """*count* bytes, as people read it."""
    for unit, bytes_of_it in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= bytes_of_it:
            return f"{count / bytes_of_it:.1f} {unit}"
    return f"{count} bytes"
