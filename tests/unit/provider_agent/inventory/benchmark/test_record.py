"""What is kept of a benchmark, and when it may be offered."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol.benchmark import Benchmark, DeviceBenchmark
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.offer import Gpu
from assay_provider.inventory.benchmark.gpus import facts_of
from assay_provider.inventory.benchmark.record import keep, kept, standing
from assay_provider.inventory.benchmark.report import (
    MachineFacts,
    Measured,
    from_document,
    to_document,
)

NOW = 1_800_000_000
FACTS = MachineFacts(
    cpu_model="some CPU", cpus=8, memory_bytes=10**10, library="torch 2.13", gpus=("a gpu",)
)


def a_device(device: Digest | None) -> DeviceBenchmark:
    return DeviceBenchmark(
        device=device,
        gemm_mflops={"float32": 1000, "int8": 5000},
        memory_bytes=1 << 30,
        memory_bytes_per_second=10**10,
        host_to_device_bytes_per_second=1,
        device_to_host_bytes_per_second=2,
    )


MEASURED = Measured(
    benchmark=Benchmark(
        measured_at=NOW,
        devices=(a_device(None), a_device(Digest(b"\x07" * 32))),
        disk_read_bytes_per_second=3,
        disk_write_bytes_per_second=4,
        network_bytes_per_second=0,
    ),
    machine=FACTS,
    names=("processor", "a gpu"),
    remarks=("a remark",),
    took_s=61.5,
    quick=False,
)


def test_what_is_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    assert kept(tmp_path) is None
    path = keep(tmp_path, MEASURED)
    assert path.stat().st_mode & 0o777 == 0o600
    assert kept(tmp_path) == MEASURED
    keep(tmp_path, replace(MEASURED, took_s=1.0))
    assert kept(tmp_path) == replace(MEASURED, took_s=1.0)


def test_on_the_same_machine_it_is_offered(tmp_path: Path) -> None:
    assert standing(tmp_path, FACTS, now=NOW).benchmark is None
    keep(tmp_path, MEASURED)
    found = standing(tmp_path, replace(FACTS, memory_bytes=10**10 - 10**7), now=NOW + 86_400)
    assert (found.benchmark, found.warnings) == (MEASURED.benchmark, ())


def test_an_old_one_is_offered_with_a_warning(tmp_path: Path) -> None:
    keep(tmp_path, MEASURED)
    found = standing(tmp_path, FACTS, now=NOW + 31 * 86_400)
    assert found.benchmark == MEASURED.benchmark
    assert found.warnings == (
        "the benchmark is 31 days old; measure again: assay provider benchmark",
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cpus": 4}, "8 x some CPU, now 4 x some CPU"),
        ({"cpu_model": "another CPU"}, "now 8 x another CPU"),
        ({"memory_bytes": 5 * 10**9}, "memory was 10000000000 bytes, now 5000000000"),
        ({"library": "numpy 2"}, "the library was torch 2.13, now numpy 2"),
        ({"gpus": ()}, "GPUs were a gpu; now none"),
    ],
)
def test_that_of_another_machine_is_not(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    keep(tmp_path, MEASURED)
    found = standing(tmp_path, replace(FACTS, **changes), now=NOW)  # type: ignore[arg-type]
    assert found.benchmark is None
    assert why in found.warnings[0]


DOCUMENT = to_document(MEASURED)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        "{}",
        json.dumps({**DOCUMENT, "benchmark": None}),
        json.dumps({**DOCUMENT, "benchmark": {**DOCUMENT["benchmark"], "measured_at": -1}}),
        json.dumps({**DOCUMENT, "machine": {**DOCUMENT["machine"], "gpus": 5}}),
        json.dumps({**DOCUMENT, "benchmark": {**DOCUMENT["benchmark"], "devices": [{}]}}),
        "x" * (1 << 20) + "x",
    ],
)
def test_a_damaged_record_is_no_claim_and_stops_no_daemon(tmp_path: Path, text: str) -> None:
    (tmp_path / "benchmark.json").write_text(text)
    with pytest.raises(LocalError, match="assay provider benchmark"):
        kept(tmp_path)
    found = standing(tmp_path, FACTS, now=NOW)
    assert found.benchmark is None
    assert "measure again" in found.warnings[0]


def test_documents_are_json_both_ways() -> None:
    assert from_document(json.loads(json.dumps(DOCUMENT))) == MEASURED


def test_gpus_are_told_apart_by_device_model_and_driver() -> None:
    one = Gpu(device=Digest(b"\x01" * 32), model="A", memory_bytes=1, driver="550")
    two = replace(one, device=Digest(b"\x02" * 32))
    assert facts_of([one, two]) == facts_of([two, one])
    assert facts_of([one]) != facts_of([replace(one, driver="560")])
    assert facts_of([one]) != facts_of([two])
