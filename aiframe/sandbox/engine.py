"""The container engines of this machine, podman and docker, by their command lines."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from aiframe.core.errors import AiframeError, StepError
from aiframe.process import Captured, MissingProgram, capture, run_in_terminal

ENGINES = ("podman", "docker")
"""The first that works is taken."""
_PATIENCE_S = 60.0
_SUMMARY = "Error: failed to start containers"
_LACKING = 'for each; do command -v "$each" >/dev/null 2>&1 || echo "$each"; done'


class EngineMissing(StepError):
    """There is neither podman nor docker here, or what is there does not work."""


class ImageMissing(StepError):
    """No engine has the image."""


class Engine(Struct, frozen=True):
    """An engine: the path of its *program*, and the environment it is called with."""

    program: str
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """podman or docker."""
        return Path(self.program).name

    @property
    def is_podman(self) -> bool:
        """Whether it is podman."""
        return self.name == "podman"

    @property
    def is_here(self) -> bool:
        """Whether the processes of its containers are those of this machine, by their numbers."""
        return self.is_podman and sys.platform == "linux" and "CONTAINER_HOST" not in self.environ

    def ask(
        self, *words: str, env: Mapping[str, str] | None = None, timeout_s: float = _PATIENCE_S, cwd: Path = Path("/")
    ) -> Captured:
        """Run it with *words*; *env* goes on top of its environment. Raises CommandTimeout, EngineMissing."""
        try:
            return capture((self.program, *words), cwd=cwd, env={**self.environ, **(env or {})}, timeout_s=timeout_s)
        except MissingProgram as error:
            raise EngineMissing(
                f"the containers of agents need {self.program}: {error.message}", hint=_cure()
            ) from None

    def image_id(self, image: str) -> str:
        """The id of *image*; empty where it is not there."""
        said = self.ask("image", "inspect", "--format", "{{.Id}}", image)
        return said.out.decode(errors="replace").strip() if said.code == 0 else ""

    def build(self, file: Path, image: str, base: str) -> int:
        """Build *image* by the Containerfile *file*, with our terminal; the exit status.

        *base* is what it starts from, empty for the file's own.
        """
        argument = (f"--build-arg=BASE={base}",) if base else ()
        words = (self.program, "build", f"--tag={image}", *argument, f"--file={file}", str(file.parent))
        return run_in_terminal(words, cwd=file.parent)

    def about_limits(self, image: str, limits: tuple[str, ...]) -> str:
        """What it says of *limits*, where it starts a container of *image* without holding it to all of them."""
        words = ("run", "--rm", "--pull=never", "--network=none", "--cap-drop=ALL", *limits, "--entrypoint=sh", image)
        said = self.ask(*words, "-c", "true").err.decode(errors="replace").splitlines()
        return next((line.strip()[:500] for line in said if "limit" in line.lower()), "")

    def lacking(self, image: str, programs: tuple[str, ...]) -> tuple[str, ...]:
        """Those of *programs* that *image* does not have. Raises StepError where it does not start."""
        words = ("run", "--rm", "--pull=never", "--network=none", "--cap-drop=ALL", "--entrypoint=sh", image)
        said = self.ask(*words, "-c", _LACKING, "sh", *programs)
        if said.code:
            cure = "it needs sh, timeout and git; `aiframe image build` makes one that has them"
            raise StepError(f"no container of {image} starts: {last_line(said)}", hint=cure)
        return tuple(said.out.decode(errors="replace").split("\n")[:-1])


def find_engine(environ: Mapping[str, str], image: str = "", only: str = "") -> Engine:
    """The first engine that works and has *image*, where one is named; *only* looks at no other than that.

    Raises EngineMissing, ImageMissing.
    """
    working, reasons = [], []
    for name in ENGINES:
        program = shutil.which(name, path=environ.get("PATH", os.defpath)) if only in ("", name) else None
        if program is None:
            continue
        engine = Engine(program, environ)
        reason = why_not(engine)
        if reason:
            reasons.append(f"{name} does not work here ({reason})")
        elif not image or engine.image_id(image):
            return engine
        else:
            working.append(name)
    if working:
        raise no_image(image, " and ".join(working))
    missing = f"{only or 'neither podman nor docker'} is {'not ' if only else ''}installed"
    raise EngineMissing(f"agents have no container to run in: {'; '.join(reasons) or missing}", hint=_cure())


def no_image(image: str, engine: str) -> ImageMissing:
    """The error for an *image* that *engine* does not have."""
    cure = "`aiframe image build` makes one; or name another in `workspace: {image: NAME}` of PROJECT.yaml"
    return ImageMissing(f"{engine} has no image {image}", hint=cure)


def last_line(said: Captured) -> str:
    """What an engine said last, which is mostly why it failed; docker then sums up once more that it did."""
    lines = said.err.decode(errors="replace").strip().splitlines() or [f"exit {said.code}"]
    return next((line for line in reversed(lines) if not line.startswith(_SUMMARY)), lines[-1])[:500]


def why_not(engine: Engine) -> str:
    """Why it does not work; empty where it does. With docker the question goes to its daemon."""
    try:
        said = engine.ask("version", timeout_s=10)
    except AiframeError as error:
        return error.message
    return last_line(said) if said.code else ""


def _cure() -> str:
    install = "brew install podman" if sys.platform == "darwin" else "apt-get install podman"
    return f"install podman ({install}) or docker and start it; or take `kind: clone` in PROJECT.yaml"
