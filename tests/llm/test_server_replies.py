"""What servers answer: the right text, or an error that shows the reply; never a quiet 0."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffsmooth.cli import main
from diffsmooth.llm._sample_server import ServerError, ServerSampler
from diffsmooth.llm._server_reply import ReplyError, completions
from diffsmooth.llm.samplers import Completion, Sampling
from diffsmooth.llm.tasks.base import Problem
from diffsmooth.records import read_json

KEPT, STRIPPED = "<answer>1+2</answer>", "<answer>1+2"
STOP = ("</answer>",)


def choice(content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"index": 0, "message": message, "finish_reason": "stop", **more}


def one(choice: Any, stop: tuple[str, ...] = STOP) -> Completion:
    (found,) = completions({"choices": [choice]}, stop)
    return found


@pytest.mark.parametrize(
    "given_choice, stop",
    [
        (choice(STRIPPED), STOP),
        (choice(STRIPPED, stop_reason="</answer>"), STOP),
        (choice(STRIPPED, stop_reason="</answer>"), ("###", *STOP)),
        (choice(STRIPPED, matched_stop="</answer>"), ("\n\n", *STOP)),
        (choice(STRIPPED, finish_reason=None, stop_reason="</answer>"), STOP),
        (choice(STRIPPED, finish_reason="stop_sequence"), STOP),
        (choice(STRIPPED), ("###", *STOP)),
        (choice(KEPT), STOP),
        (choice(KEPT, stop_reason="</answer>"), STOP),
        (choice(KEPT + " and so on", finish_reason="length"), STOP),
        (choice(KEPT, finish_reason=None), STOP),
        ({"text": STRIPPED, "finish_reason": "stop"}, STOP),
        ({"text": STRIPPED, "finish_reason": "stop", "message": None}, STOP),
        (choice([{"type": "text", "text": STRIPPED}]), STOP),
        (choice([{"type": "text", "text": "<answer>"}, {"type": "text", "text": "1+2"}]), STOP),
        (choice([{"type": "thinking", "thinking": "hm"}, {"text": KEPT}]), STOP),
        (choice([STRIPPED]), STOP),
    ],
)
def test_the_stop_text_stays_once(given_choice: dict[str, Any], stop: tuple[str, ...]) -> None:
    assert one(given_choice, stop) == Completion(KEPT, None, "stop")


@pytest.mark.parametrize(
    "given_choice, expected",
    [
        # Cut by its length: unfinished.
        (choice(STRIPPED, finish_reason="length"), Completion(STRIPPED, None, "length")),
        (choice(STRIPPED, finish_reason="max_tokens"), Completion(STRIPPED, None, "length")),
        # The model's own end: nothing was taken away.
        (choice(STRIPPED, stop_reason=None), Completion(STRIPPED, None, "stop")),
        (choice(STRIPPED, stop_reason=151645), Completion(STRIPPED, None, "stop")),
        (choice(STRIPPED, matched_stop=2), Completion(STRIPPED, None, "stop")),
        (choice(STRIPPED, finish_reason="eos"), Completion(STRIPPED, None, "stop")),
        (choice(""), Completion("</answer>", None, "stop")),
        (choice(None, message={"content": None, "refusal": "No."}, stop_reason=None),
         Completion("No.", None, "stop")),
        (choice(None, message={"content": None, "reasoning_content": "hm"},
                finish_reason="length"), Completion("", None, "length")),
    ],
)  # fmt: skip
def test_other_ends(given_choice: dict[str, Any], expected: Completion) -> None:
    assert one(given_choice) == expected


def test_without_stop_texts_an_answer_is_as_it_came() -> None:
    for text in ("", STRIPPED, KEPT, "  a\n"):
        assert one(choice(text), ()) == Completion(text, None, "stop")
        assert one(choice(text, finish_reason=None), ()) == Completion(text, None, "unknown")
    assert one(choice("a", finish_reason="content_filter"), ()).finish == "unknown"


def test_among_several_stop_texts_none_is_guessed() -> None:
    assert one(choice("1+2"), ("###", "\n\n")) == Completion("1+2", None, "stop")
    assert one(choice("a###b\n\n"), ("\n\n", "###")) == Completion("a###", None, "stop")


BAD = [
    None, 3, "x", True, [], [choice("x")], {}, {"choices": None}, {"choices": []},
    {"choices": {}}, {"choices": "x"}, {"error": {"message": "no"}},
    *({"choices": [c]} for c in (
        None, 3, "x", [], {}, {"index": 0}, {"index": 0, "message": None},
        {"index": 0, "message": []}, {"index": 0, "message": "x"}, {"index": 0, "message": {}},
        {"index": 0, "text": None}, {"index": 0, "text": 3}, {"index": 0, "text": {"a": 1}},
        choice(None), choice(3), choice(True), choice({}), choice([]), choice([None]),
        choice([3]), choice([{"type": "text"}]), choice([{"type": "text", "text": 3}]),
        choice([{"type": "image_url", "image_url": {}}]), choice([{"type": ["text"]}]),
        choice(None, finish_reason="length"), choice(None, finish_reason="content_filter"),
        choice("x", finish_reason="error"), choice("x", finish_reason="abort"),
        choice("x", finish_reason=3), choice("x", finish_reason={}),
        choice("x", index="a"), choice("x", index=True), choice("x", index=1.5),
        choice(None, finish_reason="tool_calls", message={
            "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
    )),
    {"choices": [choice("x", index="a"), choice("y", index=0)]},
    {"choices": [choice("x"), None]},
]  # fmt: skip


@pytest.mark.parametrize("reply", BAD)
def test_what_is_no_answer_is_refused(reply: Any) -> None:
    with pytest.raises(ReplyError):
        completions(reply)


def test_a_stripped_answer_of_unknown_end_is_refused() -> None:
    """Whether its length or the stop text ended it decides the grade."""
    with pytest.raises(ReplyError, match=r"finish_reason.*sample without --stop"):
        one(choice(STRIPPED, finish_reason=None))


def test_order_is_by_index_where_all_have_one() -> None:
    def texts(*indices: int | None) -> list[str]:
        found = [choice(str(i), index=index) for i, index in enumerate(indices)]
        return [c.text for c in completions({"choices": found})]

    assert texts(2, 0, 1) == ["1", "2", "0"]
    assert texts(0, 0, 0) == ["0", "1", "2"]
    assert texts(None, 1, 0) == ["0", "1", "2"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "message", "content", "text", "type", "index",
                         "finish_reason", "stop_reason", "refusal"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_no_reply_breaks_the_reader(value: Any) -> None:
    """Any JSON value, as reply, choice, message or content: texts, or ReplyError."""
    wrapped = [value, {"choices": [value]}, {"choices": [{"message": value}]},
               {"choices": [choice(value)]}]  # fmt: skip
    for reply in wrapped:
        try:
            found = completions(reply, STOP)
        except ReplyError:
            continue
        assert found
        assert all(isinstance(c.text, str) for c in found)


class Raw:
    """A server on the loopback that answers every request with the same status and bytes."""

    def __init__(self) -> None:
        self.status, self.data, self.asked = 200, b"{}", 0
        raw = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                raw.asked += 1
                data = raw.answer(body)
                self.send_response(raw.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> bytes:
        return self.data


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Iterator[Raw]:
    for name in ("http_proxy", "HTTP_PROXY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    raw = Raw()
    thread = threading.Thread(target=raw.server.serve_forever, args=(0.01,))
    thread.start()
    yield raw
    raw.server.shutdown()
    raw.server.server_close()
    thread.join()


PROBLEM = Problem("p", "What is 1+2?", None)


@pytest.mark.parametrize(
    "data", [b"<html>busy</html>", b"", b'{"choices": [', b"data: {}\n\n", b"\xff\xfe\x00"]
)
def test_what_is_no_json_is_told_at_once(raw: Raw, data: bytes) -> None:
    raw.data = data
    with pytest.raises(ServerError, match=r"^http://127.*/chat/completions answered no JSON"):
        ServerSampler("m", raw.url, wait=0.001).sample([PROBLEM], Sampling(samples=2))
    assert raw.asked == 1


def test_an_error_page_is_shown(raw: Raw) -> None:
    raw.status, raw.data = 500, b"<html>\n<h1>boom</h1></html>"
    with pytest.raises(ServerError, match="answered 500.*\n?.*boom"):
        ServerSampler("m", raw.url, wait=0.001, attempts=2).sample([PROBLEM], Sampling(samples=2))
    assert raw.asked == 2


@pytest.mark.parametrize("url", ["http://", "http://h:x/v1", "http://[::1/v1", "http://a b/v1"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="url is"):
        ServerSampler("m", url)


def evaluated(raw: Raw, folder: Path, *words: str) -> int:
    data = folder / "puzzle.jsonl"
    data.write_text('{"nums": [1, 2], "target": 3}\n', encoding="utf-8")
    command = ["evaluate", "--backend", "server", "--model", "m", "--url", raw.url]
    command += ["--samples", "2", "--data", str(data), "--out", str(folder / "out")]
    return main([*command, *words])


@pytest.mark.parametrize("more", [{}, {"stop_reason": "</answer>"}])
def test_an_evaluation_where_the_server_strips(
    raw: Raw, tmp_path: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        raw,
        "answer",
        lambda body: json.dumps(
            {"choices": [choice(STRIPPED, index=i, **more) for i in range(body["n"])]}
        ).encode(),
    )
    assert evaluated(raw, tmp_path, "--stop", "</answer>") == 0
    (summary,) = (tmp_path / "out").glob("*/summary.json")
    assert read_json(summary)["summary"]["curve"][0]["pass"] == 1.0


@pytest.mark.parametrize("reply", [[choice("x")], None, {"choices": [choice(None)]}, choice(3)])
def test_a_bad_reply_is_one_line_with_the_address(
    raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str], reply: Any
) -> None:
    raw.data = json.dumps(reply).encode()
    assert evaluated(raw, tmp_path) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert raw.url in error
    at_fault = reply["choices"][0] if isinstance(reply, dict) and "choices" in reply else reply
    assert json.dumps(at_fault) in error
