"""Hypothesis strategies and plain examples of everything in `assay_node.protocol`."""

from hypothesis import strategies as st

from assay_node.protocol import (
    assignment,
    benchmark,
    codec,
    hardware_proof,
    messages,
    offer,
    order,
    receipt,
)
from assay_node.protocol import cid as cids
from assay_node.protocol.ids import Address, Cid, Digest, PeerId
from assay_node.protocol.job_spec import Comparison, Exactness, JobSpec, Resources

PEER = PeerId("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN")

uint64 = st.integers(0, (1 << 64) - 1)
uint32 = st.integers(0, (1 << 32) - 1)
uint8 = st.integers(0, 255)
digests = st.binary(min_size=32, max_size=32).map(Digest)
addresses = st.binary(min_size=20, max_size=20).map(lambda b: Address("0x" + b.hex()))
signatures = st.binary(min_size=65, max_size=65)
cid_values = st.builds(cids.from_digest, st.sampled_from(sorted(cids.CODECS)), digests)
printable = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=40
)
short_bytes = st.binary(max_size=64)


@st.composite
def orders(draw: st.DrawFn) -> order.Order:
    replicas = draw(st.integers(1, order.REPLICAS_MAX))
    return order.Order(
        requester=draw(addresses),
        spec=draw(digests),
        hardware_class=draw(digests),
        scheduler=draw(addresses),
        fee_microusd=draw(st.integers(0, 1 << 40)),
        max_rate_microusd=draw(st.integers(0, 1 << 24)),
        max_seconds=draw(st.integers(1, 1 << 24)),
        bond_microusd=draw(uint64),
        replicas=replicas,
        quorum=draw(st.integers(replicas // 2 + 1, replicas)),
        max_ticket=draw(st.integers(replicas - 1, 255)),
        commit_window_s=draw(uint32),
        reveal_window_s=draw(uint32),
        seed_block=draw(uint64),
        expiry=draw(uint64),
        audit_bps=draw(st.integers(0, 10_000)),
        escalate=draw(st.booleans()),
        nonce=draw(st.binary(min_size=32, max_size=32)),
    )


resources = st.builds(
    Resources,
    **{  # type: ignore[arg-type]
        **{name: st.integers(1, 1 << 40) for name in Resources.__slots__},
        "gpus": st.integers(1, 64),
    },
)
_exactness = [(Comparison.CLASS, None), *((c, e) for c in Comparison for e in Exactness)]
job_specs = st.builds(
    lambda how, **fields: JobSpec(comparison=how[0].value, exact=how[1] and how[1].value, **fields),
    how=st.sampled_from(_exactness),
    name=printable,
    command=st.lists(printable, max_size=4).map(lambda more: ("python", "/input/a.py", *more)),
    environment=st.dictionaries(st.from_regex(r"\A[A-Z_]{1,8}\Z"), printable, max_size=3),
    inputs=cid_values,
    runtime=st.one_of(st.just("host-python"), cid_values),
    tier=st.sampled_from(["t1", "t2"]),
    resources=resources,
)
signed_orders = st.builds(order.SignedOrder, order=orders(), signature=signatures)
replicas = st.builds(
    receipt.Replica,
    operator=addresses,
    rate_microusd=uint64,
    ticket=uint8,
    seconds=uint32,
    tag=digests,
    salt=digests,
    signature=signatures,
)
receipts = st.builds(
    receipt.Receipt, signed_order=signed_orders, replicas=st.lists(replicas, max_size=3).map(tuple)
)
signed_offers = st.builds(offer.SignedOffer, body=short_bytes, signature=signatures)
slots = st.builds(offer.Slot, **dict.fromkeys(offer.Slot.__slots__, uint64))  # type: ignore[arg-type]
gpus = st.builds(offer.Gpu, device=digests, model=printable, memory_bytes=uint64, driver=printable)
device_benchmarks = st.builds(
    benchmark.DeviceBenchmark,
    device=st.none() | digests,
    gemm_mflops=st.dictionaries(st.sampled_from(["float32", "bfloat16"]), uint64),
    memory_bytes=uint64,
    memory_bytes_per_second=uint64,
    host_to_device_bytes_per_second=uint64,
    device_to_host_bytes_per_second=uint64,
)
benchmarks = st.builds(
    benchmark.Benchmark,
    measured_at=uint64,
    devices=st.lists(device_benchmarks, max_size=2, unique_by=lambda d: d.device).map(tuple),
    disk_read_bytes_per_second=uint64,
    disk_write_bytes_per_second=uint64,
    network_bytes_per_second=uint64,
)
offers = st.builds(
    offer.Offer,
    operator=addresses,
    signer=addresses,
    peer_id=st.just(PEER),
    addresses=st.lists(printable, max_size=3).map(tuple),
    hardware_class=digests,
    cpu_model=printable,
    tiers=st.lists(st.sampled_from(["t0", "t1", "t2", "t9"]), max_size=3).map(tuple),
    runtimes=st.lists(printable, max_size=3).map(tuple),
    software_digest=digests,
    exact_modes=st.lists(st.sampled_from(["E21", "E14", "FMA", "E99"]), max_size=3).map(tuple),
    slots=st.integers(0, offer.SLOTS_MAX),
    slot=slots,
    gpus=st.lists(gpus, max_size=2, unique_by=lambda g: g.device).map(tuple),
    benchmark=st.none() | benchmarks,
    price_microusd_per_second=uint64,
    bond_max_microusd=uint64,
    issued_at=st.just(1_000),
    expires_at=st.integers(1_001, 1_000 + offer.OFFER_LIFETIME_S_MAX),
    generation=uint32,
)
entries = st.builds(
    messages.CommitEntry,
    operator=addresses,
    ticket=uint8,
    rate_microusd=uint64,
    commitment=digests,
    signature=signatures,
)


@st.composite
def assigns(draw: st.DrawFn) -> assignment.Assign:
    named = draw(st.lists(addresses, max_size=6, unique=True))
    held = draw(st.integers(0, len(named)))
    tickets = draw(st.lists(uint8, min_size=held, max_size=held, unique=True))
    return assignment.Assign(
        job=draw(digests),
        round_number=draw(uint32),
        sequence=draw(uint32),
        operators=tuple(named[:held]),
        tickets=tuple(sorted(tickets)),
        replaced=tuple(named[held:]),
    )


signed_assigns = st.builds(assignment.SignedAssign, assign=assigns(), signature=signatures)

devices = st.none() | digests
sides = st.sampled_from(hardware_proof.SIZES)
proof_results = st.builds(
    hardware_proof.ProofResult,
    verifier=addresses,
    operator=addresses,
    round=digests,
    beacon=digests,
    verdict=st.sampled_from([verdict.value for verdict in hardware_proof.ProofVerdict]),
    detail=printable,
    figures=st.lists(
        st.builds(
            hardware_proof.ProofFigure,
            device=devices,
            size=sides,
            works=uint32,
            claimed_mflops=uint64,
            proven_mflops=uint64,
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda figure: figure.device,
    ).map(tuple),
    milliseconds=uint64,
    rows=uint64,
    asked_at=uint64,
)

MESSAGES = {
    messages.Ack: st.just(messages.Ack()),
    messages.TermsRequest: st.just(messages.TermsRequest()),
    messages.Terms: st.builds(
        messages.Terms,
        scheduler=addresses,
        chain_id=uint64,
        market=addresses,
        fee_microusd=uint64,
        seconds_max=uint32,
        input_bytes_max=uint64,
        seed_blocks_ahead_max=uint32,
        expiry_s_max=uint32,
        settle_margin_s=uint32,
    ),
    messages.Submit: st.builds(messages.Submit, signed_order=signed_orders),
    messages.Admitted: st.builds(messages.Admitted, job=digests, already=st.booleans()),
    messages.Query: st.builds(
        messages.Query,
        kind=printable,
        job=st.none() | digests,
        requester=st.none() | addresses,
        after_event=uint32,
        wait_s=uint32,
    ),
    messages.Document: st.builds(messages.Document, json=printable),
    messages.ResultRequest: st.builds(messages.ResultRequest, job=digests),
    messages.Result: st.builds(
        messages.Result,
        receipt=st.none() | receipts,
        panel_job=st.none() | digests,
        round_number=uint32,
        output=cid_values,
        verdict=printable,
        sources=st.lists(printable, max_size=3).map(tuple),
    ),
    messages.OutputRequest: st.builds(messages.OutputRequest, job=digests),
    messages.Output: st.builds(messages.Output, output=cid_values, verdict=printable),
    messages.Hello: st.builds(messages.Hello, offer=signed_offers),
    messages.Welcome: st.builds(
        messages.Welcome,
        scheduler=addresses,
        heartbeat_s=uint32,
        active_jobs=st.lists(digests, max_size=3).map(tuple),
        offered_jobs=st.lists(digests, max_size=3).map(tuple),
    ),
    messages.Heartbeat: st.builds(messages.Heartbeat, slots_free=uint32),
    messages.LeaseOffer: st.builds(
        messages.LeaseOffer,
        signed_order=signed_orders,
        ticket=uint8,
        round_number=uint32,
        assign=signed_assigns,
    ),
    messages.LeaseAnswer: st.builds(
        messages.LeaseAnswer, accepted=st.booleans(), reason=printable, rate_microusd=uint64
    ),
    messages.Progress: st.builds(messages.Progress, job=digests, stage=printable),
    messages.Commit: st.builds(
        messages.Commit,
        job=digests,
        round_number=uint32,
        rate_microusd=uint64,
        commitment=digests,
        at_limit=st.booleans(),
        signature=signatures,
    ),
    messages.HandBack: st.builds(messages.HandBack, job=digests, reason=printable),
    messages.CommitEntry: entries,
    messages.CommitSet: st.builds(
        messages.CommitSet,
        job=digests,
        round_number=uint32,
        entries=st.lists(entries, max_size=4).map(tuple),
        signature=signatures,
    ),
    messages.Reveal: st.builds(
        messages.Reveal,
        job=digests,
        round_number=uint32,
        tag=digests,
        seconds=uint32,
        salt=digests,
        rate_microusd=uint64,
        output=cid_values,
        log=st.none() | cid_values,
        verdict=printable,
        detail=printable,
        signature=signatures,
    ),
    messages.Release: st.builds(messages.Release, job=digests, reason=printable),
    assignment.Assign: assigns(),
    assignment.SignedAssign: signed_assigns,
    order.Order: orders(),
    order.SignedOrder: signed_orders,
    receipt.Replica: replicas,
    receipt.Receipt: receipts,
    offer.SignedOffer: signed_offers,
    offer.Offer: offers,
    JobSpec: job_specs,
    hardware_proof.ProofPrepare: st.builds(
        hardware_proof.ProofPrepare,
        round=digests,
        epoch_block=uint64,
        beacon=digests,
        devices=st.lists(
            st.builds(hardware_proof.ProofDevice, device=devices, size=sides),
            min_size=1,
            max_size=3,
            unique_by=lambda device: device.device,
        ).map(tuple),
    ),
    hardware_proof.ProofReady: st.builds(
        hardware_proof.ProofReady, ready=st.booleans(), reason=printable
    ),
    hardware_proof.ProofChallenge: st.builds(
        hardware_proof.ProofChallenge,
        round=digests,
        seed=digests,
        parts=st.lists(
            st.builds(
                hardware_proof.ProofPart, device=devices, size=sides, works=st.integers(1, 2048)
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda part: part.device,
        ).map(tuple),
    ),
    hardware_proof.ProofCommitment: st.builds(
        hardware_proof.ProofCommitment,
        round=digests,
        roots=st.lists(digests, max_size=3).map(tuple),
    ),
    hardware_proof.ProofQuestion: st.lists(
        st.tuples(st.integers(0, 2047), st.integers(0, 8191)), min_size=1, max_size=5
    ).flatmap(
        lambda places: st.builds(
            hardware_proof.ProofQuestion,
            round=digests,
            part=st.integers(0, 64),
            works=st.just(tuple(work for work, _ in places)),
            rows=st.just(tuple(row for _, row in places)),
        )
    ),
    hardware_proof.ProofOpening: st.builds(
        hardware_proof.ProofOpening,
        round=digests,
        values=short_bytes,
        paths=st.lists(short_bytes, max_size=3).map(tuple),
    ),
    hardware_proof.ProofResult: proof_results,
    hardware_proof.SignedProofResult: st.builds(
        hardware_proof.SignedProofResult,
        body=proof_results.map(codec.encode),
        signature=signatures,
    ),
}


def an_order(**changes: object) -> order.Order:
    """Return a plain valid order."""
    fields: dict[str, object] = {
        "requester": Address("0x" + "11" * 20),
        "spec": Digest(b"\x01" * 32),
        "hardware_class": Digest(b"\x02" * 32),
        "scheduler": Address("0x" + "22" * 20),
        "fee_microusd": 1000,
        "max_rate_microusd": 500,
        "max_seconds": 60,
        "bond_microusd": 10_000_000,
        "replicas": 3,
        "quorum": 2,
        "max_ticket": 12,
        "commit_window_s": 30,
        "reveal_window_s": 20,
        "seed_block": 100,
        "expiry": 10_000,
        "audit_bps": 0,
        "escalate": False,
        "nonce": b"\x03" * 32,
    }
    return order.Order(**{**fields, **changes})  # type: ignore[arg-type]


def a_signed_assign(job: Digest, **changes: object) -> assignment.SignedAssign:
    """Return a plain assignment; its signature is nobody's."""
    fields: dict[str, object] = {
        "job": job,
        "round_number": 0,
        "sequence": 0,
        "operators": (),
        "tickets": (),
        "replaced": (),
    }
    assign = assignment.Assign(**{**fields, **changes})  # type: ignore[arg-type]
    return assignment.SignedAssign(assign=assign, signature=b"\x01" * 65)


def a_spec(**changes: object) -> JobSpec:
    """Return a plain valid spec."""
    fields: dict[str, object] = {
        "name": "example",
        "command": ("python", "/input/main.py"),
        "environment": {},
        "inputs": cids.from_digest(cids.DAG_PB, Digest(b"\x04" * 32)),
        "resources": Resources(),
    }
    return JobSpec(**{**fields, **changes})  # type: ignore[arg-type]


def a_proof_result(**changes: object) -> hardware_proof.ProofResult:
    """Return a plain result of a proof that went well."""
    figure = hardware_proof.ProofFigure(
        device=None, size=4096, works=10, claimed_mflops=145_000, proven_mflops=140_000
    )
    fields: dict[str, object] = {
        "verifier": Address("0x" + "22" * 20),
        "operator": Address("0x" + "0a" * 20),
        "round": Digest(b"\x01" * 32),
        "beacon": Digest(b"\x02" * 32),
        "verdict": hardware_proof.ProofVerdict.PROVEN.value,
        "detail": "its processor showed 140.0 GFLOPS of 145.0 GFLOPS advertised",
        "figures": (figure,),
        "milliseconds": 9800,
        "rows": 256,
        "asked_at": 1_800_000_000,
    }
    return hardware_proof.ProofResult(**{**fields, **changes})  # type: ignore[arg-type]


def a_cid(byte: int) -> Cid:
    """Return some directory CID."""
    return cids.from_digest(cids.DAG_PB, Digest(bytes((byte,)) * 32))
