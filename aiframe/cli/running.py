"""`run`: a project goes on until it is done, stopped, or waits for a person."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiframe.cli import where
from aiframe.cli.live import at_work
from aiframe.cli.reporting import harmless
from aiframe.cli.working import detached

if TYPE_CHECKING:
    from aiframe.app.running import Forecast


def run(args: Namespace) -> int:
    """Carry the project on, or say what that would do."""
    from aiframe.app.project.landed import to_take_in
    from aiframe.app.project.site import open_site
    from aiframe.app.running import forecast
    from aiframe.app.running import run as carry

    root = where.project(args)
    environ = _environ(args)
    if args.dry_run:
        print("\n".join(_told(forecast(open_site(root, environ)))))
        return 0
    try:
        with at_work(root, environ) as (say, glance):
            report = carry(root, environ, lambda line: say(harmless(line)), glance)
    except KeyboardInterrupt:
        return detached(args, root)
    merge = to_take_in(open_site(root, environ))
    if report.message:
        print(harmless(report.message))
    if merge and merge not in report.message:
        print(harmless(f"  {merge} (takes in what has landed)"))
    return report.exit_code


def _environ(args: Namespace) -> Mapping[str, str]:
    from aiframe.store.settings_file import PARALLEL

    return os.environ if args.parallel is None else {**os.environ, PARALLEL: str(args.parallel)}


def _told(plan: Forecast) -> list[str]:
    lines = []
    for number, lanes in enumerate(plan.rounds, start=1):
        lines.append(f"{number}. together:" if len(lanes) > 1 else f"{number}.")
        for lane in lanes:
            held = [f"{'writes' if claim.write else 'reads'} {claim}" for claim in lane.claims]
            given = [f"{name}={value}" for name, value in lane.values.items()]
            lines.append(f"   {lane.task_id}" + (f"  ({'; '.join([*held, *given])})" if held or given else ""))
    lines += [f"never: {why}" for why in plan.never]
    lines += [f"look: {warning}" for warning in plan.warnings]
    return [harmless(line) for line in lines] or ["no task is open"]
