"""The words by which an entry is found: those of its texts, and tokens for what they name.

`ledger/query.py` asks for the same words and tokens.

| token         | for                                              |
|---------------|--------------------------------------------------|
| `zqc` CONCEPT | a place, drug or country, however it is written   |
| `zqt` DIGITS  | a phone                                           |
| `zqp` PLATE   | a plate                                           |
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger.folding import coarse, fold, words_of
from ledger.gazetteer import concept_token, concepts
from ledger.selectors import phones, plates, worth_a_look

_CHARS_MAX: Final = 64  # of a word or a text that is remembered
_WORDS_MAX: Final = 1 << 15
_TEXTS_MAX: Final = 1 << 13


class _Coarse(dict[str, str]):
    """Word -> its coarse form, empty where that is the word; filled as words come, since they come again."""

    def __missing__(self, word: str) -> str:
        form = coarse(word)
        form = "" if form == word else form
        if len(word) <= _CHARS_MAX:
            if len(self) >= _WORDS_MAX:
                self.clear()
            self[word] = form
        return form


_COARSE: Final = _Coarse()
_NEITHER: Final[set[str]] = set()  # short texts in which no phone and no plate stands


class Said(NamedTuple):
    """What an entry says: its texts, and the codes of regions and substances by which it is found beside them."""

    texts: Sequence[str]
    codes: Sequence[str] = ()


def index_words(entries: Sequence[Said]) -> list[tuple[str, str]]:
    """What is put into the index for each entry: (exact words, coarse words).

    The exact words end with tokens for the places, drugs, phones and plates that the texts name. Each step is taken
    for all entries before the next, since code that stays in the processor's cache runs faster by a third. Cost: about
    15 us for thirty words that came before.
    """
    folded = [fold(" ".join(said.texts)) for said in entries]
    words = list(map(words_of, folded))
    named = list(map(concepts, words))
    tokens = [
        [concept_token(concept) for concept in dict.fromkeys((*found, *said.codes))]
        for found, said in zip(named, entries, strict=True)
    ]
    looked_at = [
        " ; ".join([text for text in said.texts if text not in _NEITHER and _worth_a_look(text)]) for said in entries
    ]
    for text, found in zip(looked_at, tokens, strict=True):
        if text:
            found += [f"zqt{phone[1:]}" for phone in phones(text)]
            found += [f"zqp{plate.lower()}" for plate in plates(text)]
    exact = [" ".join([text, *found]) for text, found in zip(folded, tokens, strict=True)]
    rough = [dict.fromkeys(map(_COARSE.__getitem__, filter(str.isalpha, found))) for found in words]
    return [(text, " ".join(filter(None, forms))) for text, forms in zip(exact, rough, strict=True)]


def _worth_a_look(text: str) -> bool:
    if worth_a_look(text):
        return True
    if len(text) <= _CHARS_MAX:
        if len(_NEITHER) >= _TEXTS_MAX:
            _NEITHER.clear()
        _NEITHER.add(text)
    return False
