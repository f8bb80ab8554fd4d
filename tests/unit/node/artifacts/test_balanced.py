"""File CIDs against known values: Kubo's documentation, and `aleph-cid` at every boundary."""

import hashlib

import pytest

from assay_node.artifacts.balanced import CHUNK_BYTES, WIDTH, BalancedFile
from assay_node.artifacts.unixfs import FileNode, Part, decode
from assay_node.protocol.cid import matches
from assay_node.protocol.ids import Cid

PATTERN = hashlib.shake_256(b"assay").digest(2 * CHUNK_BYTES)


def build(size: int) -> tuple[Part, dict[Cid, bytes]]:
    blocks: dict[Cid, bytes] = {}
    file = BalancedFile(blocks.__setitem__)
    for start in range(0, size, CHUNK_BYTES):
        at = start % len(PATTERN)
        file.add_chunk(PATTERN[at : at + min(CHUNK_BYTES, size - start)])
    return file.finish(), blocks


@pytest.mark.parametrize(
    ("size", "cid"),
    [
        (0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (1, "bafkreieogxbm2o7wmqn5wdrakc3wsmwlwltagsqn3lgb3g7kqktluv7xz4"),
        (262143, "bafkreih7kf3hkgamr6jlmbku7qmngutrtnuyoalzi5e6eofbecqzx2qna4"),
        (262144, "bafkreicqxxynftisrsfb577rqikiwyabu3momiaq5u4xhdatubjbzzrvcu"),
        (262145, "bafybeid4t6bhxyas62u6mb5mdqsw6v6ykygqd5gy6abdumztzsdtycs6ti"),
        (524288, "bafybeicvtoamflwzc665q5epngqlgupqqob4jrar2wrq6pn5iwyfqajlpm"),
        (45613055, "bafybeiadmpb4sc4xlic6kuzsjttibe4r3uk4xmhduz5vjwilv33gcb7z7a"),
        (45613056, "bafybeiaxhrn6zthlo24ekdcw7f5tq6bkwi5nxwdyvkcx6t74zyk7ymxs3a"),
        (45613057, "bafybeicurt4vtt2lf6562aukgxl45cftltjlgsm2e3jzilaru7rln4jjgq"),
        (91226112, "bafybeibanrjfaoikfut5gk4y3xbzeaptd4jjmqxlztm5cxy7oyay5kxowq"),
        (91226113, "bafybeiefiebmkfjyovcyocl4glchokyw4kkla3j2hpynpfrnvp37kvz5le"),
    ],
)
def test_file_has_the_cid_kubo_gives_it(size: int, cid: str) -> None:
    root, blocks = build(size)

    assert root.cid == cid
    assert root.bytes == size
    assert all(matches(name, data) for name, data in blocks.items())


@pytest.mark.parametrize(
    ("content", "cid"),
    [
        (b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        (b"hello world\n", "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"),
    ],
)
def test_well_known_files(content: bytes, cid: str) -> None:
    file = BalancedFile(lambda _cid, _data: None)
    file.add_chunk(content)
    assert file.finish().cid == cid


def test_the_short_last_branch_reaches_down_to_full_depth() -> None:
    root, blocks = build(WIDTH * CHUNK_BYTES + 1)
    top = decode(blocks[root.cid])
    assert isinstance(top, FileNode)
    last = decode(blocks[top.parts[1].cid])

    assert [part.bytes for part in top.parts] == [WIDTH * CHUNK_BYTES, 1]
    assert isinstance(last, FileNode)
    assert [part.bytes for part in last.parts] == [1]


def test_a_full_level_has_no_parent_with_a_single_child() -> None:
    root, blocks = build(WIDTH * CHUNK_BYTES)
    top = decode(blocks[root.cid])
    assert isinstance(top, FileNode)
    assert len(top.parts) == WIDTH
