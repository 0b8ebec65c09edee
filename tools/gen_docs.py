"""Write the pages of docs/ that are made from the code: ``python tools/gen_docs.py [--check]``.

With ``--check`` nothing is written: a page that is stale is shown as a diff, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from aiframe.core.machine import JUDGED
from aiframe.core.model import FailureKind, Role

sys.path.append(str(Path(__file__).resolve().parent.parent))  # a script finds the modules of its own folder alone

from tools.state_inputs import LIMITS, USUAL, K, S
from tools.state_rows import fate_of, on_a_command, on_a_tick, on_success

ROOT = Path(__file__).resolve().parent.parent


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def tick_table() -> str:
    """States and what a tick does."""
    rows, named = [], ""
    for row in on_a_tick():
        goes = "nothing" if row.source == row.target and not row.done else row.done
        if row.source != row.target:
            goes = ", ".join(filter(None, [row.target, row.done]))
        rows.append((row.source if row.source != named else "", row.when, goes))
        named = row.source
    return table(("state", "when", "the tick"), rows)


def failure_table() -> str:
    """How each class of failures ends, the first time and when it goes on."""
    rows = []
    for kind in FailureKind:
        dev, diagnose = fate_of(kind, Role.DEV), fate_of(kind, Role.DIAGNOSE)
        of_diagnose = "only of a task" if kind in JUDGED | {K.NO_PROGRESS, K.MERGE_FAILED} else diagnose.line
        rows.append((kind.value, dev.line, "yes" if dev.attempts else "no", of_diagnose))
    return table(("failure", "of a DEV step, again and again", "costs an attempt", "of a DIAGNOSE step"), rows)


def command_table() -> str:
    """What each command does, states with the same result in one row."""
    rows = []
    for name, group in groupby(on_a_command(), key=lambda row: row.when):
        results: dict[str, list[str]] = {}
        for row in group:
            same = "stays" if row.target == row.source else row.target
            results.setdefault(", ".join(filter(None, [same, row.done])), []).append(row.source)
        rows += [(name if n == 0 else "", ", ".join(states), what) for n, (what, states) in enumerate(results.items())]
    return table(("what a person does", "in", "then"), rows)


ANYWHERE = "ready"


def edges() -> Iterator[tuple[str, str, str]]:
    """Source, target and label of what the diagram shows; what leads anywhere back is drawn to ANYWHERE."""
    for row in on_a_tick():
        if row.source == row.target and row.done.startswith("starts") and row.flow:
            yield row.source, S.RUNNING, row.done.removeprefix("starts the ").removesuffix(" step")
        elif row.source != row.target and row.flow:
            source = ANYWHERE if row.target == S.PAUSE_INTERACT else row.source
            target = ANYWHERE if row.source == S.PAUSE_INTERACT else row.target
            yield source, target, "" if row.when == USUAL else row.when
    for row in on_success():
        yield S.RUNNING, row.target, row.source
    for kind in FailureKind:
        for target in fate_of(kind, Role.DEV).targets:
            if target != S.DEV_READY:
                yield S.RUNNING, target, "failures"
    for row in on_a_command():
        if row.when == "pause" and row.target == S.PAUSED != row.source:
            yield ANYWHERE, row.target, row.when
        elif row.when == "resume, continue" and row.target not in ("refused", row.source):
            yield row.source, row.target if row.source == S.DONE else ANYWHERE, "resume"


def diagram() -> str:
    """The flow as a Mermaid diagram: one edge for each pair of states, with every reason once."""
    labels: dict[tuple[str, str], dict[str, None]] = {}
    for source, target, label in edges():
        labels.setdefault((source, target), {})[plain(label)] = None
    lines = ["stateDiagram-v2", f'    state "any ready or waiting state" as {ANYWHERE}', "    [*] --> INTAKE_READY"]
    for (source, target), reasons in labels.items():
        why = "<br/>".join(reason for reason in reasons if reason)
        lines.append(f"    {source} --> {target}{f' : {why}' if why else ''}")
    return "```mermaid\n" + "\n".join([*lines, "    DONE --> [*]"]) + "\n```"


def plain(label: str) -> str:
    """A label without the characters that mean something in a diagram."""
    return label.replace("`", "").replace('"', "").replace(":", ",").replace(";", ",")


STATE_MACHINE = """\
# The states of a project

This page is made from the code: `make docs` puts the inputs below to `decide`, the one function in
[aiframe/core/machine.py](../aiframe/core/machine.py) that holds every transition, and writes down what it answers
([tools/gen_docs.py](../tools/gen_docs.py)). `make test` fails when the page is stale. What the fields mean:
[files.md](files.md); what to do after a failure: [failures.md](failures.md).

{diagram}

"failures" stands for the table of failures below; a failure that leads back to the ready state of its role is not
drawn. A step that was diagnosed goes back to the state it came from.

## What a tick does

As usual: one task is to do, the form is empty, there is no flag and no note, a person attends, and a run is alive. Each
further line tells what is different. A tick follows the states until one rests or a step starts.

{ticks}

## How a step that succeeds moves the state

What an agent proposes is taken where it fits. A pause asked for meanwhile turns the new state into PAUSED, and `resume`
leads to it.

{successes}

## How a step that fails moves the state

The same failure several times, each time after its wait and, after a hang, a diagnosis that succeeds. Of two failures
at once the one further up decides. INTAKE and PO steps go the way of DEV, to their own ready states and without
attempts. A task has {max_attempts} attempts for the same input; then `on_task_failure: continue` goes on with other
tasks.

{failures}

## What a person does

PAUSED, PAUSE_INTERACT and ERROR were reached from DEV_READY here, RUNNING has a live runner, and one task is open.

{commands}
"""


def state_machine() -> str:
    """docs/state-machine.md."""
    successes = [(row.source, row.when, row.target, row.done) for row in on_success()]
    return STATE_MACHINE.format(
        diagram=diagram(),
        ticks=tick_table(),
        successes=table(("role", "when", "becomes", "and"), successes),
        max_attempts=LIMITS.max_attempts,
        failures=failure_table(),
        commands=command_table(),
    )


PAGES: Mapping[str, Callable[[], str]] = {"docs/state-machine.md": state_machine}
"""Each generated page and what makes it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check every page."""
    parser = argparse.ArgumentParser(description="Write the pages of docs/ that are made from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff when a page is stale")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that holds docs/")
    asked = parser.parse_args(argv)
    stale = False
    for name, make in PAGES.items():
        path, text = asked.root / name, make()
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == text:
            continue
        stale = True
        if asked.check:
            lines = difflib.unified_diff(
                old.splitlines(), text.splitlines(), name, f"{name}, as the code has it", lineterm=""
            )
            print("\n".join(lines))
            print(f"{name} is stale; cure: make docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if asked.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
