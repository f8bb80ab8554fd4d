"""The one form of a layer: what it can hold, and everything that is refused."""

import io
import subprocess
import tarfile

import pytest

from assay_node.protocol.errors import MalformedMessage
from assay_provider.environments.layer_tar import (
    BLOCK_BYTES,
    DEPTH_MAX,
    EntryKind,
    LayerReader,
    LayerSize,
    LayerWriter,
)
from tests.builders.layers import (
    LIMITS,
    file,
    folder,
    forged,
    forged_header,
    layer_bytes,
    link,
    whiteout,
)

EVERYTHING = (
    link("bin", "usr/bin"),
    folder("usr"),
    whiteout("usr/gone"),
    folder("usr/bin"),
    file("usr/bin/tool", b"#!/bin/sh\n", executable=True),
    link("usr/bin/up", "../../bin"),
    link("usr/bin/" + "z" * 200, "../" + "y" * 150),
    file("usr/bin/" + "é" * 100, b"x" * 600),
    link("usr/here", "."),
)


def read(data: bytes, limits: LayerSize = LIMITS) -> list[tuple[str, str, bytes]]:
    reader = LayerReader(io.BytesIO(data), limits)
    found = []
    for entry in reader.entries():
        content = io.BytesIO()
        reader.copy(content.write)
        found.append((entry.path, str(entry.kind), content.getvalue() or entry.target.encode()))
    return found


def test_what_is_written_is_read() -> None:
    found = read(layer_bytes(*EVERYTHING))
    assert found == [
        (entry.path, str(entry.kind), content or entry.target.encode())
        for entry, content in EVERYTHING
    ]


def test_contents_may_be_passed_over() -> None:
    reader = LayerReader(io.BytesIO(layer_bytes(*EVERYTHING)), LIMITS)
    assert len(list(reader.entries())) == len(EVERYTHING)
    assert reader.size == LayerSize(unpacked_bytes=610, files=len(EVERYTHING))


def test_other_tars_read_it() -> None:
    data = layer_bytes(*EVERYTHING)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert [m.name for m in members][2] == "usr/.wh.gone"
    assert [m.linkname for m in members if m.issym()] == [
        entry.target for entry, _ in EVERYTHING if entry.kind is EntryKind.LINK
    ]
    listed = subprocess.run(["tar", "-t"], input=data, capture_output=True, check=True)
    assert listed.stdout.count(b"\n") == len(EVERYTHING)
    assert not listed.stderr


def header(name: bytes, **fields: object) -> bytes:
    return forged_header(name, **fields)  # type: ignore[arg-type]


def pax(records: bytes, *, name: bytes = b"././@PaxHeader") -> bytes:
    padded = records + bytes(-len(records) % BLOCK_BYTES)
    return header(name, kind=b"x", size=len(records)) + padded


def record(key: bytes, value: bytes) -> bytes:
    """Return a pax record with the right length."""
    rest = b" " + key + b"=" + value + b"\n"
    length = next(n for n in range(1, 9999) if n == len(str(n)) + len(rest))
    return b"%d" % length + rest


LONG = b"a" * 150
LONG_RECORD = record(b"path", LONG)
PLAIN = header(b"name")


def changed(block: bytes, at: int, data: bytes) -> bytes:
    """Return a header with other bytes somewhere, and a checksum that is right again."""
    block = block[:at] + data + block[at + len(data) :]
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


HOSTILE = {
    "a character device": forged(header(b"null", kind=b"3", device=b"0000001\x000000003\0")),
    "a block device": forged(header(b"sda", kind=b"4", device=b"0000010\x000000000\0")),
    "a pipe": forged(header(b"pipe", kind=b"6")),
    "a hard link": forged(PLAIN, header(b"second", kind=b"1", target=b"name")),
    "a hard link to outside": forged(header(b"shadow", kind=b"1", target=b"/etc/shadow")),
    "a contiguous file": forged(header(b"name", kind=b"7")),
    "an old file": forged(header(b"name", kind=b"\0")),
    "a sparse file": forged(header(b"sparse", kind=b"S", size=0)),
    "a GNU long name": forged(header(b"././@LongLink", kind=b"L", size=5), b"name\0", PLAIN),
    "a volume name": forged(header(b"name", kind=b"V")),
    "global pax records": forged(
        header(b"pax", kind=b"g", size=14), record(b"path", b"../x"), PLAIN
    ),
    "set-user-ID": forged(header(b"su", mode=0o4755)),
    "set-group-ID": forged(header(b"su", mode=0o2755)),
    "sticky": forged(header(b"tmp", kind=b"5", mode=0o1755)),
    "writable for all": forged(header(b"open", mode=0o666)),
    "an owner": forged(changed(PLAIN, 108, b"0001750\0")),
    "an owner's name": forged(changed(PLAIN, 265, b"root")),
    "a time": forged(changed(PLAIN, 136, b"00000000001\0")),
    "a wrong checksum": forged(PLAIN[:148] + b"000000\0 " + PLAIN[156:]),
    "a number of another base": forged(changed(PLAIN, 124, b"\x80" + bytes(11))),
    "a number that is none": forged(changed(PLAIN, 124, b"-0000000001\0")),
    "a prefix": forged(changed(PLAIN, 345, b"etc")),
    "bytes after the name": forged(changed(PLAIN, 0, b"name\0hidden")),
    "an absolute path": forged(header(b"/etc/passwd")),
    "a path that climbs": forged(header(b"../escape")),
    "a path that climbs later": forged(header(b"a", kind=b"5", mode=0o755), header(b"a/../../b")),
    "a path with a dot": forged(header(b"./name")),
    "a path with a slash at its end": forged(header(b"a/", kind=b"5", mode=0o755)),
    "an empty path": forged(header(b"")),
    "two slashes": forged(header(b"a", kind=b"5", mode=0o755), header(b"a//b")),
    "a control character": forged(header(b"a\nb")),
    "a name that is not UTF-8": forged(header(b"\xff\xfe")),
    "a name of 256 bytes": forged(pax(record(b"path", b"n" * 256)), header(b"n" * 100)),
    "twice": forged(PLAIN, PLAIN),
    "out of order": forged(header(b"b"), header(b"a")),
    "no directory": forged(header(b"a/b")),
    "below a file": forged(header(b"a"), header(b"a/b")),
    "below a link": forged(
        header(b"a", kind=b"2", mode=0o777, target=b"."), header(b"a/b", size=1), b"x"
    ),
    "a link out": forged(header(b"a", kind=b"2", mode=0o777, target=b"..")),
    "an absolute link": forged(header(b"a", kind=b"2", mode=0o777, target=b"/etc/shadow")),
    "an empty link": forged(header(b"a", kind=b"2", mode=0o777)),
    "a link that climbs within": forged(header(b"a", kind=b"2", mode=0o777, target=b"b/../..")),
    "a link with content": forged(header(b"a", kind=b"2", mode=0o777, target=b"b", size=1), b"x"),
    "a directory with content": forged(header(b"a", kind=b"5", mode=0o755, size=1), b"x"),
    "an opaque marker": forged(header(b".wh..wh..opq")),
    "a whiteout of everything": forged(header(b".wh..")),
    "a whiteout of what is above": forged(header(b".wh...")),
    "a whiteout without a name": forged(header(b".wh.")),
    "a whiteout that holds something": forged(header(b".wh.name", size=1), b"x"),
    "a whiteout that is executable": forged(header(b".wh.name", mode=0o755)),
    "a directory that is called a whiteout": forged(header(b".wh.d", kind=b"5", mode=0o755)),
    "pax: extended attributes": forged(pax(record(b"SCHILY.xattr.user.name", b"abc")), PLAIN),
    "pax: a size": forged(pax(record(b"size", b"1024")), PLAIN),
    "pax: a sparse map": forged(pax(record(b"GNU.sparse.major", b"1")), PLAIN),
    "pax: a short path": forged(pax(record(b"path", b"abcd")), header(b"abcd")),
    "pax: a path that climbs": forged(
        pax(record(b"path", b"../" + LONG)), header(b"../" + LONG[:97])
    ),
    "pax: another name in the header": forged(pax(LONG_RECORD), PLAIN),
    "pax: a wrong length": forged(pax(b"161" + LONG_RECORD[3:]), header(LONG[:100])),
    "pax: a length of nothing": forged(pax(b"0 path=\n"), PLAIN),
    "pax: no length": forged(pax(b"path=name\n"), PLAIN),
    "pax: twice": forged(pax(LONG_RECORD * 2), header(LONG[:100])),
    "pax: before pax": forged(pax(LONG_RECORD), pax(LONG_RECORD), header(LONG[:100])),
    "pax: another name of its own": forged(pax(LONG_RECORD, name=b"x"), header(LONG[:100])),
    "pax: enormous": forged(header(b"././@PaxHeader", kind=b"x", size=1 << 30)),
    "a file of many gigabytes": forged(header(b"bomb", size=(1 << 33) - 1)),
    "nothing": b"",
    "zeros that do not end": bytes(BLOCK_BYTES) + PLAIN + bytes(2 * BLOCK_BYTES),
    "no end": PLAIN,
    "something after the end": forged(PLAIN) + b"x",
    "too many zeros": forged(PLAIN) + bytes(10 * BLOCK_BYTES),
    "a cut header": forged(PLAIN)[:300],
    "a cut file": forged(header(b"name", size=5000), b"short"),
    "padding that is not zero": forged(header(b"name", size=1), b"x" + b"y" * 511),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_not_the_form_is_refused(name: str) -> None:
    with pytest.raises(MalformedMessage):
        read(HOSTILE[name])


def test_the_forgeries_are_what_they_seem() -> None:
    """Without their one fault they are read: no test above passes for another reason."""
    assert read(forged(PLAIN)) == [("name", "file", b"")]
    assert read(forged(pax(LONG_RECORD), header(LONG[:100]))) == [(LONG.decode(), "file", b"")]
    assert read(forged(header(b".wh.name"))) == [("name", "whiteout", b"")]
    deep = forged(pax(record(b"path", b"n" * 255)), header(b"n" * 100))
    assert [path for path, _, _ in read(deep)] == ["n" * 255]
    inside = forged(
        header(b"a", kind=b"5", mode=0o755),
        header(b"a/b", kind=b"2", mode=0o777, target=b"../c"),
        header(b"c", size=1, mode=0o755),
        b"x",
    )
    assert [path for path, _, _ in read(inside)] == ["a", "a/b", "c"]


def test_a_limit_is_a_limit() -> None:
    data = layer_bytes(folder("a"), file("a/b", b"12345"))
    assert len(read(data, LayerSize(unpacked_bytes=5, files=2))) == 2
    with pytest.raises(MalformedMessage, match="more than 4 bytes"):
        read(data, LayerSize(unpacked_bytes=4, files=2))
    with pytest.raises(MalformedMessage, match="more than 1 entries"):
        read(data, LayerSize(unpacked_bytes=5, files=1))


def test_a_claimed_size_is_refused_before_it_is_read() -> None:
    bomb = io.BytesIO(header(b"bomb", size=1 << 32))
    with pytest.raises(MalformedMessage, match="more than 1048576 bytes"):
        list(LayerReader(bomb, LIMITS).entries())
    assert bomb.tell() == BLOCK_BYTES


def test_folders_lie_only_so_deep() -> None:
    names = ["d"]
    while len(names) < DEPTH_MAX:
        names.append(names[-1] + "/d")
    deepest = [folder(name) for name in names]
    assert len(read(layer_bytes(*deepest))) == DEPTH_MAX
    with pytest.raises(MalformedMessage, match="64 names"):
        layer_bytes(*deepest, folder(names[-1] + "/d"))


def test_a_writer_refuses_what_a_reader_would() -> None:
    for entries in (
        [file("b"), file("a")],
        [file("a"), file("a")],
        [file("a/b")],
        [file("../a")],
        [link("a", "/etc")],
        [file(".wh.a")],
        [file("a\x7f")],
        [file("\udcff")],
    ):
        with pytest.raises(MalformedMessage):
            layer_bytes(*entries)


def test_a_file_that_shrank_is_noticed() -> None:
    entry, _ = file("a", b"12345")
    with pytest.raises(EOFError):
        LayerWriter(io.BytesIO()).add(entry, io.BytesIO(b"1234"))
