"""The bundle: what a bug report needs, and neither secrets nor the product nor anything that a link leads to."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from support.projects import Bench, Ran, dev, lay_project, task
from support.records import BEGAN, write_run

from aiframe.app.reports.bundle import MAX_BYTES
from aiframe.app.reports.masking import redaction, without_addresses

SECRET = "correct-horse-battery"
SOURCE = "def the_product_itself(): pass"


def packed(bench: Bench, out: Path, **env: str) -> tuple[Ran, dict[str, str]]:
    """How the command ended, and what is in the bundle."""
    ended = bench.do("bundle", "--out", str(out), **env)
    assert ended.code == 0, ended.said
    with tarfile.open(out) as tar:
        assert all(entry.isfile() and entry.name.startswith("aiframe-bundle/") for entry in tar)
        files = {entry.name.removeprefix("aiframe-bundle/"): tar.extractfile(entry) for entry in tar}
        return ended, {name: file.read().decode() for name, file in files.items() if file is not None}


def test_it_holds_what_is_needed_and_says_so(tmp_path: Path) -> None:
    turns = [dev("T1", say=f"I keep {SECRET} and sk-abcdefghijklmnopqrstuvwx", files={"product.py": SOURCE})]
    bench = lay_project(tmp_path, task("T1", f"echo token={SECRET}x"), turns=turns)
    bench.tick()
    settings = bench.text("PROJECT.yaml").replace('"limits": {}', f'"notify": "json://user:{SECRET}@x/{SECRET}"')
    bench.write("PROJECT.yaml", settings)
    out = tmp_path / "b.tar.gz"
    ended, files = packed(bench, out, MY_API_KEY=SECRET, PLAIN="harmless-value", HOME=str(tmp_path))
    run = bench.runs()[0].name
    for name in (
        "about.txt", "doctor.txt", "history.json", "STATE.json", "TASKS.yaml", "PROJECT.yaml", "sizes.txt",
        "logs/events.ndjson", "control/control.json", f"logs/runs/{run}/result.json", f"logs/tick-{run}.log",
        f"logs/runs/{run}/gates/verify-1.log",
    ):  # fmt: skip
        assert name in files
        assert name in ended.out
    everything = "".join(files.values())
    for hidden in (SECRET, "sk-abcdef", SOURCE, "Sells things", str(tmp_path)):
        assert hidden not in everything
    assert "[redacted MY_API_KEY]" in files[f"logs/tick-{run}.log"]
    assert "json://[redacted]" in files["PROJECT.yaml"]
    assert not {"product.py", "SPEC.md", f"logs/runs/{run}/agent.jsonl", f"logs/runs/{run}/prompt.md"} & set(files)
    assert "SPEC.md" in files["sizes.txt"]
    assert out.stat().st_mode & 0o077 == 0


def test_links_lead_nowhere(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("private", "result.json"):
        (outside / name).write_text(SOURCE)
    places = ("logs/runs/r1/gates/../../../../../outside/private", "logs/runs/r1/gates/private")
    write_run(bench, "r1", gates=[{"name": "g", "log_file": place} for place in places])
    (bench.root / "logs/runs/r1/gates").symlink_to(outside)
    (bench.root / "logs/tick-r1.log").symlink_to(outside / "private")
    (bench.root / "logs/runs/r2").symlink_to(outside)
    (bench.root / "TASKS.yaml").unlink()
    (bench.root / "TASKS.yaml").symlink_to(outside / "private")
    os.mkfifo(bench.root / "logs/tick-r0.log")
    write_run(bench, "r0", at=BEGAN + 10)
    _, files = packed(bench, tmp_path / "b.tar.gz")
    assert SOURCE not in "".join(files.values())


def test_its_size_is_bounded_and_the_end_of_a_log_counts(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    for number in range(8):
        write_run(bench, f"r{number}", at=BEGAN + number * 100, output="y" * 1_000_000)
        bench.write(f"logs/tick-r{number}.log", "x" * 1_000_000 + "\nthe last line\n")
    bench.write(".git/aiframe/runner.log", "z\n" * 500_000)
    ended, files = packed(bench, tmp_path / "b.tar.gz")
    assert sum(map(len, files.values())) <= MAX_BYTES
    assert files["logs/tick-r7.log"] == "the last line\n"
    assert "(the end of 1000015 bytes)" in ended.out
    assert "left out: the bundle is full" in ended.out
    assert files["logs/runs/r3/result.json"] == ""
    assert "logs/tick-r2.log" not in files


def test_it_is_made_of_a_project_that_is_in_trouble(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    for name in ("STATE.json", "TASKS.yaml", "PROJECT.yaml"):
        bench.write(name, "{broken: [\n")
    _, files = packed(bench, tmp_path / "b.tar.gz")
    assert files["STATE.json"] == "{broken: [\n"
    assert "BAD  project" in files["doctor.txt"]


def test_nothing_else_is_written_over(tmp_path: Path) -> None:
    bench = lay_project(tmp_path, task("T1", "true"))
    refused = bench.do("bundle", "--out", str(bench.root / "SPEC.md"))
    assert refused.code == 2
    assert "--out" in refused.err
    assert bench.text("SPEC.md").startswith("# Shop")
    assert bench.do("bundle").code == 0
    assert len(list((bench.root / "logs").glob("aiframe-bundle-shop-*.tar.gz"))) == 1


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param("Bearer abcdefghijkl", "Bearer [redacted]", id="bearer"),
        pytest.param("https://me:pa55word@host/x", "https://me:[redacted]@host/x", id="password in an address"),
        pytest.param("ghp_abcdefghijklmnopqrst1234", "[redacted token]", id="a token's shape"),
        pytest.param('"api_key": "abcdefgh-123"', '"api_key": "[redacted]"', id="a key in a file"),
        pytest.param("password=Tr0ub4dor&3", "password=[redacted]", id="a password in a line"),
        pytest.param('"input_tokens": 123456789, "x"', '"input_tokens": 123456789, "x"', id="a number of tokens stays"),
        pytest.param("the value line\\nbreak here", "the value [redacted A_SECRET] here", id="as JSON spells it"),
        pytest.param("-----BEGIN RSA PRIVATE KEY-----\nabc\nde", "[redacted private key]", id="a torn key"),
        pytest.param("/home/jo/x and /home/joan", "~/x and /home/joan", id="home"),
        pytest.param("nothing to hide", "nothing to hide", id="nothing"),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert redaction({"A_SECRET": "line\nbreak", "HOME": "/home/jo", "SHORT_KEY": "no"})(text) == masked


def test_of_an_address_only_its_beginning_stays() -> None:
    assert without_addresses("- mailto://a:b@c/d\n- 'ntfy://topic'") == "- mailto://[redacted]\n- 'ntfy://[redacted]'"
