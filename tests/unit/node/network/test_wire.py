import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.network import limits, wire
from assay_node.protocol.errors import MalformedMessage

ids = st.integers(min_value=0, max_value=2**64 - 1)
names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=128)
payloads = st.binary(max_size=200)
texts = st.text(st.characters(categories=("L", "N", "P")), max_size=limits.ERROR_CHARACTERS_MAX)
messages = st.one_of(
    st.builds(wire.Request, id=ids, protocol=names, payload=payloads),
    st.builds(wire.Response, id=ids, payload=payloads),
    st.builds(wire.Failure, id=ids, code=names, text=texts),
    st.builds(wire.Cancel, id=ids),
)


@given(messages)
def test_a_message_survives_the_wire(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@given(st.binary(max_size=300))
def test_any_bytes_decode_or_raise_one_error(data: bytes) -> None:
    try:
        message = wire.decode(data)
    except MalformedMessage:
        return
    if not isinstance(message, wire.Failure):  # its text is made printable on the way in
        assert wire.encode(message) == data or not data.isascii() or not data.decode().isprintable()


@given(st.lists(payloads, max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_segmentation(frames: list[bytes], sizes: list[int]) -> None:
    data = b"".join(map(wire.frame, frames)) + wire.END
    decoder = wire.FrameDecoder()
    decoded: list[bytes] = []
    position = index = 0
    while position < len(data):
        assert not decoder.ended
        size = sizes[index % len(sizes)]
        decoded += decoder.feed(data[position : position + size])
        position += size
        index += 1
    assert decoded == frames
    assert decoder.ended


def test_a_frame_that_is_too_long_is_refused_before_it_is_buffered() -> None:
    decoder = wire.FrameDecoder(frame_bytes_max=10)
    assert decoder.feed(wire.frame(b"x" * 10)) == [b"x" * 10]
    with pytest.raises(MalformedMessage, match="11 bytes"):
        decoder.feed(b"\0\0\0\x0b")


@pytest.mark.parametrize("first", [b"", wire.END])
def test_nothing_may_follow_the_end(first: bytes) -> None:
    decoder = wire.FrameDecoder()
    decoder.feed(first)
    with pytest.raises(MalformedMessage):
        decoder.feed(wire.END + b"x")


@given(st.binary(max_size=6000))
def test_printable_text_is_one_short_line(data: bytes) -> None:
    text = wire.printable(data)
    assert text.isprintable()
    assert len(text) <= 10 * limits.ERROR_CHARACTERS_MAX


def test_printable_text_escapes_terminal_controls() -> None:
    assert wire.printable(b"\x1b[31mred\r\nnext \xff \xc3\xa9") == r"\x1b[31mred\r\nnext \xff é"
