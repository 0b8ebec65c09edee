"""Measure everything, print one table. Exit code 1 when something could not be measured, whatever the numbers are."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.gates import measure_gates
from bench.makespan import measure_makespan
from bench.many import measure_many
from bench.measuring import Row
from bench.resting import measure_one, measure_thousand
from bench.stepping import measure_steps
from bench.table import machine, render
from bench.watching import measure_idle_watch, measure_latency

Measure = Callable[[Path], list[Row]]

MEASURES: tuple[tuple[str, Measure], ...] = (
    ("a tick at rest", measure_one),
    ("a tick over 1,000 projects at rest", measure_thousand),
    ("a step that does nothing", measure_steps),
    ("attempts on 10,000 files", measure_gates),
    ("200 tasks that do nothing", measure_many),
    ("plans whose tasks run side by side", measure_makespan),
    ("watch: from a saved file to the agent", measure_latency),
    ("watch: 1,000 projects at rest", measure_idle_watch),
)


def main() -> int:
    """Run all measures in a folder of their own."""
    rows: list[Row] = []
    where = machine()
    failed = False
    with tempfile.TemporaryDirectory(prefix="aiframe-bench-") as name:
        for title, measure in MEASURES:
            print(f"measuring {title} ...", file=sys.stderr, flush=True)
            try:
                rows += measure(Path(name))
            except (OSError, RuntimeError) as error:
                failed = True
                print(f"could not measure {title}: {error}", file=sys.stderr)
    print(where)
    print()
    print(render(rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
