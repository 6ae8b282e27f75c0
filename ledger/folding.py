"""Folding words so that they meet: case, apostrophes, and Uzbek in Latin and Cyrillic letters.

`fold("Қашқадарё")` and `fold("Qashqadaryo")` are equal. The rules are those of the Uzbek alphabets; Russian words
fold by the same letters, so a Russian name finds itself however it is typed, but not its Uzbek form.
"""

from typing import Final
from unicodedata import normalize

_APOSTROPHES: Final = dict.fromkeys(map(ord, "'\u2018\u2019\u02bb\u02bc`\u00b4\u02bd"), None)  # one letter: left out
_CYRILLIC: Final = {
    "а": "a", "б": "b", "в": "v", "г": "g", "ғ": "g", "д": "d", "ё": "yo", "ж": "j", "з": "z", "и": "i", "й": "y",
    "к": "k", "қ": "q", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u",
    "ў": "o", "ф": "f", "х": "x", "ҳ": "h", "ц": "s", "ч": "ch", "ш": "sh", "щ": "sh", "ъ": "", "ы": "i", "ь": "",
    "э": "e", "ю": "yu", "я": "ya",
}  # fmt: skip
_VOWELS: Final = frozenset("аеёиоуўэюяыъь")


def fold(text: str) -> str:
    """`text` as it is compared: lower-case Latin letters, digits and spaces as they came. Cost: O(len)."""
    folded = normalize("NFKC", text).casefold().translate(_APOSTROPHES)
    if folded.isascii():
        return folded
    letters: list[str] = []
    before = " "
    for letter in folded:
        if letter == "е":  # ye at the start of a word and after a vowel or a sign, e elsewhere
            letters.append("ye" if not before.isalpha() or before in _VOWELS else "e")
        else:
            letters.append(_CYRILLIC.get(letter, letter))
        before = letter
    return "".join(letters)


def coarse(text: str) -> str:
    """Provisional."""
    return fold(text).replace("x", "h").replace("q", "k")
