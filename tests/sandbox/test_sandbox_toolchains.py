"""What is shown of the folders on PATH: what their programs need, and nothing that people keep beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from aiframe.sandbox.toolchains import toolchains


def lay(root: Path, files: Mapping[str, str]) -> None:
    """Make *files*: a text that begins with `->` is a link."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("->"):
            path.symlink_to(text[2:].replace("ROOT", str(root)))
        else:
            path.write_text(text.replace("ROOT", str(root)))
            path.chmod(0o755 if "bin" in path.parts or "shims" in path.parts else 0o644)


PYTHON = {"bin/python3.11": "", "bin/python3": "->python3.11", "lib/python3.11/os.py": "", "share/secret": ""}


def below(folder: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{folder}/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("files", "path", "shown"),
    [
        pytest.param({"home/bin/x": "", "home/key": ""}, "home/bin", {"home/bin"}, id="a folder in the home"),
        pytest.param({"home/key": ""}, "home", set(), id="the home itself"),
        pytest.param({"home/key": ""}, ".", set(), id="what holds the home"),
        pytest.param({"frame/x": ""}, "frame", set(), id="what holds the project"),
        pytest.param({"opt/tool/bin/x": "", "opt/tool/lib/y": ""}, "opt/tool/bin", {"opt/tool"}, id="a tool's folder"),
        pytest.param({"opt/.tool/bin/x": "", "opt/.tool/key": ""}, "opt/.tool/bin", {"opt/.tool/bin"}, id="hidden"),
        pytest.param(below("home/py", PYTHON), "home/py/bin", {"home/py/bin", "home/py/lib"}, id="a Python"),
        pytest.param(
            {
                **below("home/py", PYTHON),
                "home/venv/pyvenv.cfg": "home = ROOT/home/py/bin\nversion = 3.11\n",
                "home/venv/bin/python3": "->ROOT/home/py/bin/python3",
            },
            "home/venv/bin",
            {"home/venv", "home/py/bin", "home/py/lib"},
            id="a venv and its Python",
        ),
        pytest.param(
            {"home/.pyenv/shims/python3": "#!", "home/.pyenv/versions/3/bin/x": ""},
            "home/.pyenv/shims",
            {"home/.pyenv"},
            id="a version switcher",
        ),
        pytest.param(
            {"home/node/bin/node": "", "home/node/lib/node_modules/npm/x": "", "home/node/.npmrc": ""},
            "home/node/bin",
            {"home/node/bin", "home/node/lib"},
            id="a Node",
        ),
        pytest.param(
            {"home/.cargo/bin/rustup": "", "home/.cargo/credentials": "", "home/.rustup/toolchains/a/b": ""},
            "home/.cargo/bin",
            {"home/.cargo/bin", "home/.rustup"},
            id="a rustup",
        ),
        pytest.param({"home/c/bin/x": "", "home/c/conda-meta/x": ""}, "home/c/bin", {"home/c"}, id="conda"),
        pytest.param(
            {"home/bin/x": "->ROOT/home/dot/bin/x", "home/dot/bin/x": "#!", "home/dot/key": ""},
            "home/bin",
            {"home/bin", "home/dot/bin/x"},
            id="a link to a program",
        ),
        pytest.param(
            {"home/bin/x": "->ROOT/home/.ssh/key", "home/.ssh/key": ""}, "home/bin", {"home/bin"}, id="a link to a key"
        ),
        pytest.param({"frame/projects/shop/bin/x": "->ROOT/opt/tool/bin/x", "opt/tool/bin/x": "#!"},
                     "frame/projects/shop/bin", set(), id="links in the project are never followed"),
        pytest.param({"home/bin/x": ""}, "nowhere", set(), id="missing"),
    ],
)  # fmt: skip
def test_shown(tmp_path: Path, files: Mapping[str, str], path: str, shown: set[str]) -> None:
    root = tmp_path.resolve()
    workspace = root / "frame" / "projects" / "shop"
    workspace.mkdir(parents=True)
    (root / "home").mkdir()
    lay(root, files)
    found = toolchains({"HOME": str(root / "home"), "PATH": str(root / path)}, workspace)
    assert {os.path.relpath(each, root) for each in found if each.is_relative_to(root)} == shown


def test_relative_folders_and_the_system_add_nothing(tmp_path: Path) -> None:
    bare = toolchains({"PATH": "", "HOME": str(tmp_path)}, tmp_path / "shop")
    assert toolchains({"PATH": ".::bin:/usr/bin:/bin:/", "HOME": str(tmp_path)}, tmp_path / "shop") == bare
