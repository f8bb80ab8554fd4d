"""Where a provider's hardware stands, from its results alone."""

import pytest

from assay_node.protocol.hardware_proof import ProofFigure, ProofResult, ProofVerdict
from assay_node.protocol.ids import Address, Digest
from assay_scheduler.hardware import Hardware, judge

NOW = 1_800_000_000.0
DAY = 86_400
GPU = Digest(b"\x07" * 32)
PROVEN, SLOW, WRONG, SILENT = ProofVerdict


def result(
    verdict: ProofVerdict, *, age_s: int = 60, shown: int = 95_000, device: Digest | None = None
) -> ProofResult:
    figure = ProofFigure(
        device=device, size=4096, works=8, claimed_mflops=100_000, proven_mflops=shown
    )
    return ProofResult(
        verifier=Address("0x" + "22" * 20),
        operator=Address("0x" + "0a" * 20),
        round=Digest(bytes(32)),
        beacon=Digest(bytes(32)),
        verdict=verdict.value,
        detail=f"it was {verdict}",
        figures=(figure,),
        milliseconds=10_000,
        rows=256,
        asked_at=int(NOW) - age_s,
    )


def state(*verdicts: ProofVerdict, claim: int = 100_000) -> Hardware:
    shown = {PROVEN: 95_000, SLOW: 50_000, WRONG: 0, SILENT: 0}
    results = [result(verdict, shown=shown[verdict]) for verdict in verdicts]
    return judge(results, {None: claim}, now=NOW, age_s_max=DAY).state


@pytest.mark.parametrize(
    ("newest_first", "expected"),
    [
        ((), Hardware.UNPROVEN),
        ((PROVEN,), Hardware.PROVEN),
        ((PROVEN, SLOW, SILENT, SLOW), Hardware.PROVEN),
        ((SLOW,), Hardware.UNPROVEN),
        ((SLOW, PROVEN), Hardware.DOUBTED),
        ((SILENT, PROVEN), Hardware.DOUBTED),
        ((SILENT, SLOW, PROVEN), Hardware.DOUBTED),
        ((SLOW, SILENT), Hardware.UNPROVEN),
        ((SLOW, SLOW, SLOW, PROVEN), Hardware.DISPROVED),
        ((SILENT, SLOW, SILENT, PROVEN), Hardware.DISPROVED),
        ((SLOW, SILENT, SLOW), Hardware.DISPROVED),
        ((WRONG,), Hardware.DISPROVED),
        ((WRONG, PROVEN, PROVEN, PROVEN), Hardware.DISPROVED),
        ((PROVEN, PROVEN, WRONG), Hardware.DISPROVED),
        ((PROVEN, PROVEN, SLOW, PROVEN, WRONG), Hardware.DISPROVED),
        ((SLOW, PROVEN, PROVEN, PROVEN, WRONG), Hardware.DOUBTED),
        ((PROVEN, PROVEN, PROVEN, WRONG), Hardware.PROVEN),
    ],
)
def test_luck_explains_two_failures_and_no_wrong_row(newest_first, expected):
    assert state(*newest_first) is expected


@pytest.mark.parametrize(
    ("verdict", "claim", "expected"),
    [
        (PROVEN, 105_000, Hardware.PROVEN),
        (PROVEN, 106_000, Hardware.UNPROVEN),
        (SLOW, 55_000, Hardware.PROVEN),
        (SLOW, 56_000, Hardware.UNPROVEN),
        (SILENT, 1, Hardware.UNPROVEN),
    ],
)
def test_what_was_shown_is_held_against_what_is_advertised_now(verdict, claim, expected):
    assert state(verdict, claim=claim) is expected


def test_a_proof_grows_old_and_says_so():
    old = [result(PROVEN, age_s=DAY + 3600)]
    view = judge(old, {None: 100_000}, now=NOW, age_s_max=DAY)
    assert view.state is Hardware.UNPROVEN
    assert view.text == "its last proof is 25 hours old"


def test_another_device_has_proven_nothing():
    view = judge([result(PROVEN)], {GPU: 100}, now=NOW, age_s_max=DAY)
    assert view.state is Hardware.UNPROVEN
    assert view.text.startswith("advertises more, or other devices, than it has proven")


def test_the_reason_is_the_wrong_row_even_after_good_ones():
    view = judge([result(PROVEN), result(WRONG, age_s=600)], {}, now=NOW, age_s_max=DAY)
    assert (view.state, view.text) == (Hardware.DISPROVED, "it was wrong")
