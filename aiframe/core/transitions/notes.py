"""What a step leaves in the project's counts, questions and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from aiframe.core.model import Project, Question, Run


def with_question(project: Project, run: Run, question: Question | None) -> Project:
    """Put the agent's question; where nobody is there to answer, its default is the answer.

    Such an answer is told to the next try, but it is no new input: only a person's words give attempts back.
    """
    if question is None or any(known.id == question.id for known in project.questions):
        return project
    question = replace(question, task_id=question.task_id or run.task_id)
    if project.settings.interactive_mode:
        return project.evolve(questions=(*project.questions, question))
    answer = question.default or "Nobody can be asked: go on with a stated assumption."
    told = filter(None, [project.findings.get(subject_of(run), ""), question_and_answer(question, answer)])
    return project.evolve(
        questions=(*project.questions, replace(question, answer=answer)),
        findings={**project.findings, subject_of(run): "\n\n".join(told)},
    )


def answer_of(choices: Sequence[str], default: str, said: str) -> str:
    """The answer that a person's words give: a choice by its number or its words, the default for no words at all.

    Empty where they give none.
    """
    said = said.strip()
    if not said:
        return default
    if not choices:
        return said
    same = next((choice for choice in choices if choice.casefold() == said.casefold()), "")
    number = int(said) if said.isascii() and said.isdecimal() and len(said) < 4 else 0
    return same or (choices[number - 1] if 0 < number <= len(choices) else "")


def question_and_answer(question: Question, answer: str) -> str:
    """What the next try is told."""
    return f"Question: {question.text}\nAnswer: {answer}"


def counted(project: Project, run: Run) -> Project:
    """Count the attempt: for people by task or role, for the limit by the task's input, unless no agent took part."""
    counts = run.input_key and not is_landing(project, run)
    attempts = one_more(project.attempts, run.input_key) if counts else project.attempts
    return project.evolve(shown=one_more(project.shown, subject_of(run)), attempts=attempts)


def is_landing(project: Project, run: Run) -> bool:
    """Whether *run* is there to land work that a person has approved."""
    return run.task_id in project.held and project.held[run.task_id].approved


def subject_of(run: Run) -> str:
    """What a step is counted and told under: its task, else its role."""
    return run.task_id or run.role.value


def one_more(counts: Mapping[str, int], key: str) -> dict[str, int]:
    """*counts* with one more of *key*."""
    return {**counts, key: counts.get(key, 0) + 1}


def without(texts: Mapping[str, str], key: str) -> dict[str, str]:
    """*texts* but for that of *key*."""
    return {name: text for name, text in texts.items() if name != key}
