"""Folding words so that they meet: case, apostrophes, and Uzbek in Latin and Cyrillic letters.

`fold("Қашқадарё")` and `fold("Qashqadaryo")` are equal. The rules are those of the Uzbek alphabets; Russian words
fold by the same letters, so a Russian name finds itself however it is typed, but not its Uzbek form.
"""

import re
from typing import Final
from unicodedata import normalize

_APOSTROPHES: Final = re.compile("['\u2018\u2019\u02bb\u02bc`\u02bd]")  # one letter: left out
_WORDS: Final = re.compile(r"[^\W_]+").findall
_APART: Final = bytes(at if chr(at).isalnum() else 32 for at in range(128)).ljust(256)  # what parts ASCII words
_CYRILLIC: Final = {
    "а": "a", "б": "b", "в": "v", "г": "g", "ғ": "g", "д": "d", "е": "e", "ё": "yo", "ж": "j", "з": "z", "и": "i",
    "й": "y", "к": "k", "қ": "q", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t",
    "у": "u", "ў": "o", "ф": "f", "х": "x", "ҳ": "h", "ц": "s", "ч": "ch", "ш": "sh", "щ": "sh", "ъ": "", "ы": "i",
    "ь": "", "э": "e", "ю": "yu", "я": "ya",
}  # fmt: skip
_STRESS: Final = dict.fromkeys(range(0x300, 0x370))  # marks that have no letter of their own to join, as in "Терме́з"
_LETTERS: Final = str.maketrans(_CYRILLIC) | _STRESS
_YE: Final = re.compile(r"(?<![^\W\d_аеёиоуўэюяыъь])е")  # at the start of a word and after a vowel or a sign
_PASSES_MAX: Final = 4  # one is enough for any text without rare marks
_CONFUSED: Final = (
    ("dzh", "j"), ("dj", "j"), ("zh", "j"), ("kh", "h"), ("gh", "g"), ("ph", "f"), ("ts", "s"), ("yo", "o"),
    ("ye", "e"), ("yu", "u"), ("ya", "a"), ("iy", "i"), ("ey", "e"), ("ay", "a"), ("oy", "o"), ("uy", "u"),
    ("ch", "C"),  # which stays ch: a lone c is a k
)  # fmt: skip
_COARSE: Final = str.maketrans({"x": "h", "q": "k", "w": "v", "o": "a", "y": "i", "c": "k", "C": "ch"})
_DOUBLED: Final = re.compile(r"(.)\1+", re.DOTALL)


def words_of(text: str) -> list[str]:
    """The runs of letters and digits in a text, as FTS5's unicode61 takes them. Cost: O(len)."""
    return text.encode().translate(_APART).decode().split() if text.isascii() else _WORDS(text)


def fold(text: str) -> str:
    """`text` as it is compared: lower-case Latin letters, digits and spaces as they came. Cost: O(len).

    `fold(fold(x)) == fold(x)`, and texts with a space between fold to what they fold to, with a space between.
    """
    if text.isascii():
        return text.lower().replace("'", "").replace("`", "")
    folded = _folded(text)
    for _ in range(_PASSES_MAX):  # letters of other scripts may join anew once what stood between them is left out
        if folded.isascii() or (again := _folded(folded)) == folded:
            break
        folded = again
    return folded


def _folded(text: str) -> str:
    spaced = text.replace("\u00b4", "'")  # which NFKC would make a space and a mark
    folded = _APOSTROPHES.sub("", normalize("NFKC", spaced).casefold())
    return folded if folded.isascii() else _YE.sub("ye", folded).translate(_LETTERS)


def coarse(text: str) -> str:
    """A coarser form of a word, for what writers confuse: kh, x and h; q and k; j and zh; o and a; doubled letters.

    `coarse(coarse(x)) == coarse(x)`. Cost: O(len), some three times over.
    """
    word, before = fold(text), ""
    while word != before:  # each pass shortens the word or is one of the last two
        before = word
        for pair, letter in _CONFUSED:
            word = word.replace(pair, letter)
        word = _DOUBLED.sub(r"\1", word.translate(_COARSE))
    return word
