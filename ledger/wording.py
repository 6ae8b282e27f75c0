"""The words by which an entry is found: those of its texts, and tokens for what they name.

`ledger/query.py` asks for the same words and tokens.

| token         | for                                              |
|---------------|--------------------------------------------------|
| `zqc` CONCEPT | a place, drug or country, however it is written   |
| `zqt` DIGITS  | a phone                                           |
| `zqp` PLATE   | a plate                                           |
"""

from collections.abc import Iterable, Sequence
from typing import Final

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


def index_texts(texts: Sequence[str], codes: Iterable[str] = ()) -> tuple[str, str]:
    """What is put into the index for an entry: (exact words, coarse words). codes: region and substance codes.

    The exact words end with tokens for the places, drugs, phones and plates that the texts name. Cost: about 15 us
    for thirty words that came before.
    """
    folded = fold(" ".join(texts))
    words = words_of(folded)
    tokens = [concept_token(concept) for concept in dict.fromkeys((*concepts(words), *codes))]
    looked_at = " ; ".join(text for text in texts if text not in _NEITHER and _worth_a_look(text))
    if looked_at:
        tokens += [f"zqt{phone[1:]}" for phone in phones(looked_at)]
        tokens += [f"zqp{plate.lower()}" for plate in plates(looked_at)]
    rough = dict.fromkeys(map(_COARSE.__getitem__, filter(str.isalpha, words)))
    rough.pop("", None)
    return " ".join([folded, *tokens]), " ".join(rough)


def _worth_a_look(text: str) -> bool:
    if worth_a_look(text):
        return True
    if len(text) <= _CHARS_MAX:
        if len(_NEITHER) >= _TEXTS_MAX:
            _NEITHER.clear()
        _NEITHER.add(text)
    return False
