"""Sizing, judging and signing of hardware proofs."""

import pytest

from assay_node.keys import LocalKey
from assay_node.protocol import codec
from assay_node.protocol.benchmark import Benchmark, DeviceBenchmark
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.hardware_proof import (
    EPOCH_BLOCKS,
    OPENING_BYTES_MAX,
    SIZES,
    WORKS_MAX,
    ProofFigure,
    ProofPart,
    ProofQuestion,
    ProofResult,
    ProofVerdict,
    SignedProofResult,
    claims,
    epoch_block,
    judged,
    measured,
    open_result,
    path_bytes,
    result_digest,
    rows_per_page,
    sized_part,
)
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.typed_data import Domain

DOMAIN = Domain(31337, Address("0x" + "ab" * 20))
VERIFIER = LocalKey(b"\x22" * 32)
GPU = Digest(b"\x07" * 32)


def a_result(**changes: object) -> ProofResult:
    fields: dict[str, object] = {
        "verifier": VERIFIER.address,
        "operator": Address("0x" + "0a" * 20),
        "round": Digest(b"\x01" * 32),
        "beacon": Digest(b"\x02" * 32),
        "verdict": ProofVerdict.PROVEN.value,
        "detail": "its processor showed 140.0 GFLOPS",
        "figures": (
            ProofFigure(
                device=None, size=4096, works=10, claimed_mflops=145_000, proven_mflops=140_000
            ),
        ),
        "milliseconds": 9800,
        "rows": 256,
        "asked_at": 1_800_000_000,
        **changes,
    }
    return ProofResult(**fields)  # type: ignore[arg-type]


def measured_device(device: Digest | None, **gemm: int) -> DeviceBenchmark:
    return DeviceBenchmark(
        device=device,
        gemm_mflops=gemm,
        memory_bytes=0,
        memory_bytes_per_second=0,
        host_to_device_bytes_per_second=0,
        device_to_host_bytes_per_second=0,
    )


@pytest.mark.parametrize(
    ("claim", "size"),
    [(0, 4096), (5_000, 2048), (80_000, 4096), (150_000, 8192), (80_000_000, 8192)],
)
def test_a_device_computes_for_about_as_long_as_asked(claim, size):
    part = sized_part(None, claim, 12)
    assert part.size == size
    seconds = part.operations / 1e6 / (claim or 20_000)
    assert 9 < seconds < 15
    assert 1 <= part.works <= WORKS_MAX


def test_the_fastest_device_is_bounded_by_what_a_prover_keeps():
    assert sized_part(GPU, 2**60, 12) == ProofPart(device=GPU, size=8192, works=WORKS_MAX)
    assert sized_part(GPU, 1, 0.001).size == SIZES[0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("works", [1, WORKS_MAX])
def test_a_page_fits_an_answer(size, works):
    part = ProofPart(device=None, size=size, works=works)
    assert rows_per_page(part) * (4 * size + path_bytes(part)) <= OPENING_BYTES_MAX


def test_the_figure_that_counts_is_of_a_format_that_is_exact():
    benchmark = Benchmark(
        measured_at=1,
        devices=(
            measured_device(None, float32=100_000),
            measured_device(GPU, float32=80, bfloat16=160, int8=320, float8=640),
        ),
        disk_read_bytes_per_second=0,
        disk_write_bytes_per_second=0,
        network_bytes_per_second=0,
    )
    assert claims(benchmark, (GPU,)) == {GPU: 160}
    assert claims(benchmark, ()) == {None: 100_000}
    assert claims(None, (GPU,)) == {GPU: 0}


def test_epochs_begin_at_blocks_that_are_final():
    assert epoch_block(0) == epoch_block(EPOCH_BLOCKS + 63) == 0
    assert epoch_block(EPOCH_BLOCKS + 64) == EPOCH_BLOCKS


def test_nine_tenths_of_what_is_advertised_pass():
    part = ProofPart(device=None, size=1024, works=100)
    exactly = part.operations / 100e9  # seconds at 100 GFLOPS
    for share, verdict in ((1.0, "proven"), (0.91, "proven"), (0.89, "slow"), (0.5, "slow")):
        found, text = judged(measured([part], [100_000], exactly / share))
        assert found == verdict
        assert "100.0 GFLOPS advertised" in text
    assert judged(measured([part], [0], 3600.0))[0] is ProofVerdict.PROVEN


def test_the_worst_device_decides():
    parts = [ProofPart(device=device, size=1024, works=100) for device in (None, GPU)]
    seconds = parts[0].operations / 100e9
    found, text = judged(measured(parts, [100_000, 200_000], seconds))
    assert found is ProofVerdict.SLOW
    assert text.startswith("GPU 07070707 showed 100.0 GFLOPS of 200.0 GFLOPS advertised")


def test_a_result_is_its_verifiers():
    body = codec.encode(a_result())
    signature = VERIFIER.sign_digest(result_digest(DOMAIN, body))
    assert open_result(SignedProofResult(body=body, signature=signature), DOMAIN) == a_result()
    forged = codec.encode(a_result(verdict="wrong"))
    with pytest.raises(MalformedMessage, match="not signed by the verifier"):
        open_result(SignedProofResult(body=forged, signature=signature), DOMAIN)
    elsewhere = Domain(1, DOMAIN.market)
    with pytest.raises(MalformedMessage, match="not signed by the verifier"):
        open_result(SignedProofResult(body=body, signature=signature), elsewhere)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "fine"},
        {"detail": "x" * 301},
        {"detail": "two\nlines"},
        {"figures": ()},
        {"round": b"short"},
        {"milliseconds": -1},
        {"operator": "0x" + "AB" * 20},
    ],
)
def test_a_result_out_of_form_is_refused(change):
    with pytest.raises(MalformedMessage):
        a_result(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"works": (), "rows": ()},
        {"works": (1,), "rows": (1, 2)},
        {"works": (2048,)},
        {"rows": (8192,)},
        {"part": 65},
        {"works": (1,) * 257, "rows": (1,) * 257},
    ],
)
def test_a_question_out_of_form_is_refused(change):
    fields = {"round": Digest(bytes(32)), "part": 0, "works": (1,), "rows": (1,), **change}
    with pytest.raises(MalformedMessage):
        ProofQuestion(**fields)
