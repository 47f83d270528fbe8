"""Captions by the Q-Former itself (BLIP-2's image-grounded text generation, used at inference)."""

from typing import TYPE_CHECKING

import torch
from mmbridge_registry import Generation, UserError
from torch import Tensor

from mmbridge_qformer.beam_search import search
from mmbridge_qformer.draft import Draft, adjust, draw
from mmbridge_qformer.image_state import QFormerImages

if TYPE_CHECKING:
    from mmbridge_qformer.qformer import QFormer


def write(bridge: "QFormer", image: QFormerImages, generation: Generation) -> Tensor:
    """Write the new tokens [B,L] of one text per image, [SEP] included, padded on the right.

    Raises:
        UserError: the settings ask for more tokens than there are positions, or for sampled beams.
    """
    if generation.max_new_tokens > bridge.geometry.positions:
        raise UserError(
            f"{generation.max_new_tokens} new tokens do not fit {bridge.geometry.positions} positions.",
            where="generation.max_new_tokens",
            do="Ask for fewer.",
        )
    if generation.beams == 1:
        return _one_by_one(bridge, image, generation)
    if generation.sample:
        raise UserError("the Q-Former cannot sample with beams.", where="generation.beams", do="Set it to 1.")
    return search(bridge, image, generation)


def _one_by_one(bridge: "QFormer", image: QFormerImages, generation: Generation) -> Tensor:
    draft, end = Draft(bridge, image), bridge.tokenizer.end
    padding = torch.tensor(bridge.tokenizer.padding, device=draft.ids.device)
    unfinished = torch.ones(len(image), dtype=torch.bool, device=draft.ids.device)
    for _ in range(generation.max_new_tokens):
        scores = adjust(draft.scores(), draft.ids, end, generation)
        tokens = draw(scores, generation) if generation.sample else scores.argmax(-1)
        draft.go_on(tokens.where(unfinished, padding))
        unfinished &= tokens != end
        if not unfinished.any():
            break
    return draft.ids[:, 1:]
