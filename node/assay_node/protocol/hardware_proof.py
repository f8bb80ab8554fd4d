"""The proof of hardware on the wire: what is asked, committed to, opened, found and told.

The arithmetic that both sides do is in `assay_node.proof_arithmetic`; all of it is specified in
docs/protocol/hardware-proof.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from assay_node.protocol import codec, merkle, typed_data
from assay_node.protocol.benchmark import DEVICES_MAX, Benchmark, DeviceBenchmark
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest, address
from assay_node.protocol.units import check_uint

SIZES: Final = (256, 512, 1024, 2048, 4096, 8192)
"""Sides of the matrices. Beyond 8192 a sum of products can leave the integers that float32 holds
(2^24 is 8.5 of its standard deviations there); below 256 hashing outweighs multiplying."""
WORKS_MAX: Final = 2048
"""A prover keeps 32 bytes for each row of each product: half a GiB at most."""
ROWS_OPENED: Final = 256
"""Rows opened of each device: who computes a share s of them passes with s^256 (0.97: 0.04 %)."""
ROWS_OPENED_MIN: Final = 64
OPENING_BYTES_MAX: Final = 900_000
"""A page of an opening, below the network's 1 MiB for an answer."""
REASON_CHARACTERS_MAX: Final = 300
EPOCH_BLOCKS: Final = 7200
"""Blocks for which the matrices stay: a day of Ethereum's."""
EPOCH_DEPTH_BLOCKS: Final = 64
"""How deep an epoch's first block must lie: two of Ethereum's epochs, so it is final."""
PASS_SHARE: Final = 0.9
"""What a proof must reach of the advertised figure. Hashing what was computed takes 3 to 7 %."""
ROUND_TRIPS_MIN: Final = 20
"""Computing takes at least so many round trips, which count as computing."""
UNCLAIMED_MFLOPS: Final = 20_000
"""What a device that advertises nothing is sized for: 20 GFLOPS, a core or two."""
EXACT_DTYPES: Final = frozenset({"float64", "float32", "tfloat32", "float16", "bfloat16"})
"""Formats that hold every entry exactly and sum in 24 bits: the fastest of them is what is proven.
Figures for int8 and float8 stay claims."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofDevice:
    """A device that will be asked, None for the processor, and the side of its matrices."""

    device: Digest | None
    size: int

    def __post_init__(self) -> None:
        _check_device(self.device)
        _check_size(self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPrepare:
    """Asks a provider to get ready for a challenge of all its devices at once.

    `beacon` is the hash of block `epoch_block`, of which A and B are made. It starts no clock and
    may be repeated; the answer to a provider that is ready measures the round trip.
    """

    round: Digest
    epoch_block: int
    beacon: Digest
    devices: tuple[ProofDevice, ...]

    def __post_init__(self) -> None:
        _check_digests(self.round, self.beacon)
        check_uint(self.epoch_block, 64, "epoch_block")
        _check_devices([device.device for device in self.devices])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReady:
    """The provider holds its devices free for the round, or is busy and says with what."""

    ready: bool
    reason: str

    def __post_init__(self) -> None:
        _check_reason(self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPart:
    """What one device has to compute: products 0 .. works - 1 of matrices of this side."""

    device: Digest | None
    size: int
    works: int

    def __post_init__(self) -> None:
        _check_device(self.device)
        _check_size(self.size)
        if not 1 <= self.works <= WORKS_MAX:
            raise MalformedMessage(f"a device computes 1 to {WORKS_MAX} products")

    @property
    def operations(self) -> int:
        """Floating-point operations of all products, a multiply-add counting as two."""
        return 2 * self.size**3 * self.works


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofChallenge:
    """Starts the clock for a round that the provider is ready for; all parts run at once."""

    round: Digest
    seed: Digest
    parts: tuple[ProofPart, ...]

    def __post_init__(self) -> None:
        _check_digests(self.round, self.seed)
        _check_devices([part.device for part in self.parts])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofCommitment:
    """The root over all products of each part. Its arrival stops the clock."""

    round: Digest
    roots: tuple[Digest, ...]

    def __post_init__(self) -> None:
        _check_digests(self.round, *self.roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofQuestion:
    """Asks for rows of a part: row `rows[i]` of product `works[i]`. A page of them at a time."""

    round: Digest
    part: int
    works: tuple[int, ...]
    rows: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_digests(self.round)
        if not 1 <= len(self.works) == len(self.rows) <= ROWS_OPENED:
            raise MalformedMessage(f"a question is for 1 to {ROWS_OPENED} rows, each of a product")
        if not 0 <= self.part < DEVICES_MAX:
            raise MalformedMessage("no such part")
        if not all(0 <= work < WORKS_MAX for work in self.works):
            raise MalformedMessage("no such product")
        if not all(0 <= row < SIZES[-1] for row in self.rows):
            raise MalformedMessage("no such row")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofOpening:
    """The rows that were asked for, in their order, and what binds each to the root.

    `values` holds the rows one after the other, each entry a little-endian int32. A path is the
    siblings from the row's up to its product's root, then from there up to the part's.
    """

    round: Digest
    values: bytes
    paths: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_digests(self.round)
        if len(self.paths) > ROWS_OPENED:
            raise MalformedMessage(f"an opening has at most {ROWS_OPENED} rows")


class ProofVerdict(StrEnum):
    """What a round showed. `wrong` is certain; the others depend on time and the network."""

    PROVEN = "proven"
    SLOW = "slow"
    """Every opened row is right, and the figure stays below the advertised one."""
    WRONG = "wrong"
    """A row, or what binds it to the commitment, is not what honest work gives."""
    SILENT = "silent"
    """No commitment or no opening in time, though the provider had said that it was ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofFigure:
    """One device's figures in millions of operations a second; 0 where nothing was advertised.

    `proven_mflops` is a lower bound: it counts hashing, the network and waiting as computing.
    """

    device: Digest | None
    size: int
    works: int
    claimed_mflops: int
    proven_mflops: int

    def __post_init__(self) -> None:
        _check_device(self.device)
        _check_size(self.size)
        check_uint(self.works, 32, "works")
        check_uint(self.claimed_mflops, 64, "claimed_mflops")
        check_uint(self.proven_mflops, 64, "proven_mflops")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofResult:
    """What a verifier found out about a provider. Times are Unix seconds and milliseconds."""

    verifier: Address
    operator: Address
    round: Digest
    beacon: Digest
    verdict: str
    detail: str
    figures: tuple[ProofFigure, ...]
    milliseconds: int
    rows: int
    asked_at: int

    def __post_init__(self) -> None:
        if address(self.verifier) != self.verifier or address(self.operator) != self.operator:
            raise MalformedMessage("addresses are written in lower case")
        _check_digests(self.round, self.beacon)
        if self.verdict not in tuple(ProofVerdict):
            raise MalformedMessage(f"a verdict is one of {', '.join(ProofVerdict)}")
        _check_reason(self.detail)
        _check_devices([figure.device for figure in self.figures])
        for name in ("milliseconds", "rows", "asked_at"):
            check_uint(getattr(self, name), 64, name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedProofResult:
    """A result's canonical bytes and the verifier's EIP-712 signature over them."""

    body: bytes
    signature: bytes


def result_digest(domain: typed_data.Domain, body: bytes) -> Digest:
    """Return the digest that a verifier signs for a result."""
    return domain.body_digest(typed_data.HARDWARE_PROOF_TYPE, body)


def open_result(signed: SignedProofResult, domain: typed_data.Domain) -> ProofResult:
    """Return the result if the verifier that it names signed it.

    Raises:
        MalformedMessage: it is malformed, or somebody else signed it.
    """
    result = codec.decode(ProofResult, signed.body)
    if typed_data.recover(result_digest(domain, signed.body), signed.signature) != result.verifier:
        raise MalformedMessage("the result is not signed by the verifier it names")
    return result


def epoch_block(head: int) -> int:
    """Return the block whose hash makes the matrices while block `head` is the newest."""
    return max(0, head - EPOCH_DEPTH_BLOCKS) // EPOCH_BLOCKS * EPOCH_BLOCKS


def claimed_mflops(device: DeviceBenchmark) -> int:
    """Return the advertised figure that a proof is held against; 0 where there is none."""
    return max((f for name, f in device.gemm_mflops.items() if name in EXACT_DTYPES), default=0)


def claims(benchmark: Benchmark | None, gpus: Sequence[Digest]) -> dict[Digest | None, int]:
    """Return the devices to be asked, with what each advertises: the GPUs, else the processor."""
    measured = {d.device: claimed_mflops(d) for d in (benchmark.devices if benchmark else ())}
    wanted: Sequence[Digest | None] = gpus or (None,)
    return {device: measured.get(device, 0) for device in wanted}


def sized_part(device: Digest | None, claim: int, seconds: float) -> ProofPart:
    """Return what a device that advertises `claim` MFLOPS computes in about `seconds`.

    The largest side of which a product fits: the larger, the less is hashed for what is computed.
    """
    operations = (claim or UNCLAIMED_MFLOPS) * 1e6 * seconds
    fitting = [size for size in SIZES if operations >= 2 * size**3]
    size = max(fitting, default=SIZES[0])
    works = min(max(1, round(operations / (2 * size**3))), WORKS_MAX)
    return ProofPart(device=device, size=size, works=works)


def measured(
    parts: Sequence[ProofPart], claimed: Sequence[int], seconds: float
) -> tuple[ProofFigure, ...]:
    """Return each device's figures, all of which answered `seconds` after they had been asked."""
    return tuple(
        ProofFigure(
            device=part.device,
            size=part.size,
            works=part.works,
            claimed_mflops=claim,
            proven_mflops=int(part.operations / max(seconds, 1e-6) / 1e6),
        )
        for part, claim in zip(parts, claimed, strict=True)
    )


def judged(figures: Sequence[ProofFigure]) -> tuple[ProofVerdict, str]:
    """Return what right answers show, with a sentence that has the numbers."""
    below = [f for f in figures if f.proven_mflops < PASS_SHARE * f.claimed_mflops]
    if not below:
        return ProofVerdict.PROVEN, "; ".join(_figure_text(figure) for figure in figures)
    worst = min(below, key=lambda figure: figure.proven_mflops / figure.claimed_mflops)
    return ProofVerdict.SLOW, f"{_figure_text(worst)}, of which {PASS_SHARE:.0%} would do"


def gflops_text(mflops: int) -> str:
    """Return a figure as people read it: 145300 gives "145.3 GFLOPS"."""
    if mflops >= 10_000_000:
        return f"{mflops / 1e6:.1f} TFLOPS"
    return f"{mflops / 1e3:.1f} GFLOPS"


def _figure_text(figure: ProofFigure) -> str:
    device = "its processor" if figure.device is None else f"GPU {figure.device.hex()[:8]}"
    claim = f" of {gflops_text(figure.claimed_mflops)} advertised" if figure.claimed_mflops else ""
    return f"{device} showed {gflops_text(figure.proven_mflops)}{claim}"


def path_bytes(part: ProofPart) -> int:
    """Return how long a path of this part is."""
    return DIGEST_BYTES * (merkle.depth(part.size) + merkle.depth(part.works))


def rows_per_page(part: ProofPart) -> int:
    """Return how many rows of this part one opening carries."""
    return max(1, OPENING_BYTES_MAX // (4 * part.size + path_bytes(part) + 8))


def _check_digests(*digests: bytes) -> None:
    if any(len(digest) != DIGEST_BYTES for digest in digests):
        raise MalformedMessage(f"a digest has {DIGEST_BYTES} bytes")


def _check_device(device: Digest | None) -> None:
    if device is not None:
        _check_digests(device)


def _check_devices(devices: Sequence[Digest | None]) -> None:
    if not 1 <= len(devices) <= DEVICES_MAX or len(set(devices)) < len(devices):
        raise MalformedMessage(f"a round has 1 to {DEVICES_MAX} devices, each once")


def _check_size(size: int) -> None:
    if size not in SIZES:
        raise MalformedMessage(f"the side of the matrices is one of {SIZES}")


def _check_reason(text: str) -> None:
    if len(text) > REASON_CHARACTERS_MAX or not text.isprintable():
        raise MalformedMessage(f"a reason has at most {REASON_CHARACTERS_MAX} printable characters")
