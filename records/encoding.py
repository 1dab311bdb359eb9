"""The encoding of a user's text file, by its byte-order mark."""

from __future__ import annotations

import codecs

#: The longer ones first: a mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


def encoding(data: bytes) -> tuple[str, str]:
    """(Python's codec, the name people know): UTF-8 where there is no mark."""
    return next(
        ((codec, name) for mark, codec, name in _MARKS if data.startswith(mark)), ("utf-8", "UTF-8")
    )
