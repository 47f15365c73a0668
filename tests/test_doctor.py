"""What the doctor says of this machine and of others, and what engines are told to use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamlation_cli.errors import Unavailable, UsageError
from streamlation_cli.models import hardware
from streamlation_cli.stages import doctor
from support import streamlation


def test_the_report_says_what_is_here() -> None:
    (report,) = streamlation("doctor").ok().records
    assert report["missing"] == []
    assert {"en-pt", "pt-en"} <= set(report["pairs"])
    assert {"en_US-joe-medium", "espeak"} <= set(report["voices"])
    assert report["engines"]["whisper"]["versions"].keys() == {"faster-whisper", "ctranslate2"}
    assert all(engine["installed"] for engine in report["engines"].values())
    assert report["preset"] in ("latency", "balanced", "accuracy")
    assert report["threads"] == hardware.threads() >= 1
    assert report["compute_type"] in report["compute_types"]
    assert report["memory_total_bytes"] > report["memory_free_bytes"] > 0
    assert {"whisper/base", "piper/en_US-joe-medium"} <= {model["model"] for model in report["models"]}
    assert report["folders"]["data"]["path"] == os.environ["STREAMLATION_DATA_DIR"]
    assert report["folders"]["data"]["free_bytes"] > 0


def test_the_text_has_the_same() -> None:
    text = streamlation("doctor", "--text").ok().stdout.decode()
    for said in ("processor", "engine whisper", "model whisper/base", "en-pt pt-en", "main job", "can run"):
        assert said in text


def test_a_bare_installation_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda module, package: "")
    monkeypatch.setattr("streamlation_cli.models.store.installed", lambda kind: [])
    with pytest.raises(Unavailable) as error:
        doctor.command(doctor.Options(), True)
    for command in (
        "streamlation[asr]",
        "pull whisper/base",
        "streamlation[firefox]",
        "firefox/en-pt",
        "streamlation[espeak]",
    ):
        assert command in error.value.message
    printed = capsys.readouterr().out
    assert "pip install 'streamlation[asr]'" in printed
    assert "cannot run" in printed


@pytest.mark.parametrize(
    ("device", "cores", "memory", "features", "preset"),
    [
        ("cuda", 2, 4 * 10**9, (), "accuracy"),
        ("cpu", 16, 64 * 10**9, ("avx512f",), "accuracy"),
        ("cpu", 4, 8 * 10**9, ("asimd",), "balanced"),
        ("cpu", 16, 1 * 10**9, ("avx2",), "latency"),
        ("cpu", 1, 8 * 10**9, ("avx2",), "latency"),
        ("cpu", 16, 64 * 10**9, ("avx",), "latency"),
    ],
)
def test_the_preset_follows_from_the_machine(
    device: str, cores: int, memory: int, features: tuple[str, ...], preset: str
) -> None:
    chosen, reason = doctor.fitting_preset(device, cores, memory, features)
    assert chosen == preset
    assert reason


def fake_cpus(folder: Path, siblings: list[str]) -> None:
    for cpu, line in enumerate(siblings):
        place = folder / "cpus" / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(line + "\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight hyper-threads on four cores, without a container's limits."""
    fake_cpus(tmp_path, ["0,4", "1,5", "2,6", "3,7"] * 2)
    (tmp_path / "cgroup").mkdir()
    monkeypatch.setattr(hardware, "_SYSTEM_CPUS", tmp_path / "cpus")
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(hardware, "_allowed_cpus", lambda: set(range(8)))
    return tmp_path


def test_threads_are_physical_cores(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.threads() == 4
    monkeypatch.setattr(hardware, "_allowed_cpus", lambda: {0, 4, 1})
    assert hardware.threads() == 2


@pytest.mark.parametrize(
    ("quota", "threads"), [("max 100000", 4), ("150000 100000", 2), ("50000 100000", 1), ("junk", 4)]
)
def test_threads_keep_to_a_containers_quota(machine: Path, quota: str, threads: int) -> None:
    (machine / "cgroup" / "cpu.max").write_text(quota)
    assert hardware.threads() == threads


def test_threads_keep_to_an_older_containers_quota(machine: Path) -> None:
    folder = machine / "cgroup" / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text("200000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert hardware.threads() == 2
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert hardware.threads() == 4


def test_memory_keeps_to_a_containers_limit(machine: Path) -> None:
    (machine / "cgroup" / "memory.max").write_text(f"{10**9}\n")
    (machine / "cgroup" / "memory.current").write_text(f"{4 * 10**8}\n")
    total, free = hardware.memory_bytes()
    assert total == 10**9
    assert free <= 6 * 10**8


@pytest.mark.skipif(sys.platform == "win32", reason="needs a program that is a script")
def test_gpus_are_what_their_tools_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559'\necho 'NVIDIA Odd, [N/A]'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    first, second = hardware.gpus()
    assert (first.name, first.memory_bytes) == ("NVIDIA H100 80GB HBM3", 81559 * 2**20)
    assert (second.name, second.memory_bytes) == ("NVIDIA Odd", 0)
    tool.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert hardware.gpus() == []


def test_a_device_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_devices", lambda: 0)
    assert hardware.device("auto") == hardware.device("cpu") == "cpu"
    with pytest.raises(Unavailable, match="no CUDA device"):
        hardware.device("cuda")
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        hardware.device("tpu")
    monkeypatch.setattr(hardware, "cuda_devices", lambda: 1)
    assert hardware.device("auto") == hardware.device("cuda") == "cuda"


def test_types_are_ones_the_engine_supports() -> None:
    assert hardware.compute_type("cpu") in hardware.compute_types("cpu")
    assert hardware.compute_types("nonsense") == ()
    assert hardware.compute_type("nonsense") == "default"


@pytest.mark.parametrize(
    ("features", "wheel", "given", "isa"),
    [
        (("avx512f", "avx512_vnni"), "Tag: cp311-cp311-manylinux_2_28_x86_64", None, "AVX512"),
        (("avx512f", "avx512_vnni"), "Tag: cp311-cp311-manylinux_2_28_x86_64", "AVX2", "AVX2"),
        (("avx512f",), "Tag: cp311-cp311-manylinux_2_28_x86_64", None, None),  # its clock would suffer
        (
            ("avx512f", "avx512_vnni"),
            "Tag: cp311-cp311-linux_x86_64",
            None,
            None,
        ),  # nobody knows what was built into it
    ],
)
def test_avx512_is_used_where_it_is_no_loss(
    features: tuple[str, ...],
    wheel: str,
    given: str | None,
    isa: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "ctranslate2-4.0.dist-info").mkdir()
    (tmp_path / "ctranslate2-4.0.dist-info" / "METADATA").write_text("Name: ctranslate2\nVersion: 4.0\n")
    (tmp_path / "ctranslate2-4.0.dist-info" / "WHEEL").write_text(wheel + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    processor = hardware.Cpu(model="", architecture="x86_64", logical_cores=2, usable_cores=2, features=features)
    monkeypatch.setattr(hardware, "cpu", lambda: processor)
    monkeypatch.setenv("CT2_FORCE_CPU_ISA", given or "")
    if given is None:
        monkeypatch.delenv("CT2_FORCE_CPU_ISA")
    hardware.allow_avx512.__wrapped__()
    assert os.environ.get("CT2_FORCE_CPU_ISA") == isa
