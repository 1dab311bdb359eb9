"""The process that compares two mathematical answers: JSON lines in, JSON lines out.

Started by :mod:`diffsmooth.llm.tasks.math_pool` with its own interpreter, so that a comparison
that hangs or eats memory can be killed without harm.  ``{"gold": .., "answer": ..}`` is answered
by ``{"correct": bool, "error": str | null}``; the first line says ``{"ready": true}``.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from typing import Any

from diffsmooth.llm.tasks.math_equal import equal

MEMORY_BYTES = 4 << 30


def main() -> None:
    """Serve until standard input closes."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(2, 1)  # whatever a library prints must not look like a reply
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    import math_verify  # noqa: F401  (paid before the first deadline runs)

    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any] = {"correct": False, "error": None}
        try:
            reply["correct"] = equal(request["gold"], request["answer"])
        except Exception as error:  # an answer text may provoke anything in a parser
            reply["error"] = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
