"""Every accelerate configuration that is shipped is read by accelerate's own loader."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("accelerate")

FILES = sorted((Path(__file__).parents[2] / "configs" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_accelerate_reads_it_whole(path: Path) -> None:
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file

    config = load_config_from_file(str(path))
    assert isinstance(config, ClusterConfig)
    kind = {"g": "NO", "f": "FSDP", "z": "DEEPSPEED"}[path.stem[0]]
    assert str(getattr(config.distributed_type, "value", config.distributed_type)) == kind
    assert config.num_processes == int(path.stem[-1])
    assert config.mixed_precision == "bf16"
    assert not config.use_cpu
    if kind == "FSDP":
        assert config.fsdp_config["fsdp_version"] == 2
    if kind == "DEEPSPEED":
        stage = config.deepspeed_config["zero_stage"]
        assert stage == int(path.stem.removeprefix("zero")[0])


def test_there_is_one_for_1_4_and_8_gpus() -> None:
    assert {int(p.stem[-1]) for p in FILES} == {1, 4, 8}
