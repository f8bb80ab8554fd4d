"""Which rows a verifier asks for, page by page."""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from assay_node.protocol.hardware_proof import (
    ROWS_OPENED,
    ROWS_OPENED_MIN,
    ProofPart,
    ProofQuestion,
    rows_per_page,
)
from assay_node.protocol.ids import Digest

Source = random.Random
"""What draws rows: a `SystemRandom` where a provider must not foresee them."""

_SECURE: Final = random.SystemRandom()


def questions(
    round_id: Digest, parts: Sequence[ProofPart], *, rows: int = ROWS_OPENED, draw: Source = _SECURE
) -> Iterator[tuple[ProofPart, ProofQuestion]]:
    """Yield every question of a round, each with the part it is about.

    Products take turns, in random order: with no more than `rows` of them, each is looked into, so
    whoever skips one is found whatever the luck. Rows are uniform and may repeat.
    """
    assert rows >= ROWS_OPENED_MIN, "fewer rows let a 90 % worker pass too often"
    for number, part in enumerate(parts):
        turns = draw.sample(range(part.works), k=min(part.works, rows))
        works = [turns[index % len(turns)] for index in range(rows)]
        chosen = [draw.randrange(part.size) for _ in range(rows)]
        page = rows_per_page(part)
        for first in range(0, rows, page):
            yield (
                part,
                ProofQuestion(
                    round=round_id,
                    part=number,
                    works=tuple(works[first : first + page]),
                    rows=tuple(chosen[first : first + page]),
                ),
            )
