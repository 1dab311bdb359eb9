"""Sampling from an OpenAI-compatible server (vLLM, SGLang, llama.cpp, ...), by stdlib HTTP.

Chat prompts go to ``/chat/completions``, raw prompts to ``/completions``.  A key is read from the
environment variable ``OPENAI_API_KEY`` where it is set.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from diffsmooth.llm._server_reply import ReplyError, completions
from diffsmooth.llm.samplers import Completion, Sampling
from diffsmooth.llm.tasks.base import Problem

#: Answers of a server that may go away when asked again.
RETRY_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class ServerError(RuntimeError):
    """The server refused a request or gave no usable answer."""


class ServerSampler:
    """``model`` as served under ``url`` (ending in ``/v1``), ``parallel`` problems at once.

    A request that fails in passing is tried ``attempts`` times, each after twice the wait, the
    first after ``wait`` seconds.  Servers that ignore ``n`` are asked again for the rest, with
    other seeds.  Raises ``ServerError`` with the server's own words otherwise.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        parallel: int = 8,
        timeout: float = 3600.0,
        attempts: int = 6,
        wait: float = 1.0,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url is {url!r}; allowed: http://... or https://...")
        try:
            host = urllib.parse.urlsplit(url)
            known = bool(host.hostname) and host.port != 0
        except ValueError:  # a port that is none, half an IPv6 address
            known = False
        if not known or any(c.isspace() for c in url):
            raise ValueError(f"url is {url!r}; allowed: http://HOST[:PORT]/v1")
        if parallel < 1 or attempts < 1:
            raise ValueError(f"parallel {parallel}, attempts {attempts}; allowed: at least 1")
        self.model, self.url = model, url.rstrip("/")
        self.parallel, self.timeout, self.attempts, self.wait = parallel, timeout, attempts, wait

    def sample(
        self, problems: Sequence[Problem[Any]], sampling: Sampling
    ) -> list[list[Completion]]:
        """``sampling.samples`` completions of each problem, in order."""
        with ThreadPoolExecutor(self.parallel) as threads:
            return list(threads.map(lambda problem: self._one(problem, sampling), problems))

    def _one(self, problem: Problem[Any], sampling: Sampling) -> list[Completion]:
        found: list[Completion] = []
        chunk = 0
        while len(found) < sampling.samples:
            # Only standard options by default: strict servers refuse the others.
            body: dict[str, Any] = {
                "model": self.model,
                "n": sampling.samples - len(found),
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "max_tokens": sampling.max_tokens,
                "seed": sampling.seed_of(problem, chunk),
            }
            if sampling.top_k:
                body["top_k"] = sampling.top_k
            if sampling.stop:
                body["stop"] = list(sampling.stop)
            if problem.raw:
                reply = self._post("/completions", body | {"prompt": problem.prompt})
            else:
                reply = self._post(
                    "/chat/completions", body | {"messages": sampling.messages(problem)}
                )
            try:
                found += completions(reply, sampling.stop)
            except ReplyError as error:
                raise ServerError(f"{self.url}: {error}") from None
            chunk += 1
        return found[: sampling.samples]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON value that the server answers."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), headers, method="POST"
        )
        for attempt in range(self.attempts):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    data = response.read()
                return self._json(path, data)
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read(500).decode(errors="replace")
                problem = f"{self.url}{path} answered {error.code}: {said}"
                if error.code not in RETRY_STATUS:
                    raise ServerError(problem) from error
            except (OSError, http.client.HTTPException) as error:
                said = str(error) or type(error).__name__
                problem = f"{self.url}{path} is not reachable: {said}"
            if attempt + 1 < self.attempts:
                time.sleep(self.wait * 2**attempt)
        raise ServerError(f"{problem} (after {self.attempts} attempts)")

    def _json(self, path: str, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            said = data[:300].decode(errors="replace")
            raise ServerError(f"{self.url}{path} answered no JSON: {said!r}") from None
