"""Inference: images and texts in, words and scores out.

`model` is what users hold: it is `writing` and `comparing`. `reading` brings images to the encoder, a batch ahead;
`listing` and `prompting` say what belongs together, `interleaved` puts it there; `learned` refuses what nobody trained.
"""

from mmbridge.decoding import ANSWER
from mmbridge.inference.comparing import Found
from mmbridge.inference.model import Model
from mmbridge.inference.reading import Answered

QUESTION = ANSWER.prompt
"""How BLIP-2 asks (section 4.1)."""

__all__ = ["QUESTION", "Answered", "Found", "Model"]
