"""Whether a step of a lane may have written what lies in its project's folder."""

from __future__ import annotations

import json
from contextlib import suppress

from aiframe.core.errors import AiframeError
from aiframe.store.atomic import read_bounded
from aiframe.store.layout import Layout


def may_have_written(layout: Layout) -> bool:
    """Whether there are lanes, and a step of one may have run since they were last looked after."""
    with suppress(OSError, AiframeError, ValueError):
        known = json.loads(read_bounded(layout.known_plan))
        return isinstance(known, dict) and known.get("lived") is True and _has_lane(layout)
    return False


def _has_lane(layout: Layout) -> bool:
    return any(Layout(place).lane_record.exists() for place in layout.lanes.glob("[!.]*"))
