"""A run of jobs: what is ready is begun as soon as a slot and its locks are free, and each end is kept at once.

The plan is looked at again every few seconds, and with it whether a person wants a pause; TASKS.yaml then says what
has begun and ended since.
"""

from __future__ import annotations

import time
from contextlib import suppress

from msgspec.structs import replace

from aiframe.app.attempts.agent_run import Stop, beat
from aiframe.app.attempts.gate_log import GateLog
from aiframe.app.attempts.results import Result, publish_result
from aiframe.app.attempts.settling import refused
from aiframe.app.jobs.ends import Ends, EndsFile, interrupted, left_ends
from aiframe.app.jobs.job import Job, policy_of, status_of, what_went_wrong
from aiframe.app.jobs.keeping import Kept
from aiframe.app.jobs.place import fresh_folder, variables
from aiframe.app.project.advance import held
from aiframe.app.project.lanes import project_of, read_record
from aiframe.app.project.observe import local_day
from aiframe.app.project.site import Site
from aiframe.app.project.steplog import StepLog
from aiframe.app.protection.sandboxing import granted, sandbox_of
from aiframe.app.protection.secrets import redactor_of
from aiframe.core.budget import Spent, reached
from aiframe.core.errors import AiframeError, LockHeld, StepError, UnreadableFile
from aiframe.core.events import Broken, Finished, JobsEnded, JobsWent
from aiframe.core.lanes import Lane
from aiframe.core.model import Failure, FailureKind, Project, Run, Task, TaskStatus
from aiframe.core.ports import Command, Exit
from aiframe.core.scheduling import is_startable
from aiframe.core.timing import elapsed, time_for
from aiframe.core.transitions.jobs import jobs_to_start
from aiframe.core.urgency import urgencies
from aiframe.process import Crew, Ended, MissingFolder, MissingProgram, now
from aiframe.store.atomic import storage_errors
from aiframe.store.tasks_file import load_tasks

_LOOK_S = 2.0
"""How often the plan is looked at again and the news is written, in seconds."""
_LOOK_SHARE = 10
"""A look that takes long is taken less often: its time is at most one part in so many."""
_POLL_S = 0.25
_BEAT_S = 30.0
_BEFORE_KILL_S = 5.0


def work_off(site: Site, project: Project, run: Run, stop: Stop, log: StepLog) -> JobsEnded:
    """Work off the jobs that are ready, that of *run* first, until none is; how they ended.

    Whatever goes wrong with aiframe's own part in it is in the ending.
    """
    failure: Failure | None
    try:
        failure = _carry(site, project, run, stop, log)
    except AiframeError as error:
        failure = refused(error).failures[0]
    if stop.is_homeless():  # whatever it was, nothing of it counts
        return JobsEnded(failure=failure)
    found = left_ends(site.layout, run) or Ends()
    _clean(site, run, found.cut)
    ending = found.ending(run, failure)
    _publish(site, run, ending)
    return ending


def _carry(site: Site, project: Project, run: Run, stop: Stop, log: StepLog) -> Failure | None:
    """Work off what is ready; why that ended before its time. aiframe's own files are there again, come what may."""
    base = sandbox_of(site).environment()  # refuses now, and not with the first job
    with EndsFile(site.layout, run) as ends:
        kept = Kept(site, ends)
        try:
            with Crew(run.run_id, cwd=site.root, env_base=base) as crew:
                work = _Work(site, project, run, stop, log, ends, crew, kept)
                try:
                    failure = work.carry()
                finally:
                    work.close()
        finally:
            lost = None if stop.is_homeless() else kept.bring_back()
    return lost or failure


def ending_left(site: Site, run: Run) -> JobsEnded | None:
    """How a run of jobs ended whose runner is dead; None where it was none, or had not begun.

    The caller has ended what was left of it. Raises StepError, StorageError.
    """
    found = left_ends(site.layout, run)
    if found is None:
        return None
    _clean(site, run, found.cut)
    ending = found.ending(run, interrupted())
    return ending if ending.cut else replace(ending, failure=None)


def _clean(site: Site, run: Run, names: tuple[str, ...]) -> None:
    """Take away what the sandbox has left of jobs that were cut off: a container outlives its client."""
    for name in names:
        with suppress(AiframeError):  # where no sandbox starts any more, nothing of it lives
            sandbox_of(site).clean(policy_of(site, run, name, site.layout.jobs / name, network=False))


def _publish(site: Site, run: Run, ending: JobsEnded) -> None:
    """Leave a result for people and reports beside the run's logs."""
    why = "; ".join(f"{name}: {said}" for name, said in ending.failed.items())
    failure = ending.failure or (Failure(FailureKind.VERIFY_FAILED, why) if why else None)
    publish_result(
        site.layout,
        Result(
            run.run_id, run.role.value, run.task_id, run.attempt, run.started.wall, now().wall, run.input_key,
            finished=None if failure else Finished(), broken=Broken((failure,)) if failure else None,
        ),
    )  # fmt: skip


class _Work:
    """The jobs of a run, while they are at work."""

    def __init__(
        self, site: Site, project: Project, run: Run, stop: Stop, log: StepLog, ends: EndsFile, crew: Crew, kept: Kept
    ) -> None:
        self._site, self._project, self._run, self._stop, self._log = site, project, run, stop, log
        self._ends, self._crew, self._kept = ends, crew, kept
        self._tasks = load_tasks(site.layout.tasks_yaml).tasks
        self._urgency = urgencies(self._tasks, site.rules.resources)
        self._granted, self._redactor = granted(site), redactor_of(site)
        self._sandbox = sandbox_of(site)
        self._jobs: dict[str, Job] = {}
        self._logs = site.layout.run_dir(run.run_id) / "jobs"
        self._home = project_of(site.layout).root if read_record(site.root) else site.root
        self._over: dict[str, tuple[Task, str]] = {}
        """The jobs that have ended, as they were worked at, each with what went wrong."""
        self._begun: list[str] = []
        self._untold: list[Job] = []
        self._news: dict[str, str] = {}
        self._until = run.timeout_s
        self._failure: Failure | None = None
        self._takes = True
        self._dirty = True
        self._looked = time.monotonic()
        self._look_every = _LOOK_S
        self._beaten = float("-inf")

    def carry(self) -> Failure | None:
        """Work until nothing is ready any more, or nothing more may begin; why it ended before its time."""
        while True:
            if self._kept.lost:
                return self._failure
            self._watch()
            if self._takes and self._dirty:
                self._begin_ready()
            self._tell_ends()
            if not self._jobs:
                return self._failure
            with storage_errors(self._logs, "write"):  # what the jobs print goes there
                ended = self._crew.wait(self._patience())
            lost = self._crew.lost
            over = [name for each in ended if (name := self._went(each))]
            if lost:  # of the others nobody tells an end any more; those whose time was over have failed all the same
                over += [name for name, job in self._jobs.items() if job.why and name not in over]
            self._end(over)
            if lost:
                self._tell_ends()
                cut = replace(interrupted(), message="the processes of the jobs were killed; they begin again")
                return self._failure or (cut if self._jobs else None)

    def close(self) -> None:
        """Close the logs of the jobs that did not end."""
        self._ends.sync()
        for job in (*self._jobs.values(), *self._untold):
            job.log.close()

    # Watching ---------------------------------------------------------------------------------------------------------

    def _patience(self) -> float:
        ends = min((job.until for job in self._jobs.values()), default=time.monotonic() + _POLL_S)
        return max(0.0, min(_POLL_S, ends - time.monotonic()))

    def _watch(self) -> None:
        """Beat, end what is past its time or no longer wanted, and look at the plan again when it is time."""
        moment = time.monotonic()
        self._ends.sync(only_if_due=True)
        if moment - self._beaten >= _BEAT_S:
            self._beaten = moment
            beat(self._site)
        if self._stop() and self._failure is None:
            self._failure = Failure(FailureKind.CANCELLED, "a person stopped the jobs; those at work begin again")
            self._takes = False
            for name, job in self._jobs.items():
                job.stopped = True
                self._crew.stop(name, grace_s=_BEFORE_KILL_S)
        for name, job in self._jobs.items():
            if moment >= job.until and not job.why and not job.stopped:
                job.why = f"it did not end within {job.until - job.began:g} s"
                self._crew.stop(name, grace_s=_BEFORE_KILL_S)
        if moment - self._looked >= self._look_every:
            self._look()
            took = time.monotonic() - moment
            self._looked, self._look_every = time.monotonic(), max(_LOOK_S, took * _LOOK_SHARE)

    def _look(self) -> None:
        """Write what is new, and take over the plan as it stands and what a person wants.

        A plan that is just being written is read the next time; one that is gone takes no news.
        """
        self._ends.sync()
        try:
            with held(self._site, is_runner=True) as draft:
                told = dict(self._news) if draft.seen.tasks else {}
                done = tuple(name for name, why in told.items() if not why)
                again = tuple(name for name in draft.project.again if name not in self._jobs)
                for name in again:  # first: after a kill, too, it is to begin again
                    self._ends.again(name)
                failed = tuple(name for name, why in told.items() if why and name not in again)
                draft.decide(
                    JobsWent(self._run.run_id, draft.seen, self._until, tuple(self._begun), done, failed, again)
                )
        except (UnreadableFile, LockHeld):
            return
        if told:
            self._ends.tell(told)
            self._news.clear()
        for name in again:
            self._over.pop(name, None)
        self._kept.renew()
        self._project, self._dirty = draft.project, True
        if draft.seen.tasks:
            unmarked = (task.id for task in draft.seen.tasks if task.status is TaskStatus.TODO)
            self._begun = [name for name in unmarked if name in self._jobs]
            self._tasks = tuple(self._as_ended(task) for task in draft.seen.tasks)
            self._urgency = urgencies(self._tasks, self._site.rules.resources, self._jobs)
        waits = draft.seen.interrupt_flag and draft.project.settings.interactive_mode
        wanted = draft.project.run is not None and draft.project.run.run_id == self._run.run_id
        self._takes = self._takes and wanted and not (draft.project.pause_requested or waits or self._is_spent())

    def _as_ended(self, task: Task) -> Task:
        """A *task* of the plan. One that has ended counts as it did, though an editor has saved an older text of it."""
        worked, why = self._over.get(task.id, (None, ""))
        if worked is None or not is_startable(task) or worked.definition != task.definition:
            return task
        if task.id not in self._news:
            self._news[task.id] = why
            self._ends.untell(task.id)
        return replace(task, status=status_of(why))

    def _is_spent(self) -> bool:
        """Whether a limit of the budget is reached with the time that this run has taken."""
        day, _ = local_day(now().wall)
        spent = Spent(wall_s=elapsed(self._run.started, now()))
        spending = self._project.spending.with_run(spent, day, "")
        return reached(spending, self._site.rules.budget, day) is not None

    # Beginning --------------------------------------------------------------------------------------------------------

    def _begin_ready(self) -> None:
        rules = self._site.rules
        self._dirty = False
        if len(self._jobs) >= rules.job_slots:
            return
        lanes = [job.lane for job in self._jobs.values()]
        for lane in jobs_to_start(self._tasks, lanes, self._project, rules, self._urgency):
            task = next(task for task in self._tasks if task.id == lane.task_id)
            self._begin(task, lane)

    def _begin(self, task: Task, lane: Lane) -> None:
        site, began = self._site, time.monotonic()
        self._ends.begin(task.id)
        self._begun.append(task.id)
        folder = fresh_folder(site, task.id)
        log = GateLog(self._logs / f"{task.id}.log", self._redactor)
        limit = time_for(self._project.settings, task)
        self._until = max(self._until, elapsed(self._run.started, now()) + limit)
        policy = policy_of(site, self._run, task.id, folder, network=task.network)
        lines = (*(step.line for step in task.steps), *task.commands)
        job = Job(task, lane, folder, policy, log, lines, began, began + limit)
        self._jobs[task.id] = job
        if not self._starts(job):
            self._end([task.id])

    def _starts(self, job: Job) -> bool:
        """Start the line that is due; False where that cannot be, for which the job has failed."""
        line = job.lines[job.at]
        with storage_errors(job.log.path, "write"):
            job.head(line)
        own = {**self._granted, **variables(self._home, job.task, job.lane.values)}
        command = Command(("/bin/sh", "-c", line), job.folder, env=own)
        try:
            self._crew.start(job.task.id, self._sandbox.wrap(command, job.policy), job.take)
        except (MissingFolder, MissingProgram) as error:  # a step before it may have removed the folder
            job.why = error.message
        return not job.why

    # Ending -----------------------------------------------------------------------------------------------------------

    def _went(self, ended: Ended) -> str:
        """One line of a job has ended: its next one begins; the job's name where it is over by that."""
        job, sandbox = self._jobs[ended.key], self._sandbox
        sandbox.clean(job.policy)
        said = sandbox.start_failure(Exit(ended.code, stderr=job.log.tail()))
        if said and not (job.why or job.stopped):
            cure = "`aiframe doctor` tries it and says what it binds"
            raise StepError(f"{sandbox.name} did not start: {said}", hint=cure)
        if job.stopped:
            self._close(job)
            del self._jobs[ended.key]
            self._log.say(f"-- {ended.key}: stopped", "job_ended", task=ended.key, passed=False)
            return ""
        if not job.why and ended.code:
            job.why = what_went_wrong(job, ended.code)
        if job.why or job.at + 1 == len(job.lines):
            return ended.key
        job.at += 1
        return "" if self._starts(job) else ended.key

    def _end(self, names: list[str]) -> None:
        """These are over: that is written down before anything else is begun."""
        if not names:
            return
        moment = time.monotonic()
        self._ends.end((self._jobs[name].task, self._jobs[name].why, moment - self._jobs[name].began) for name in names)
        for name in names:
            job = self._jobs.pop(name)
            self._untold.append(job)
            self._news[name], self._over[name] = job.why, (job.task, job.why)
            ended = status_of(job.why)
            self._tasks = tuple(replace(task, status=ended) if task.id == name else task for task in self._tasks)
            if job.why and not self._site.rules.continue_on_task_failure:
                self._takes = False
        self._dirty = True

    def _tell_ends(self) -> None:
        """Close the logs of those that have ended, and say so: it can wait until the next ones are at work."""
        while self._untold:
            job = self._untold.pop(0)
            self._close(job)
            self._tell_end(job)

    def _close(self, job: Job) -> None:
        with storage_errors(job.log.path, "write"):
            if job.why:
                job.take(b"")
            if job.unwritten is None:
                job.log.finish()
                job.log.close()

    def _tell_end(self, job: Job) -> None:
        seconds = round(time.monotonic() - job.began, 3)
        name = job.task.id
        log_file = str(job.log.path.relative_to(self._site.root)) if job.unwritten is None else ""
        said = f"-- {name}: done in {seconds:.1f} s"
        if job.why:
            said = f"{job.log.tail()}\n-- {name}: {job.why}; all that it printed: {log_file}"
        self._log.say(said, "job_ended", task=name, passed=not job.why, why=job.why, seconds=seconds, log_file=log_file)
