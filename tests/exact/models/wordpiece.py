"""The tokenizer of BERT's uncased models: words, then their longest known pieces.

Text is cleaned of control characters, CJK characters stand alone, case and accents go, punctuation
is split off (Devlin et al., 2018, `BasicTokenizer` and `WordpieceTokenizer` of their code).
"""

import unicodedata
from collections.abc import Sequence

WORD_CHARACTERS_MAX = 100
"""Longer words count as unknown; the published settings say so."""

# Blocks of Chinese characters; the published tokenizer does not count kana or hangul.
_CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Turns text into token numbers, each the line of its piece in `vocab.txt`."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._number = {piece: number for number, piece in enumerate(pieces)}
        self._unknown = self._number["[UNK]"]
        self._first, self._last = self._number["[CLS]"], self._number["[SEP]"]

    def numbers(self, text: str) -> list[int]:
        """Return the tokens of a text between those of its start and end."""
        found = [number for word in words(text) for number in self._pieces(word)]
        return [self._first, *found, self._last]

    def _pieces(self, word: str) -> list[int]:
        """Return the longest piece that starts the word, then that of the rest, and so on."""
        if len(word) > WORD_CHARACTERS_MAX:
            return [self._unknown]
        pieces, start = [], 0
        while start < len(word):
            end, number = self._longest(word, start)
            if number is None:
                return [self._unknown]
            pieces.append(number)
            start = end
        return pieces

    def _longest(self, word: str, start: int) -> tuple[int, int | None]:
        prefix = "##" if start else ""
        for end in range(len(word), start, -1):
            number = self._number.get(prefix + word[start:end])
            if number is not None:
                return end, number
        return start, None


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, lower case and without accents."""
    spaced = "".join(_spaced(character) for character in text)
    plain = unicodedata.normalize("NFD", spaced.lower())
    plain = "".join(c for c in plain if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _is_punctuation(c) else c for c in plain).split()


def _spaced(character: str) -> str:
    """Return the character as cleaning leaves it: gone, a space, or set apart."""
    code = ord(character)
    if character in "\t\n\r" or unicodedata.category(character) == "Zs":
        return " "
    if code in (0, 0xFFFD) or unicodedata.category(character).startswith("C"):
        return ""
    if any(first <= code <= last for first, last in _CJK):
        return f" {character} "
    return character


def _is_punctuation(character: str) -> bool:
    """Every ASCII character that is no letter, digit or space counts, as `$` and `^`."""
    code = ord(character)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(character).startswith("P")
