"""The foreman of a crew: the parent of many commands, several at a time, below one guardian.

It is a copy of its guardian (``aiframe.guardian``), so that a crew costs one interpreter, and a command not much more
than a fork. ``aiframe.process.crew`` holds the other end of its socket and sends frames (four bytes of length, then
``marshal``):

- ``("start", N, PROGRAM, ARGV, CWD, ENV)``, and as a descriptor the end of a pipe into which the command prints; all
  words are bytes, ENV goes on top of the foreman's own environment;
- ``("stop", N, SECONDS)``: SIGTERM to the command's tree, SIGKILL to what is left of it after so long.

It answers with a line for each command, ``ended N STATUS SECONDS``, once nothing of the command's tree is left. It
leaves when its socket ends, and the guardian ends whatever is left then.

Whose a process is. On Linux the foreman becomes the parent of every orphan below it, so all that a dead command has
left is below a child of the foreman that is no command itself. Its owner is told by its session, by a resource limit
(see `tag`) and by a variable, whatever of them it has kept. A process of which none tells may belong to each command
that runs when it is first seen; it is ended with the last of these.
"""

from __future__ import annotations

import marshal
import os
import resource
import select
import signal
import sys
import time

from aiframe import guardian, living

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import NoReturn

HEAD_BYTES = 4
VARIABLE = "AIFRAME_JOB_"
"""How the variable begins that tells whose a process is."""
NOT_STARTED = 127
"""The exit code of a command that could not be started, as shells have it."""

_PIECE_BYTES = 64 * 1024
_OUTPUTS = 16
_DESCRIPTORS = 64
"""More than a guardian has open when it starts its child."""
_NEVER = float("inf")
_NOBODY = 0

_TAG_BASE, _TAG_SHIFT = 1 << 62, 38
_TAG_LINE = b"Max realtime timeout"


def tag(guardian_pid: int, number: int) -> int:
    """The soft limit of RLIMIT_RTTIME (microseconds) by which the processes of a command are known; 0: the foreman's.

    It passes to children like any limit, and unlike session, variables and descriptors nobody gets rid of it on the
    way to become a daemon. As a limit it is 140,000 years, for real-time processes only.
    """
    return _TAG_BASE + (guardian_pid << _TAG_SHIFT) + number


def read_tag(pid: int) -> int:
    """The limit by which a process is known, a zombie too; 0 where it has none."""
    for line in living.read(f"/proc/{pid}/limits").splitlines():
        if line.startswith(_TAG_LINE):
            soft = line[len(_TAG_LINE) :].split()[0]
            return int(soft) if soft.isdigit() else 0
    return 0


def is_below(pid: int, guardian_pid: int) -> bool:
    """Whether a process is, or was, below the foreman of that guardian."""
    return read_tag(pid) >> _TAG_SHIFT == tag(guardian_pid, _NOBODY) >> _TAG_SHIFT


def _wear(value: int) -> None:
    """Set the tag of this process and of all that it starts from now on."""
    if living.LINUX:
        soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        if hard == resource.RLIM_INFINITY and (soft == hard or soft >= _TAG_BASE):  # not where a person has set one
            resource.setrlimit(resource.RLIMIT_RTTIME, (value, hard))


class _Job:
    """A command by its number and the id of its leader; *kill_at* is of the monotonic clock."""

    __slots__ = ("kill_at", "number", "pid", "seconds", "started", "status")

    def __init__(self, number: int, pid: int, started: float) -> None:
        self.number = number
        self.pid = pid
        self.started = started
        self.kill_at = _NEVER
        self.status = 0
        self.seconds = 0.0


def main(arguments: list[str]) -> NoReturn:
    """What the guardian takes, with the number of the socket's descriptor for the program."""
    guardian.main(arguments, _live)


def _live(words: list[str]) -> None:
    try:
        _Foreman(_take_socket(int(words[0]))).work()
    except BaseException:
        sys.excepthook(*sys.exc_info())  # the crew passes it on, and takes our end for what it is


def _take_socket(descriptor: int) -> socket.socket:
    """The socket, once all that belongs to the guardian is closed."""
    import socket  # here, for all who start a process import this module, and that takes 2 ms

    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, _DESCRIPTORS)
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)


class _Foreman:
    """What runs, and what belongs to whom."""

    def __init__(self, crew: socket.socket) -> None:
        self._crew = crew
        self._heard = bytearray()
        self._outputs: list[int] = []
        self._jobs: dict[int, _Job] = {}
        self._leaders: dict[int, _Job] = {}
        self._ended: list[_Job] = []
        self._owners: dict[int, set[int]] = {}
        """Of each child that is no leader: the numbers of the commands to which it may belong."""
        self._me, self._guardian = os.getpid(), os.getppid()
        self._env = dict(os.environb)
        self._alarms = guardian.listen((signal.SIGCHLD,))
        guardian.become_subreaper()
        _wear(tag(self._guardian, _NOBODY))

    def work(self) -> None:
        """Do what the crew says until it says no more."""
        poll = select.poll()
        poll.register(self._crew, select.POLLIN)
        poll.register(self._alarms, select.POLLIN)
        going_on = True
        while going_on:
            ready = {descriptor for descriptor, _ in poll.poll(self._patience_ms())}
            if self._alarms in ready:
                os.read(self._alarms, _PIECE_BYTES)
            if self._crew.fileno() in ready:
                going_on = self._receive()
            self._collect()
            self._kill_overdue()
            while self._ended:
                self._finish(self._ended.pop(0))

    def _patience_ms(self) -> int | None:
        due = min((job.kill_at for job in self._jobs.values()), default=_NEVER)
        return None if due == _NEVER else max(0, int(1000 * (due - time.monotonic())) + 1)

    def _receive(self) -> bool:
        """Take what the crew has sent and do it; False when there will be no more."""
        import socket  # which `_take_socket` has loaded

        text, outputs, _, _ = socket.recv_fds(self._crew, _PIECE_BYTES, _OUTPUTS)
        for output in outputs:
            os.set_inheritable(output, False)
        self._outputs += outputs
        self._heard += text
        while len(self._heard) >= HEAD_BYTES:
            end = HEAD_BYTES + int.from_bytes(self._heard[:HEAD_BYTES], "big")
            if len(self._heard) < end:
                break
            order, *details = marshal.loads(self._heard[HEAD_BYTES:end])
            del self._heard[:end]
            (self._start if order == "start" else self._stop)(*details)
        return bool(text)

    def _start(self, number: int, program: bytes, argv: list[bytes], cwd: bytes, env: dict[bytes, bytes]) -> None:
        output, started = self._outputs.pop(0), time.monotonic()
        try:
            pid = self._spawn(number, output, program, argv, cwd, env)
        except (OSError, ValueError) as error:
            _complain(output, program, error)
            self._say(number, NOT_STARTED << 8, 0.0)
        else:
            self._jobs[number] = self._leaders[pid] = _Job(number, pid, started)
        os.close(output)

    def _spawn(
        self, number: int, output: int, program: bytes, argv: list[bytes], cwd: bytes, env: dict[bytes, bytes]
    ) -> int:
        """The id of a new process. It shares our memory until it is its program, for a copy of us costs as much again.

        So all that the program inherits has to be ours for that moment, and it cannot ask to be killed with us, as we
        are with the guardian: the guardian ends it. Raises OSError, ValueError.
        """
        streams = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]  # 0 is nothing for it too
        everything = {**self._env, **env, self._variable(number): b"1"}
        _wear(tag(self._guardian, number))
        try:
            os.chdir(cwd)
            return os.posix_spawn(program, argv, everything, file_actions=streams, setsid=True)
        finally:
            os.chdir("/")
            _wear(tag(self._guardian, _NOBODY))

    def _variable(self, number: int) -> bytes:
        """Named after the guardian too, for a command may have a crew of its own."""
        return f"{VARIABLE}{self._guardian}_{number}".encode()

    def _stop(self, number: int, grace_s: float) -> None:
        job = self._jobs.get(number)
        if job is not None:
            job.kill_at = min(job.kill_at, time.monotonic() + grace_s)
            living.ask_to_end(self._tree(job))

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._jobs.values() if job.kill_at <= now]:
            job.kill_at = _NEVER
            self._end_tree(job)

    def _collect(self) -> None:
        """Take the exit status of every dead child."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._owners.pop(pid, None)
                job = self._leaders.pop(pid, None)
                if job is not None:
                    job.status, job.seconds = status, time.monotonic() - job.started
                    self._ended.append(job)
        except ChildProcessError:
            return

    def _finish(self, job: _Job) -> None:
        """End what a dead command has left, and say that it has ended.

        When a process dies, its children become ours before we can collect it: with all that is dead collected, a
        look at our own children shows whether anything is left.
        """
        if self._left_by(job):
            self._end_tree(job)
            for pid in self._left_by(job):
                self._owners[pid] = {_NOBODY}  # it cannot be killed; the guardian tries once more
        for owners in self._owners.values():
            owners.discard(job.number)
        del self._jobs[job.number]
        self._say(job.number, job.status, job.seconds)

    def _say(self, number: int, status: int, seconds: float) -> None:
        """Tell the crew. If it is gone this is our end, by SIGPIPE, and thereby that of all that runs."""
        self._crew.sendall(b"ended %d %d %.6f\n" % (number, status, seconds))

    # Whose a process is

    def _left_by(self, job: _Job) -> set[int]:
        """Our children that belong to this command and to no other, dead ones that wait to be collected among them."""
        if not living.LINUX:
            return _group(job.pid)
        for pid in living.children_of(self._me) - self._leaders.keys() - self._owners.keys():
            self._owners[pid] = self._find_owners(pid)
        return {pid for pid, owners in self._owners.items() if owners <= {job.number}}

    def _find_owners(self, pid: int) -> set[int]:
        """The numbers of the commands to which a child of ours may belong."""
        fields = living.stat_fields(pid)
        session = int(fields[3]) if fields else 0
        worn = read_tag(pid)
        for job in self._jobs.values():
            if session == job.pid or worn == tag(self._guardian, job.number):
                return {job.number}
        environment = living.read(f"/proc/{pid}/environ").split(b"\0")
        carried = {number for number in self._jobs if self._variable(number) + b"=1" in environment}
        return carried or set(self._jobs)

    def _tree(self, job: _Job) -> set[int]:
        """The living processes of a command."""
        table = living.process_table()
        roots = self._left_by(job)
        if job.pid in self._leaders:
            roots.add(job.pid)
        return (roots & table.keys()) | living.below(table, roots)

    def _end_tree(self, job: _Job) -> None:
        def collect(_: set[int]) -> bool:
            self._collect()
            left = self._left_by(job)
            living.signal_all(left, signal.SIGKILL)  # also what is too short-lived for a table
            return bool(left) or job.pid in self._leaders

        living.end_all(lambda: self._tree(job), within_s=living.END_WITHIN_S, collect=collect)


def _group(leader: int) -> set[int]:
    """The living processes of a command's group: all that can be told where orphans do not come back to us."""
    try:
        os.killpg(leader, 0)
    except OSError:
        return set()  # nobody, or nothing but zombies
    return {pid for pid, entry in living.process_table().items() if entry.group == leader}


def _complain(output: int, program: bytes, error: Exception) -> None:
    """Say in the command's output why it does not run."""
    what, why = program, str(error)
    if isinstance(error, OSError) and error.errno:
        what, why = os.fsencode(error.filename or program), os.strerror(error.errno)
    os.write(output, b"aiframe: %b: %b\n" % (what, why.encode()))
