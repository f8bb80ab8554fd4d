"""Laws of the wire: messages survive a round trip, and no bytes cause more than a refusal."""

import dataclasses
import inspect

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.protocol import codec, messages
from assay_node.protocol.errors import MalformedMessage
from tests.builders.messages import MESSAGES

EXAMPLES = st.one_of(*MESSAGES.values())
KINDS = sorted(MESSAGES, key=lambda kind: kind.__name__)


@given(EXAMPLES)
def test_a_message_survives_the_wire(message: object) -> None:
    data = codec.encode(message)
    assert codec.decode(type(message), data) == message
    assert codec.encode(codec.decode(type(message), data)) == data


@given(st.sampled_from(KINDS), st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(kind: type, data: bytes) -> None:
    refusal = ""
    try:
        codec.decode(kind, data)
    except MalformedMessage as error:
        refusal = str(error)
    assert refusal.isprintable()


@given(EXAMPLES, st.data())
def test_a_changed_byte_never_yields_the_same_message(message: object, data: st.DataObject) -> None:
    wire = bytearray(codec.encode(message))
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = codec.decode(type(message), bytes(wire))
    except MalformedMessage:
        return
    assert decoded != message


@given(EXAMPLES, st.binary(min_size=1, max_size=3))
def test_trailing_bytes_are_refused(message: object, tail: bytes) -> None:
    with pytest.raises(MalformedMessage):
        codec.decode(type(message), codec.encode(message) + tail)


@given(EXAMPLES, st.sampled_from(["unknown", "generation_", ""]))
def test_unknown_and_missing_fields_are_refused(message: object, name: str) -> None:
    wire = dag_cbor.decode(codec.encode(message))
    assert isinstance(wire, dict)
    with pytest.raises(MalformedMessage):
        codec.decode(type(message), dag_cbor.encode({**wire, name: 1}))
    for field in wire:
        less = {k: v for k, v in wire.items() if k != field}
        with pytest.raises(MalformedMessage):
            codec.decode(type(message), dag_cbor.encode(less))


def test_every_message_has_an_example() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(messages, dataclasses.is_dataclass)
        if kind.__module__ == messages.__name__
    }
    assert kinds <= MESSAGES.keys()


def test_a_number_is_not_a_boolean() -> None:
    wire = dag_cbor.decode(codec.encode(messages.Heartbeat(slots_free=1)))
    assert isinstance(wire, dict)
    with pytest.raises(MalformedMessage, match="slots_free"):
        codec.decode(messages.Heartbeat, dag_cbor.encode({**wire, "slots_free": True}))


def test_a_message_of_another_type_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="not a Ack"):
        codec.decode(messages.Ack, codec.encode(messages.TermsRequest()))


def test_an_oversize_message_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(MalformedMessage, match="at most"):
        codec.decode(messages.Ack, b"\0" * (codec.MESSAGE_BYTES_MAX + 1))


SANE = b"\xa2\x64type\x69Heartbeat\x6aslots_free\x01"


@pytest.mark.parametrize(
    "odd",
    [
        b"\xa2\x6aslots_free\x01\x64type\x69Heartbeat",  # keys out of order
        SANE.replace(b"\x01", b"\x18\x01"),  # an integer longer than it need be
        SANE.replace(b"\x69Heartbeat", b"\x78\x09Heartbeat"),  # a length likewise
        SANE.replace(b"\xa2", b"\xb8\x02"),  # a map's length likewise
        SANE.replace(b"\xa2", b"\xbf") + b"\xff",  # of indefinite length
        b"\xa3" + SANE[1:] + b"\x6aslots_free\x01",  # a key twice
        SANE.replace(b"\x01", b"\xf9\x3c\x00"),  # a short float
        SANE.replace(b"\x01", b"\xc2\x41\x01"),  # a tagged integer
        SANE.replace(b"\x01", b"\xf8\x20"),  # an unassigned simple value
        SANE.replace(b"Heartbeat", b"Heartbea\xff"),  # not UTF-8
    ],
)
def test_only_the_canonical_form_is_accepted(odd: bytes) -> None:
    assert codec.decode(messages.Heartbeat, SANE) == messages.Heartbeat(slots_free=1)
    with pytest.raises(MalformedMessage):
        codec.decode(messages.Heartbeat, odd)


@given(EXAMPLES, st.data())
def test_whatever_is_accepted_is_canonical(message: object, data: st.DataObject) -> None:
    wire = bytearray(codec.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(wire) - 1))
        wire[place] = data.draw(st.integers(0, 255))
    try:
        decoded = codec.decode(type(message), bytes(wire))
    except MalformedMessage:
        return
    assert codec.encode(decoded) == bytes(wire)
