"""When an agent goes on in the conversation of its last try: at the very same input, with the same agent and model.

A stale conversation speaks of another task, of words that a person has changed since, or of another model's work.
"""

from __future__ import annotations

from aiframe.core.model import Project, Run, Session
from aiframe.core.ports import Answer


def to_resume(project: Project, run: Run, agent: str, model: str) -> str:
    """The id of the session that *run* takes up; empty for a fresh start."""
    last = project.session
    fits = last is not None and run.input_key and last == Session(last.id, run.input_key, agent, model)
    return last.id if last is not None and fits else ""


def session_of(answer: Answer, run: Run, agent: str, model: str) -> Session | None:
    """The session that *answer* leaves for the next try; None where the agent has none, or nothing counts tries."""
    if not (answer.session_id and run.input_key):
        return None
    return Session(answer.session_id, run.input_key, agent, model)
