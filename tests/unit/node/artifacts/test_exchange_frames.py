"""Frames of the block exchange."""

import pytest

from assay_node.artifacts.dag_pb import BLOCK_BYTES_MAX
from assay_node.artifacts.exchange_frames import (
    REASON_BYTES_MAX,
    FoundBlock,
    MissingBlock,
    Refusal,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from assay_node.network.limits import FRAME_BYTES_MAX
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage

CID = cids.of_block(cids.RAW, b"data")
BINARY = cids.to_binary(CID)


def test_requests_round_trip() -> None:
    wanted = [cids.of_block(codec, b"%d" % i) for codec in cids.CODECS for i in range(21)]
    assert list(decode_request(encode_request(wanted))) == wanted


@pytest.mark.parametrize(
    "answer",
    [FoundBlock(cid=CID, data=b""), MissingBlock(cid=CID), Refusal(reason="too busy: é")],
)
def test_answers_round_trip(answer: FoundBlock | MissingBlock | Refusal) -> None:
    assert decode_answer(encode_answer(answer)) == answer


def test_the_largest_block_fits_into_a_frame_of_the_network() -> None:
    frame = encode_answer(FoundBlock(cid=CID, data=bytes(BLOCK_BYTES_MAX)))
    assert len(frame) <= FRAME_BYTES_MAX
    assert decode_answer(frame) == FoundBlock(cid=CID, data=bytes(BLOCK_BYTES_MAX))


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x01", b"\x02" + BINARY, b"\x01" + BINARY[:-1], b"\x01" + BINARY * 65, b"\x01" * 37],
)
def test_other_requests_are_refused(frame: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_request(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x02" + BINARY[:-1],
        b"\x03" + BINARY + b"x",
        b"\x05" + BINARY,
        b"\x02" + BINARY + bytes(BLOCK_BYTES_MAX + 1),
        b"\x04" + b"x" * (REASON_BYTES_MAX + 1),
        b"\x04\xff",
    ],
)
def test_other_answers_are_refused(frame: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_answer(frame)


def test_long_reasons_are_cut_at_a_character() -> None:
    answer = decode_answer(encode_answer(Refusal(reason="é" * 300)))
    assert answer == Refusal(reason="é" * 200)
    odd = decode_answer(encode_answer(Refusal(reason="x" + "é" * 300)))
    assert odd == Refusal(reason="x" + "é" * 199)
