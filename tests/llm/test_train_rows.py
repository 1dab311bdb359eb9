"""What training makes of rows that are no problems: counted, named, recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffsmooth.cli import main
from diffsmooth.records import read_json

CONFIG = """
name: rows
output: {folder}/runs
model:
  small: {{hidden: 16, layers: 1, heads: 2, intermediate: 24, positions: 32}}
  pretraining: {{steps: 2, batch: 4, warmup: 1}}
data: {{task: countdown, data: "{folder}/puzzles.csv", style: bare, problems: null}}
rule: {{name: grpo}}
optimisation: {{steps: 1, prompts: 2, group: 4, micro_batch: 8}}
generation: {{engine: small, max_completion_length: 4}}
hardware: {{device: cpu, gradient_checkpointing: false}}
"""


def test_rows_left_out_are_named_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "puzzles.csv").write_text('nums,target\n"[1, 2]",3\n"[2, 2]",4\n\n"[2, 1]",3\n')
    config = tmp_path / "rows.yaml"
    config.write_text(CONFIG.format(folder=tmp_path))
    assert main(["train", str(config)]) == 0
    path = tmp_path / "puzzles.csv"
    named = f"{path}, line 5: the puzzle of {path}, line 2 again (same numbers and target)"
    out = capsys.readouterr().out
    assert f"1 row of the data\n  {named}\n" in out
    assert read_json(tmp_path / "runs" / "rows" / "run.json")["left_out"] == [named]
