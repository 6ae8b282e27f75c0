"""Folding words so that they meet: case, apostrophes, and Uzbek in Latin and Cyrillic letters.

`fold("Қашқадарё")` and `fold("Qashqadaryo")` are equal. The rules are those of the Uzbek alphabets; Russian words
fold by the same letters, so a Russian name finds itself however it is typed, but not its Uzbek form.
"""

import re
from typing import Final
from unicodedata import normalize

_APOSTROPHES: Final = dict.fromkeys(map(ord, "'\u2018\u2019\u02bb\u02bc`\u00b4\u02bd"), None)  # one letter: left out
words_of: Final = re.compile(r"[^\W_]+").findall  # runs of letters and digits, as FTS5's unicode61 takes them
_CYRILLIC: Final = {
    "а": "a", "б": "b", "в": "v", "г": "g", "ғ": "g", "д": "d", "ё": "yo", "ж": "j", "з": "z", "и": "i", "й": "y",
    "к": "k", "қ": "q", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u",
    "ў": "o", "ф": "f", "х": "x", "ҳ": "h", "ц": "s", "ч": "ch", "ш": "sh", "щ": "sh", "ъ": "", "ы": "i", "ь": "",
    "э": "e", "ю": "yu", "я": "ya",
}  # fmt: skip
_CONFUSED: Final = (
    ("dzh", "j"), ("dj", "j"), ("zh", "j"), ("kh", "h"), ("gh", "g"), ("ph", "f"), ("ts", "s"), ("yo", "o"),
    ("ye", "e"), ("yu", "u"), ("ya", "a"), ("iy", "i"), ("ey", "e"), ("ay", "a"), ("oy", "o"), ("uy", "u"),
)  # fmt: skip
_COARSE: Final = str.maketrans({"x": "h", "q": "k", "w": "v", "o": "a", "y": "i", "c": "k"})
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
    """A coarser form of a word, for what writers confuse: kh, x and h; q and k; j and zh; o and a; doubled letters.

    `coarse(coarse(x)) == coarse(x)`. Cost: O(len).
    """
    word = fold(text)
    for pair, letter in _CONFUSED:
        word = word.replace(pair, letter)
    word = word.translate(_COARSE)
    return "".join(letter for at, letter in enumerate(word) if at == 0 or letter != word[at - 1])
