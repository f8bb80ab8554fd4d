"""The offer: a provider's signed supply, which also binds operator, signing key and peer."""

from dataclasses import dataclass
from typing import Final

from assay_node.protocol import codec, typed_data
from assay_node.protocol.benchmark import Benchmark
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest, PeerId, address, peer_id
from assay_node.protocol.units import check_uint

OFFER_LIFETIME_S_MAX: Final = 3600
"""A longer promise would outlive the machine's honest knowledge of itself."""
ADDRESSES_MAX: Final = 16
SLOTS_MAX: Final = 256
EXACT_MODES_MAX: Final = 16
"""Modes that a scheduler does not know match no job of its; they do no harm."""
EXACT_MODE_CHARACTERS_MAX: Final = 32
TIERS_MAX: Final = 8
RUNTIMES_MAX: Final = 8
NAME_CHARACTERS_MAX: Final = 64
GPUS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What one job may use on this provider; `gpus` whole devices of `gpu_memory_bytes` each."""

    memory_bytes: int
    cpus_milli: int
    scratch_bytes: int
    output_bytes: int
    input_bytes: int
    seconds_max: int
    gpus: int = 0
    gpu_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One device that is offered, as its driver describes it: claims, until they are proven.

    `device` is the SHA-256 of the driver's UUID of the GPU or MIG instance: the same device in two
    adverts shows, without telling its UUID. `driver` is the driver's version.
    """

    device: Digest
    model: str
    memory_bytes: int
    driver: str

    def __post_init__(self) -> None:
        if len(self.device) != DIGEST_BYTES:
            raise MalformedMessage(f"a device's digest has {DIGEST_BYTES} bytes")
        if max(len(self.model), len(self.driver)) > NAME_CHARACTERS_MAX:
            raise MalformedMessage(f"names have at most {NAME_CHARACTERS_MAX} characters")
        check_uint(self.memory_bytes, 64, "memory_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a provider sells, at which price, and who stands behind it.

    The signer's signature says: this peer works for this operator. The chain says whether the
    operator named this signer; the transport proves the peer ID. An offer without all three is
    dropped. `tiers` are those whose self-test this machine passed, `runtimes` the names "wasm",
    "host-python" and "environment" (any, by CID), `exact_modes` the modes of exact_torch whose
    self-test passed. `slots` is 0 while the owner lets no new job in. `benchmark` is what was
    measured here, None before it was. Times are Unix seconds; `generation` rises with each change.
    """

    operator: Address
    signer: Address
    peer_id: PeerId
    addresses: tuple[str, ...]
    hardware_class: Digest
    cpu_model: str
    tiers: tuple[str, ...]
    runtimes: tuple[str, ...]
    software_digest: Digest
    exact_modes: tuple[str, ...]
    slots: int
    slot: Slot
    gpus: tuple[Gpu, ...] = ()
    benchmark: Benchmark | None = None
    price_microusd_per_second: int
    bond_max_microusd: int
    issued_at: int
    expires_at: int
    generation: int

    def __post_init__(self) -> None:
        if address(self.operator) != self.operator or address(self.signer) != self.signer:
            raise MalformedMessage("addresses are written in lower case")
        peer_id(self.peer_id)
        if len(self.addresses) > ADDRESSES_MAX or any(len(a) > 256 for a in self.addresses):
            raise MalformedMessage(f"an offer has at most {ADDRESSES_MAX} addresses")
        if len(self.hardware_class) != DIGEST_BYTES or len(self.software_digest) != DIGEST_BYTES:
            raise MalformedMessage(f"class and software digest have {DIGEST_BYTES} bytes")
        if len(self.exact_modes) > EXACT_MODES_MAX or any(
            len(mode) > EXACT_MODE_CHARACTERS_MAX for mode in self.exact_modes
        ):
            raise MalformedMessage(f"an offer has at most {EXACT_MODES_MAX} short exact modes")
        if len(self.tiers) > TIERS_MAX or len(self.runtimes) > RUNTIMES_MAX:
            raise MalformedMessage(f"an offer has at most {TIERS_MAX} tiers and runtimes")
        if any(len(name) > NAME_CHARACTERS_MAX for name in (*self.tiers, *self.runtimes)):
            raise MalformedMessage(f"names have at most {NAME_CHARACTERS_MAX} characters")
        if len(self.gpus) > GPUS_MAX or len({g.device for g in self.gpus}) < len(self.gpus):
            raise MalformedMessage(f"an offer has at most {GPUS_MAX} GPUs, each once")
        if not 0 <= self.slots <= SLOTS_MAX:
            raise MalformedMessage(f"an offer has at most {SLOTS_MAX} slots")
        check_uint(self.price_microusd_per_second, 64, "price_microusd_per_second")
        check_uint(self.bond_max_microusd, 64, "bond_max_microusd")
        if not 0 <= self.issued_at < self.expires_at <= self.issued_at + OFFER_LIFETIME_S_MAX:
            raise MalformedMessage(f"an offer lives at most {OFFER_LIFETIME_S_MAX} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOffer:
    """An offer's canonical bytes and the signing key's EIP-712 signature over them."""

    body: bytes
    signature: bytes


def offer_digest(domain: typed_data.Domain, body: bytes) -> Digest:
    """Return the digest that a signing key signs for an offer."""
    return domain.body_digest(typed_data.OFFER_TYPE, body)


def open_offer(signed: SignedOffer, domain: typed_data.Domain) -> Offer:
    """Return the offer if its own signer signed it.

    Raises:
        MalformedMessage: it is malformed, or somebody else signed it.
    """
    offer = codec.decode(Offer, signed.body)
    if typed_data.recover(offer_digest(domain, signed.body), signed.signature) != offer.signer:
        raise MalformedMessage("the offer is not signed by the signer it names")
    return offer
