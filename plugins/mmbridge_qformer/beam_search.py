"""Beam search as published BLIP-2 captions were made (transformers 4.33: the start token counts in a text's length)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from mmbridge_registry import Generation
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmbridge_qformer.draft import Draft, adjust
from mmbridge_qformer.image_state import QFormerImages

if TYPE_CHECKING:
    from mmbridge_qformer.qformer import QFormer

Step = tuple[float, int, int]
"""How a beam goes on: sum of log-probabilities, which beam it continues, by which token."""


@dataclass
class Finished:
    """The best finished texts of one image, best first; a text's score is its sum over length ** penalty."""

    beams: int
    end: int
    penalty: float
    texts: list[tuple[float, Tensor]] = field(default_factory=list)
    done: bool = False

    def keep(self, total: float, text: Tensor, ending: int) -> None:
        """Keep a text ([DEC] first) if it is among the best; its end, if it has one, does not count as length."""
        score = total / len(text) ** self.penalty
        self.texts.append((score, torch.cat([text[1:], text.new_full((ending,), self.end)])))
        self.texts = sorted(self.texts, key=lambda entry: -entry[0])[: self.beams]

    def choose(self, steps: list[Step], ids: Tensor) -> list[Step]:
        """Given the 2 x beams best next steps of this image's texts `ids`, keep the ends and give those that go on."""
        for total, beam, token in steps[: self.beams]:
            if token == self.end and not self.done:
                self.keep(total, ids[beam], ending=1)
        attainable = steps[0][0] / (ids.shape[1] + 1) ** self.penalty
        self.done |= len(self.texts) == self.beams and self.texts[-1][0] >= attainable
        return [step for step in steps if step[2] != self.end][: self.beams]


def search(bridge: "QFormer", image: QFormerImages, generation: Generation) -> Tensor:
    """Write the new tokens [B,L] of each image's best text, [SEP] included, padded on the right."""
    beams, end, device = generation.beams, bridge.tokenizer.end, bridge.queries.device
    first = torch.arange(len(image), device=device)
    draft = Draft(bridge, image.select(first.repeat_interleave(beams)))
    finished = [Finished(beams, end, generation.length_penalty) for _ in first]
    # All beams of an image begin alike, so only the first may spread.
    totals = torch.full((len(image), beams), -1e9, device=device, dtype=bridge.queries.dtype)
    totals[:, 0] = 0
    for _ in range(generation.max_new_tokens):
        chances = adjust(draft.scores().log_softmax(-1), draft.ids, end, generation)
        steps = _best_steps(chances.unflatten(0, (-1, beams)) + totals[..., None])
        written = draft.ids.split(beams)
        chosen = [one.choose(row, ids) for one, row, ids in zip(finished, steps, written, strict=True)]
        totals = torch.tensor([[total for total, _, _ in row] for row in chosen], device=device, dtype=totals.dtype)
        moves = torch.tensor([[move for _, *move in row] for row in chosen], device=device)
        draft.go_on(moves[..., 1].flatten(), (moves[..., 0] + first[:, None] * beams).flatten())
        if all(one.done for one in finished):
            break
    for one, row, texts in zip(finished, totals.tolist(), draft.ids.split(beams), strict=True):
        for total, text in zip(row, texts, strict=True):
            if not one.done:
                one.keep(total, text, ending=0)
    return pad_sequence([one.texts[0][1] for one in finished], True, bridge.tokenizer.padding)


def _best_steps(totals: Tensor) -> list[list[Step]]:
    """Find the 2 x beams best next steps of every image from sums [B,beams,V], best first."""
    words = totals.shape[-1]
    best, place = totals.flatten(1).topk(2 * totals.shape[1])
    beam, token = place // words, place % words
    columns = zip(best.tolist(), beam.tolist(), token.tolist(), strict=True)
    return [list(zip(*column, strict=True)) for column in columns]
