"""Answers in their dictionary form: how BLIP-2's numbers of OK-VQA were made, whose answers by people are stems."""

from collections.abc import Iterable

import spacy  # pyright: ignore[reportMissingImports]
from mmbridge_registry import UserError

MODEL = "en_core_web_sm"
LEMMATISED = frozenset({"NOUN", "VERB"})


class Lemmas:
    """Nouns and verbs by their lemmas; all that spaCy divides apart is joined by blanks.

    Raises:
        UserError: spaCy's English model is not installed.
    """

    def __init__(self) -> None:
        try:
            self.read = spacy.load(MODEL)
        except OSError as error:
            do = f"Run `python -m spacy download {MODEL}`, or leave `lemmatise` out of the evaluation's options."
            raise UserError(f"spaCy's model {MODEL} cannot be loaded.", do=do) from error

    def __call__(self, answers: Iterable[str]) -> list[str]:
        """Give each answer lemmatised."""
        return [
            " ".join(word.lemma_ if word.pos_ in LEMMATISED else word.text for word in words)
            for words in self.read.pipe(answers)
        ]
