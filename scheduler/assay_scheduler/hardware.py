"""What a provider's proofs say of it: pure, from signed results, so anybody comes to the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from assay_node.protocol.hardware_proof import PASS_SHARE, ProofResult, ProofVerdict
from assay_node.protocol.ids import Digest

FAILURES_MAX: Final = 3
"""So many failures in a row that a busy machine or a bad line could explain are too many. Honest
machines whose speed wobbles by 3 % fail one round in twenty, so three in a row once in a year."""
PARDON_PROOFS: Final = 3
"""Good proofs in a row after a wrong one, which no honest machine in order gives."""
RESULTS_KEPT: Final = 20
"""Newest results of a provider that are looked at."""
_FAILED: Final = frozenset({ProofVerdict.SLOW, ProofVerdict.SILENT})


class Hardware(StrEnum):
    """Where a provider's advertised hardware stands."""

    UNPROVEN = "unproven"
    PROVEN = "proven"
    DOUBTED = "doubted"
    """It was proven, and its newest proof failed in a way that bad luck explains: asked again."""
    DISPROVED = "disproved"


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareView:
    """A provider's hardware as one scheduler's own proofs show it. `asked_at` in Unix seconds.

    `text` is a sentence with the numbers, `required` whether this scheduler gives work to proven
    hardware alone, `being_asked` whether a proof is under way.
    """

    state: Hardware = Hardware.UNPROVEN
    text: str = "never asked for a proof of its hardware"
    asked_at: int | None = None
    required: bool = False
    being_asked: bool = False


NEVER_ASKED: Final = HardwareView()


def judge(
    results: Sequence[ProofResult],
    claims: Mapping[Digest | None, int],
    *,
    now: float,
    age_s_max: float,
) -> HardwareView:
    """Return where a provider stands.

    Args:
        results: one verifier's about one provider, the newest first.
        claims: the figures that the provider advertises now, in MFLOPS by device.
        now: Unix seconds.
        age_s_max: a proof older than this shows nothing any more.
    """
    if not results:
        return NEVER_ASKED
    newest = results[0]
    state, text = Hardware.PROVEN, newest.detail
    if (wrong := _unpardoned(results)) is not None:
        state, text = Hardware.DISPROVED, wrong.detail
    elif newest.verdict in _FAILED and not _passes(newest, claims):
        state = _after_failure(results)
    elif now - newest.asked_at > age_s_max:
        hours = round((now - newest.asked_at) / 3600)
        state, text = Hardware.UNPROVEN, f"its last proof is {hours} hours old"
    elif not _passes(newest, claims):
        state = Hardware.UNPROVEN
        text = f"advertises more, or other devices, than it has proven: {newest.detail}"
    return HardwareView(state=state, text=text, asked_at=newest.asked_at)


def _passes(result: ProofResult, claims: Mapping[Digest | None, int]) -> bool:
    """Tell whether a result would do for what is advertised now: a slow one proves a lower figure.

    Nothing is shown by who stayed silent.
    """
    if result.verdict == ProofVerdict.SILENT:
        return False
    shown = {figure.device: figure.proven_mflops for figure in result.figures}
    return all(
        device in shown and shown[device] >= PASS_SHARE * claim for device, claim in claims.items()
    )


def _after_failure(results: Sequence[ProofResult]) -> Hardware:
    newest = [result.verdict for result in results[:FAILURES_MAX]]
    if len(newest) == FAILURES_MAX and _FAILED.issuperset(newest):
        return Hardware.DISPROVED
    proven = any(result.verdict == ProofVerdict.PROVEN for result in results)
    return Hardware.DOUBTED if proven else Hardware.UNPROVEN


def _unpardoned(results: Sequence[ProofResult]) -> ProofResult | None:
    """Return the newest wrong result that not enough good ones followed."""
    for place, result in enumerate(results):
        if result.verdict == ProofVerdict.WRONG:
            return None if _pardoned(results[:place]) else result
    return None


def _pardoned(since: Sequence[ProofResult]) -> bool:
    verdicts = [result.verdict for result in since]
    good = [ProofVerdict.PROVEN] * PARDON_PROOFS
    return any(verdicts[at : at + PARDON_PROOFS] == good for at in range(len(verdicts)))
