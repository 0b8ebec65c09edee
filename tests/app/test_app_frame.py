"""Which frame, which project: found the way a person means it, or refused with the cure."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from aiframe.app.making.frame import all_projects, find_frame, lay_frame, resolve_project
from aiframe.app.project.resources import data_root, files_below, prompt_dirs, template_folder, template_text
from aiframe.core.errors import GuardError, UsageError
from aiframe.store.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    """A frame with the projects `shop` (with a folder `src`) and `blog`, and folders that are no projects."""
    root = tmp_path / "frame"
    for name in ("shop/src", "blog", "plain", ".hidden", "my-Template"):
        (root / "projects" / name).mkdir(parents=True)
    for name in ("shop", ".hidden", "my-Template"):
        (root / "projects" / name / "STATE.json").write_text("{}")
    control = root / "projects/blog/.git/aiframe"
    control.mkdir(parents=True)
    (control / "control.json").write_text("{}")
    (root / "projects" / "a file").write_text("")
    (root / "projects" / ".gitignore").write_text("*\n")
    (root / "prompts").mkdir()
    return root


@pytest.mark.parametrize("mark", ["prompts", "TEMPLATE_ROOT"])
def test_a_frame_is_projects_and_a_mark(tmp_path: Path, mark: str) -> None:
    (tmp_path / "projects" / "deep" / "er").mkdir(parents=True)
    with pytest.raises(UsageError, match="in no frame") as raised:
        find_frame(None, {}, tmp_path / "projects")
    assert "aiframe frame DIR" in raised.value.hint
    (tmp_path / mark).mkdir() if mark == "prompts" else (tmp_path / mark).write_text("")
    assert find_frame(None, {}, tmp_path / "projects" / "deep" / "er") == tmp_path


def test_the_option_wins_over_the_variable_over_the_folder(frame: Path, tmp_path: Path) -> None:
    other, third = lay_frame(tmp_path / "other").root, lay_frame(tmp_path / "third").root
    environ = {"AIFRAME_FRAME": str(other)}
    assert find_frame(None, {}, frame) == frame
    assert find_frame(None, {"AIFRAME_FRAME": ""}, frame) == frame
    assert find_frame(None, environ, frame) == other
    assert find_frame(Path("../third"), environ, frame) == third


@pytest.mark.parametrize(
    ("explicit", "environ", "blamed"),
    [
        pytest.param(Path("nowhere"), {}, "--frame", id="option"),
        pytest.param(None, {"AIFRAME_FRAME": "projects"}, "AIFRAME_FRAME", id="variable"),
        pytest.param(Path("projects/shop"), {"AIFRAME_FRAME": "."}, "--frame", id="a project"),
    ],
)
def test_a_named_frame_must_be_one(frame: Path, explicit: Path | None, environ: dict[str, str], blamed: str) -> None:
    with pytest.raises(UsageError, match=f"{blamed}: .* is no frame"):
        find_frame(explicit, environ, frame)


def test_a_project_with_folders_of_those_names_is_no_frame(frame: Path) -> None:
    for name in ("projects", "prompts"):
        (frame / "projects" / "shop" / name).mkdir()
    assert find_frame(None, {}, frame / "projects" / "shop" / "projects") == frame
    assert resolve_project(None, None, {}, frame / "projects" / "shop" / "prompts") == frame / "projects" / "shop"


def test_all_projects(frame: Path) -> None:
    assert [path.name for path in all_projects(frame)] == ["blog", "shop"]
    (frame / "projects").rename(frame / "gone")
    with pytest.raises(UsageError, match="projects: No such file"):
        all_projects(frame)


@pytest.mark.parametrize(
    ("argument", "cwd", "found"),
    [
        pytest.param("shop", ".", "projects/shop", id="name"),
        pytest.param("blog", "projects/shop/src", "projects/blog", id="name, from inside another"),
        pytest.param("projects/shop", ".", "projects/shop", id="path"),
        pytest.param("projects/shop/", ".", "projects/shop", id="path with a slash"),
        pytest.param("../shop", "projects/blog", "projects/shop", id="path upwards"),
        pytest.param("..", "projects/shop/src", "projects/shop", id="dots"),
        pytest.param(None, "projects/shop", "projects/shop", id="here"),
        pytest.param(None, "projects/shop/src", "projects/shop", id="above"),
        pytest.param(None, "projects/blog", "projects/blog", id="here, without STATE.json"),
    ],
)
def test_resolve_project(frame: Path, argument: str | None, cwd: str, found: str) -> None:
    assert resolve_project(argument, None, {}, frame / cwd) == frame / found


def test_a_project_outside_of_any_frame_needs_its_path(frame: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone"
    lone.mkdir()
    (lone / "STATE.json").write_text("{}")
    assert resolve_project("lone", None, {}, tmp_path) == lone
    assert resolve_project(str(lone), frame, {}, frame) == lone
    assert resolve_project("shop", Path("frame"), {}, tmp_path) == frame / "projects" / "shop"
    assert resolve_project("shop", None, {"AIFRAME_FRAME": str(frame)}, tmp_path) == frame / "projects" / "shop"


def test_a_folder_here_that_is_no_project_does_not_hide_one_in_the_frame(frame: Path) -> None:
    (frame / "shop").mkdir()
    assert resolve_project("shop", None, {}, frame) == frame / "projects" / "shop"


@pytest.mark.parametrize(
    ("argument", "cwd", "error", "message", "hint"),
    [
        pytest.param("shpo", ".", UsageError, "no project 'shpo'", "did you mean shop?", id="typing error"),
        pytest.param("xyz", ".", UsageError, "no project 'xyz'", "name one of blog, shop", id="unknown name"),
        pytest.param("xyz", "..", UsageError, "is in no frame", "--frame", id="no frame"),
        pytest.param("projects/plain", ".", UsageError, "has no STATE.json", "aiframe init", id="no project"),
        pytest.param("../../shop", ".", UsageError, "no project", "did you mean shop?", id="not up and down again"),
        pytest.param("shop/../shop", ".", UsageError, "no project", "did you mean shop?", id="a path is no name"),
        pytest.param("", ".", UsageError, "no project ''", "name one of", id="nothing"),
        pytest.param("a\0b", ".", UsageError, "no project", "name one of", id="NUL"),
        pytest.param(".", ".", GuardError, "frame itself", "name one of", id="the frame by path"),
        pytest.param(None, ".", GuardError, "frame itself", "--all", id="in the frame"),
        pytest.param(None, "projects", GuardError, "none of its projects", "--project NAME", id="in projects/"),
        pytest.param(None, "projects/plain", GuardError, "none of its projects", "--all", id="beside the projects"),
        pytest.param(None, "..", UsageError, "is in no project", "--project NAME", id="anywhere"),
    ],
)
def test_no_such_project(
    frame: Path, argument: str | None, cwd: str, error: type[UsageError], message: str, hint: str
) -> None:
    with pytest.raises(error) as raised:
        resolve_project(argument, None, {}, (frame / cwd).resolve())
    assert type(raised.value) is error
    assert message in raised.value.message
    assert hint in raised.value.hint


@pytest.mark.parametrize("argument", ["blog", "projects/blog", None], ids=["name", "path", "inside"])
@pytest.mark.parametrize(
    ("left", "cure"),
    [
        pytest.param("TASKS.yaml", 'echo \'{"state": "DEV_READY"}\' > {root}/STATE.json', id="with tasks"),
        pytest.param("PROJECT.yaml", 'echo \'{"state": "INTAKE_READY"}\' > {root}/STATE.json', id="with settings"),
        pytest.param(
            ".git/aiframe/good/STATE.json", "cp {root}/.git/aiframe/good/STATE.json {root}/STATE.json", id="copy"
        ),
    ],
)
def test_a_project_that_lost_its_state_is_told_how_to_go_on(
    frame: Path, argument: str | None, left: str, cure: str
) -> None:
    root = frame / "projects" / "blog"
    shutil.rmtree(root / ".git")
    (root / left).parent.mkdir(parents=True, exist_ok=True)
    (root / left).write_text('{"state": "DEV_READY"}')
    with pytest.raises(UsageError, match="neither STATE") as caught:
        resolve_project(argument, None, {}, frame if argument else root)
    said = caught.value.hint
    assert said.endswith(cure.replace("{root}", str(root)))
    subprocess.run(said.partition(": ")[2], shell=True, check=True)
    assert resolve_project(argument, None, {}, frame if argument else root) == root


def test_a_project_is_known_by_the_second_copy_of_its_record(frame: Path) -> None:
    control = Layout(frame / "projects" / "blog").control_json
    control.rename(Layout(frame / "projects" / "blog").control_copy)
    assert resolve_project("blog", None, {}, frame) == frame / "projects" / "blog"
    assert frame / "projects" / "blog" in all_projects(frame)


def test_the_original_frame_that_holds_a_state_is_still_no_project(tmp_path: Path) -> None:
    (tmp_path / "projects").mkdir()
    for name in ("TEMPLATE_ROOT", "STATE.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(GuardError, match="frame itself"):
        resolve_project(None, None, {}, tmp_path)


# A new frame


def test_a_laid_frame_is_complete(tmp_path: Path) -> None:
    laid = lay_frame(tmp_path / "new" / "frame")
    assert find_frame(None, {}, laid.root) == tmp_path / "new" / "frame"
    files = {path.as_posix() for path in files_below(laid.root)}
    assert files == set(laid.created)
    assert files >= {
        "TEMPLATE_ROOT", "START_HERE.md", "projects/.gitignore", "prompts/dev.md.j2", "templates/project/SPEC.md",
        "templates/project/.gitignore",
    }  # fmt: skip
    assert not any("demo" in name for name in files)
    assert (laid.root / "TEMPLATE_ROOT").read_text() == (REPOSITORY / "TEMPLATE_ROOT").read_text()
    assert (laid.root / "projects/.gitignore").read_text() == (REPOSITORY / "projects/.gitignore").read_text()


def test_laying_again_restores_what_is_missing_and_changes_nothing_else(tmp_path: Path) -> None:
    root = lay_frame(tmp_path).root
    (root / "prompts" / "dev.md.j2").write_text("mine")
    (root / "prompts" / "po.md.j2").unlink()
    (root / "START_HERE.md").unlink()
    (root / "START_HERE.md").mkdir()
    laid = lay_frame(root)
    assert laid.created == ("prompts/po.md.j2",)
    assert laid.kept == ("START_HERE.md", "prompts/dev.md.j2")
    assert (root / "prompts" / "dev.md.j2").read_text() == "mine"


@pytest.mark.parametrize("place", ["projects/shop", "projects/shop/src/new", "projects/new"])
def test_no_frame_inside_a_project_or_among_projects(frame: Path, place: str) -> None:
    before = sorted(frame.rglob("*"))
    with pytest.raises(GuardError):
        lay_frame(frame / place)
    assert sorted(frame.rglob("*")) == before


def test_no_frame_inside_a_project_that_lies_alone(tmp_path: Path) -> None:
    (tmp_path / "STATE.json").write_text("{}")
    with pytest.raises(GuardError, match="lies in the project"):
        lay_frame(tmp_path / "frame")
    assert [path.name for path in tmp_path.iterdir()] == ["STATE.json"]


# Where things are looked for


def test_what_git_python_and_the_desktop_keep_is_no_file_of_ours(tmp_path: Path) -> None:
    for name in ("b/c", "a", ".git/HEAD", "b/__pycache__/x.pyc", "b/.DS_Store"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert [path.as_posix() for path in files_below(tmp_path)] == ["a", "b/c"]


def test_prompts_are_looked_for_in_the_project_then_the_frame_then_the_package(tmp_path: Path) -> None:
    assert prompt_dirs(tmp_path / "p", tmp_path / "f") == (
        tmp_path / "p" / "prompts", tmp_path / "f" / "prompts", data_root() / "prompts",
    )  # fmt: skip
    assert prompt_dirs(tmp_path / "p", None)[1:] == (data_root() / "prompts",)


def test_the_frames_template_comes_before_the_packaged_one(tmp_path: Path) -> None:
    own = tmp_path / "templates" / "project"
    own.mkdir(parents=True)
    (own / "SPEC.md").write_text("mine")
    assert template_text("project/SPEC.md", tmp_path) == "mine"
    assert template_text("project/TASKS.yaml", tmp_path) == (data_root() / "templates/project/TASKS.yaml").read_text()
    assert template_folder("project", tmp_path) == own
    assert template_folder("demo", tmp_path) == data_root() / "templates" / "demo"
