"""No secret passes the redactor, however its bytes come and however JSON spells it; and nothing else is touched."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiframe.core.model import Failure, FailureKind
from aiframe.core.redaction import Redactor
from aiframe.core.secret_values import Secret

# Values that hold letters which JSON quotes, and ordinary ones; never a part of a marker.
LETTERS = st.sampled_from(list("abcXYZ0189-_.=+/$&%\\\"'\n\t é漢😀"))
VALUES = st.text(LETTERS, min_size=8, max_size=40)
NOISE = st.binary(max_size=60) | st.text(max_size=40).map(str.encode) | st.just(b'\\\\"\\u00') | st.just(b"\\" * 20)
TOKENS = st.sampled_from(
    [
        "sk-" + "aB3" * 8,
        "sk-proj-" + "x_9-" * 40,
        "ghp_" + "aB3" * 12,
        "github_pat_" + "aB3_" * 10,
        "glpat-" + "aB3-" * 6,
        "AKIA" + "ABCD1234" * 2,
        "xoxb-" + "1234-" * 5,
        "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEabc/+=\n" * 40 + "-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n" + "MIIEabc/+=\n" * 9 + "-----END PRIVATE KEY-----",
    ]
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """*data* cut at *cuts*, counted in thousandths of its length."""
    places = sorted({cut * len(data) // 1000 for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def streamed(redactor: Redactor, chunks: list[bytes]) -> bytes:
    """What is written when *chunks* come one after the other."""
    stream = redactor.stream()
    return b"".join([*(stream.feed(chunk) for chunk in chunks), stream.end()])


def spelled(value: str, depth: int, ascii_only: bool) -> bytes:
    """*value* as JSON spells it inside *depth* texts."""
    for _ in range(depth):
        value = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
    return value.encode()


CUTS = st.lists(st.integers(0, 1000), max_size=8)


@given(value=VALUES, before=NOISE, after=NOISE, cuts=CUTS, depth=st.integers(0, 3), ascii_only=st.booleans())
@example("12345678", b"", b"", list(range(0, 1000, 10)), 0, False)
@example('a\\\n"b/cd😀', b"\\", b"\\", list(range(0, 1000, 7)), 2, True)
@settings(deadline=None, max_examples=300)
def test_known_value(value: str, before: bytes, after: bytes, cuts: list[int], depth: int, ascii_only: bool) -> None:
    form = spelled(value, depth, ascii_only)
    redactor, raw = Redactor((Secret("X", value),)), before + form + after
    said = streamed(redactor, pieces(raw, cuts))
    assert said == redactor.data(raw)
    assert form not in said.replace(b"[redacted X]", b"\0")
    once = (
        redactor.data(before + form[:-1]) == before + form[:-1] and redactor.data(form[1:] + after) == form[1:] + after
    )
    if once and b"\\" not in before[-1:] + after[:1]:
        assert said == before + b"[redacted X]" + after


@given(
    token=TOKENS, before=st.sampled_from(["", "\n", "key: ", '"', "é ", "\x1b[31m"]), cuts=CUTS, quoted=st.booleans()
)
@settings(deadline=None, max_examples=300)
def test_token_shape(token: str, before: str, cuts: list[int], quoted: bool) -> None:
    text = f'{before}{token}"; and then\n'
    raw = json.dumps({"text": text}).encode() if quoted else text.encode()
    said = streamed(Redactor(), pieces(raw, cuts)).decode()
    if quoted:
        said = json.loads(said)["text"]
    head, _, rest = said.partition("[redacted ")
    assert (head, rest.partition("]")[2]) == (before, '"; and then\n')


@given(data=st.binary(max_size=400) | st.text(max_size=200).map(str.encode), cuts=CUTS)
@settings(deadline=None, max_examples=200)
def test_all_else_stays(data: bytes, cuts: list[int]) -> None:
    redactor = Redactor((Secret("A", "correct horse"), Secret("B", "sesame/open\n")))
    assert streamed(redactor, pieces(data, cuts)) == data


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a task-runner-for-the-whole-company-and-more", id="a word that ends like sk-"),
        pytest.param("disk-usage-of-the-whole-machine-in-megabytes", id="another"),
        pytest.param("Bearer token, Bearer authentication", id="prose"),
        pytest.param("see https://example.org/a:b@c?d", id="address"),
        pytest.param("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----", id="a certificate is public"),
        pytest.param("sha 3f786850e387550fdab836ed7e6dc881de23001b", id="commit"),
    ],
)
def test_innocent(text: str) -> None:
    assert Redactor().text(text) == text


@pytest.mark.parametrize(
    ("secrets", "text", "said"),
    [
        pytest.param({"A": "abcdefgh", "B": "abcdefghij"}, "xabcdefghijx", "x[redacted B]x", id="one holds the other"),
        pytest.param({"A": "abcdefgh", "B": "efghijkl"}, "abcdefghijkl!", "[redacted A]!", id="overlap"),
        pytest.param({"A": "abababab"}, "ababababab", "[redacted A]ab", id="overlaps itself"),
        pytest.param({"MY_TOKEN": "MY_TOKEN"}, "x MY_TOKEN", "x [redacted]", id="named like its value"),
        pytest.param({"A": "sk-abcdefghijklmnopqrst9"}, "sk-abcdefghijklmnopqrst9;", "[redacted A];", id="a shape"),
        pytest.param({}, "X: Bearer abcdefgh.ijklmnop-qr", "X: [redacted bearer token]", id="header"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_what_stands_there_instead(secrets: dict[str, str], text: str, said: str, size: int) -> None:
    redactor = Redactor(tuple(Secret(name, value) for name, value in secrets.items()))
    data = text.encode()
    assert streamed(redactor, [data[at : at + size] for at in range(0, len(data), size)]).decode() == said


def test_only_what_may_be_a_secret_waits() -> None:
    stream = Redactor((Secret("A", "swordfish"),)).stream()
    assert [stream.feed(b) for b in (b"hello\n", b"the swor", b"n oath s", b"wordfis", b"h!\n")] == [
        b"hello\n", b"the ", b"sworn oath ", b"", b"[redacted A]!\n",
    ]  # fmt: skip


def test_endless_token_is_told_once_and_not_held() -> None:
    stream = Redactor((Secret("A", "swordfish"),)).stream()
    said = stream.feed(b"sk-" + b"a" * 30) + b"".join(stream.feed(b"a" * 65536) for _ in range(20)) + stream.feed(b" x")
    assert said + stream.end() == b"[redacted API key] x"
    assert len(stream.feed(b"-----BEGIN PRIVATE KEY-----") + b"".join(stream.feed(b"M" * 9000) for _ in range(9))) < 99


def test_hostile_output_costs_no_more_than_its_length() -> None:
    secrets = tuple(Secret(f"S{n}", f'{n}\\"/pass{"w" * n}ord') for n in range(10))
    for filler in (b"\\", b'0\\\\"', b"-----BEGIN ", b"sk-", b"\\u0030"):
        stream, began = Redactor(secrets).stream(), time.process_time()
        for _ in range(4):
            stream.feed(filler * (65536 // len(filler)))
        assert time.process_time() - began < 20


def test_values_of_every_kind() -> None:
    redactor = Redactor((Secret("A", "swordfish"),))
    failure = Failure(FailureKind.AUTH, "no such key: swordfish", "swordfish?", 5.0)
    assert redactor.value(failure) == Failure(FailureKind.AUTH, "no such key: [redacted A]", "[redacted A]?", 5.0)
    assert redactor.value({"a": ["swordfish", 1, None, ("swordfish",)]}) == {
        "a": ["[redacted A]", 1, None, ("[redacted A]",)]
    }
