"""The kinds of parts, and the traits by which parts say that they fit together."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of part and the signature its builders have."""

    name: str
    title: str
    builder: str


VISION_ENCODER = Kind("vision_encoder", "vision encoder", "build(options) -> VisionEncoder")
BRIDGE = Kind("bridge", "bridge", "build(options, encoder_width) -> Bridge")
LANGUAGE_MODEL = Kind("language_model", "language model", "build(options) -> LanguageModel")
OBJECTIVE = Kind("objective", "objective", "build(options) -> Objective")
DATASET = Kind("dataset", "dataset", "build(options) -> Dataset")
EVALUATION = Kind("evaluation", "evaluation", "build(options) -> Evaluation")
FORMAT = Kind("format", "checkpoint format", "build(options) -> Format")
TRACKER = Kind("tracker", "tracker", "build(options) -> Tracker")
CAPTIONER = Kind("captioner", "captioner", "build(options, load, device) -> Captioner")
SCORER = Kind("scorer", "scorer", "build(options, load, device) -> Scorer")

KINDS = (VISION_ENCODER, BRIDGE, LANGUAGE_MODEL, OBJECTIVE, DATASET, EVALUATION, FORMAT, TRACKER, CAPTIONER, SCORER)

# Traits. A part provides some and requires some; both are known before torch is imported, so that `validate` can say
# that an objective does not fit a model in well under a second.
TEXT_BRIDGE = "text_bridge"
"""The bridge reads text as well: it is a `TextBridge`."""
DECODER = "decoder"
"""The language model is a decoder: it continues [soft prompt][text]."""
ENCODER_DECODER = "encoder_decoder"
"""The language model reads [soft prompt][prefix] in its encoder and writes the rest."""
GENERATES = "generates"
"""The model writes text: there is a language model of either kind."""

TRAITS = {
    TEXT_BRIDGE: "a bridge that reads text (a TextBridge such as `qformer`)",
    DECODER: "a decoder language model (such as `opt`)",
    ENCODER_DECODER: "an encoder-decoder language model (such as `flan_t5`)",
    GENERATES: "a language model",
}
