"""A model that ranks ask together: each answers some rows, all get all answers, and none is asked for twice.

Rows go in slices of a few batches, the same ones on any number of ranks and after any interruption. So are the batches
in them, and torch's random state before each: the answers do not depend on who gives them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmbridge_registry import Generation, Matched, UserError
from mmbridge_registry.language_model import IMAGE
from torch import Tensor

from mmbridge.asked.answers import Answers, from_bytes, joined, to_bytes
from mmbridge.asked.journal import Journal
from mmbridge.collectives import Collectives
from mmbridge.decoding import ANSWER, CAPTION
from mmbridge.inference import Model
from mmbridge.inference.encoded import EncodedFeatures
from mmbridge.inference.listing import Images, Picture, listed

BATCHES = 4
"""Batches of a slice. While one is computed the next is decoded, so a few are better than one."""
PAIRS = 4096
"""Pairs of images and texts that are matched between two looks at the signals."""

Text = str | Sequence[str]


class SharedModel:
    """A `VisionLanguage` whose every call is divided over ranks; all ranks make the same calls in the same order."""

    def __init__(
        self,
        model: Model,
        collectives: Collectives,
        journal: Journal,
        between: Callable[[], None] = lambda: None,
        divided: bool = True,
    ) -> None:
        """Ask `model`; call `between` after every part, on all ranks at once.

        With `divided` False every rank answers everything: a model in shards can do nothing alone.
        """
        self.model, self.collectives, self.journal, self.between = model, collectives, journal, between
        self.divided = divided
        self.slice = BATCHES * model.batch_size

    def caption(
        self, images: Images, prompt: Text = CAPTION.prompt, generation: Generation = CAPTION.generation
    ) -> list[str]:
        """See `VisionLanguage`, here and below."""
        images = listed(images)
        return self.rows(
            ["caption", prompt, generation.model_dump()],
            len(images),
            lambda rows: self.model.caption(_at(images, rows), _at(prompt, rows), generation),
        )

    def answer(
        self,
        images: Images,
        questions: Text | None = None,
        prompt: Text = ANSWER.prompt,
        generation: Generation = ANSWER.generation,
    ) -> list[str]:
        images = listed(images)
        if IMAGE in prompt or any(IMAGE in one for one in prompt):
            raise UserError("prompts with several images are not asked as questions here.", do="Use `complete`.")
        return self.rows(
            ["answer", questions, prompt, generation.model_dump()],
            len(images),
            lambda rows: self.model.answer(_at(images, rows), _at(questions, rows), _at(prompt, rows), generation),
        )

    def complete(
        self, images: Sequence[Images], prompts: Sequence[str], generation: Generation = CAPTION.generation
    ) -> list[str]:
        return self.rows(
            ["complete", prompts, generation.model_dump()],
            len(prompts),
            lambda rows: self.model.complete(_at(images, rows), _at(prompts, rows), generation),
        )

    def rank(
        self, images: Images, questions: Text | None, candidates: Sequence[Text], prompt: Text = ANSWER.prompt
    ) -> list[list[float]]:
        images, for_all = listed(images), all(isinstance(text, str) for text in candidates)
        return self.rows(
            ["rank", questions, candidates, prompt],
            len(images),
            lambda rows: self.model.rank(
                _at(images, rows),
                _at(questions, rows),
                candidates if for_all else _at(candidates, rows),  # type: ignore[arg-type]
                _at(prompt, rows),
            ),
        )

    def match(self, images: Images, texts: Sequence[str]) -> Matched:
        images = listed(images)
        both = self.rows(
            ["match", texts],
            len(images),
            lambda rows: torch.stack(self.model.match(_at(images, rows), _at(texts, rows)), 1),
        )
        return Matched(*both.unbind(1))

    def likelihood(self, images: Images, texts: Sequence[str]) -> Tensor:
        images = listed(images)
        return self.rows(
            ["likelihood", texts],
            len(images),
            lambda rows: self.model.likelihood(_at(images, rows), _at(texts, rows)),
        )

    def embed_images(self, images: Images) -> Tensor:
        return self.encode(images).embed()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.rows(["embed_texts", texts], len(texts), lambda rows: self.model.embed_texts(_at(texts, rows)))

    def encode(self, images: Images) -> "SharedImages":
        return SharedImages(self, listed(images))

    def rows(self, asked: Any, count: int, answer: Callable[[Sequence[int]], Any]) -> Any:
        """Divide rows into slices and have them answered; a slice is its owner's, by turns."""
        slices = [range(first, min(first + self.slice, count)) for first in range(0, count, self.slice)]
        return self.parts([count, *asked], slices, list(range(len(slices))), answer)

    def parts(
        self, asked: Any, parts: Sequence[Sequence[int]], turns: Sequence[int], answer: Callable[[Sequence[int]], Any]
    ) -> Any:
        """Have parts answered, each a list of rows, by the ranks whose turn it is; give the answers by row."""
        call = self.journal.begin([*asked, self.slice, PAIRS])
        known = self._known([call.read(part) for part in range(len(parts))])
        for round_ in self._rounds([part for part in range(len(parts)) if part not in known], turns):
            mine = round_.get(self.collectives.rank)
            own = b"" if mine is None else self._answered(parts[mine], mine, answer)
            everybodys = self.collectives.gather_bytes(own) if self.divided else [own] * self.collectives.world_size
            answered = {part: everybodys[rank] for rank, part in round_.items()}
            for part, answers in answered.items():
                call.write(part, answers)
            known |= answered
            self.between()
        answers = [from_bytes(known[part]) for part in range(len(parts))]
        return joined(answers, parts) if parts else answer([])

    def _answered(self, rows: Sequence[int], part: int, answer: Callable[[Sequence[int]], Answers]) -> bytes:
        torch.manual_seed(part)
        return to_bytes(answer(rows))

    def _rounds(self, parts: Sequence[int], turns: Sequence[int]) -> list[dict[int, int]]:
        """Say which part each rank answers in each round; with several ranks some may have none in the last ones."""
        ranks = range(self.collectives.world_size)
        if not self.divided:
            return [dict.fromkeys(ranks, part) for part in parts]
        queues = [[part for part in parts if turns[part] % len(ranks) == rank] for rank in ranks]
        longest = max(map(len, queues))
        return [{rank: queue[at] for rank, queue in enumerate(queues) if at < len(queue)} for at in range(longest)]

    def _known(self, found: Sequence[bytes | None]) -> dict[int, bytes]:
        """Keep the parts that every rank has found in the journal: who computes them must be agreed on."""
        everywhere = self.collectives.tally(*(int(part is not None) for part in found)) if found else []
        ranks = self.collectives.world_size
        return {i: part for i, part in enumerate(found) if part is not None and everywhere[i] == ranks}


class SharedImages:
    """Images of which each rank encodes its own slices, once, when first asked for them."""

    def __init__(self, shared: SharedModel, images: Sequence[Picture]) -> None:
        self.shared, self.images = shared, images
        self.encoded: dict[int, EncodedFeatures] = {}

    def __len__(self) -> int:
        return len(self.images)

    def embed(self) -> Tensor:
        """L2-normalised query embeddings [n,Q,C]."""
        return self.shared.rows(["embed_images"], len(self), lambda rows: self._slice(rows[0] if rows else 0).embed())

    def match(self, rows: Tensor, texts: Sequence[str]) -> Tensor:
        """ITM logits [m,2] of the pairs (image `rows[i]`, `texts[i]`), each answered where its image is encoded."""
        size, image_of = self.shared.slice, rows.tolist()
        by_slice: dict[int, list[int]] = {}
        for pair, image in enumerate(image_of):
            by_slice.setdefault(image // size, []).append(pair)
        parts = [pairs[at : at + PAIRS] for pairs in by_slice.values() for at in range(0, len(pairs), PAIRS)]

        def answer(pairs: Sequence[int]) -> Tensor:
            if not pairs:
                return torch.empty(0, 2)
            first = image_of[pairs[0]] // size * size
            places = torch.tensor([image_of[pair] - first for pair in pairs], dtype=torch.long)
            return self._slice(first).match(places, _at(texts, pairs))

        asked = ["match_encoded", len(self), image_of, list(texts)]
        return self.shared.parts(asked, parts, [image_of[pairs[0]] // size for pairs in parts], answer)

    def _slice(self, first: int) -> EncodedFeatures:
        if first not in self.encoded:
            self.encoded[first] = self.shared.model.encode(self.images[first : first + self.shared.slice])
        return self.encoded[first]


def _at(items: Any, rows: Sequence[int]) -> Any:
    """Pick the items of some rows; a lone text (or none) holds for all."""
    return items if items is None or isinstance(items, str) else [items[row] for row in rows]
