"""The report page: self-contained, escaped, readable by a parser."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from diffsmooth.records import page


class Collector(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_is_well_formed_escaped_and_loads_nothing(tmp_path: Path) -> None:
    png = tmp_path / "x.png"
    png.write_bytes(b"\x89PNG")
    hostile = "<script>alert('x')</script> & \"quoted\""
    text = page.page(
        hostile,
        [
            page.heading(hostile),
            page.paragraph(hostile),
            page.command(hostile),
            page.table(["a", "b"], [[hostile, "1"]], hostile),
            page.image(png, hostile, hostile),
        ],
    )
    reader = Collector()
    reader.feed(text)
    assert not reader.open
    assert "<script" not in text
    # title, h1, heading, paragraph, command, caption and cell of the table, caption of the figure
    assert reader.text.count(hostile) == 8
    assert all(s.startswith("data:") for s in reader.sources)


def test_a_missing_figure_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        page.image(tmp_path / "none.png", "", "")
