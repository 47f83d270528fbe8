"""What a user must know of an imported LAVIS file: what it does not hold, and what was put in its place."""

from collections.abc import Iterator, Sequence

import torch

from mmbridge_blip2.lavis.bridge import POSITION_IDS
from mmbridge_blip2.lavis.contents import ENCODER, TITLES, Contents, name_of_encoder
from mmbridge_blip2.lavis.model import BRIDGE_EPS, VOCABULARY, encoder_heads_of, heads_of, model_section
from mmbridge_blip2.lavis.tower import KEPT, NORM_EPS

LANGUAGE_MODELS = ("opt_model.", "t5_model.")


def notes_of(contents: Contents) -> Iterator[str]:
    """Write a sentence or two about each thing that a tensor does not tell."""
    yield from _text_branch(contents)
    yield from _constants(contents)
    yield from _heads(contents)
    yield from _vision_encoder(contents)
    yield from _language_model(contents)
    yield from _left_over(contents)


def _text_branch(contents: Contents) -> Iterator[str]:
    missing, sizes = contents.missing, contents.sizes
    if not contents.has_text:
        yield (
            "The text branch (text networks, word and position tables, heads, temperature) is not in it: LAVIS deletes"
            " it before stage 2. Here it is new, so matching, retrieval and stage 1 cannot go on from this file."
        )
    elif missing:
        yield f"Of the text branch, {_some(missing)} are not in it, and new here."
    if sizes.vocabulary not in {None, VOCABULARY}:
        yield (
            f"Its vocabulary of {sizes.vocabulary} is not bert-base-uncased with [DEC]: set model.bridge.tokenizer to"
            " the folder of its tokenizer before texts are read."
        )


def _constants(contents: Contents) -> Iterator[str]:
    if not BRIDGE_EPS.keys() <= contents.file.settings.keys():
        yield (
            "Epsilons are in no tensor; these are the constants of LAVIS' code:"
            f" {BRIDGE_EPS['norm_eps']} in the Q-Former, {BRIDGE_EPS['image_norm_eps']} over the encoder's features,"
            f" {NORM_EPS['eva']} inside ViT-g, {NORM_EPS['clip']} inside CLIP."
        )
    dtypes = {tensor.dtype for tensor in (*contents.bridge.values(), *contents.projection.values())}
    if dtypes != {torch.float32}:
        yield f"The Q-Former is stored in {_names(dtypes)}; here it is float32."


def _heads(contents: Contents) -> Iterator[str]:
    """Tell which numbers of heads are assumed; those of LAVIS' own sizes are known."""
    width, settings = contents.sizes.width, contents.file.settings
    if width != 768 and "heads" not in settings:
        heads = heads_of(contents)
        assumed = f"{heads} of width 64, as in BERT, are assumed" if heads else f"64, BERT's, does not divide {width}"
        yield f"The Q-Former's heads are in no tensor: {assumed}; model.bridge.heads sets them."
    encoder = contents.encoder_sizes
    if encoder and encoder.width not in KEPT and "encoder_heads" not in settings:
        heads = encoder_heads_of(contents, encoder)
        assumed = f"{heads}, as wide as in LAVIS' encoder" if heads else "one (LAVIS' width does not divide its own)"
        yield f"The encoder's heads are in no tensor: {assumed}, assumed in the config beside its weights."


def _vision_encoder(contents: Contents) -> Iterator[str]:
    section, width = model_section(contents)["vision_encoder"], contents.sizes.encoder_width
    if contents.encoder:
        dtypes = {tensor.dtype for tensor in contents.encoder.values()}
        if len(dtypes) > 1:
            yield f"The encoder is stored in {_names(dtypes)}; here all of it is {section['dtype']}."
    elif section["weights"]:
        yield (
            f"The encoder was frozen and is not in it: for LAVIS' {name_of_encoder(width)} stands"
            f" {section['weights']}, in {section['dtype']} as there."
        )
    else:
        yield f"The encoder is not in it, and LAVIS has none of width {width}: set model.vision_encoder."


def _language_model(contents: Contents) -> Iterator[str]:
    section = model_section(contents).get("language_model")
    if section is None or contents.language_model is None:
        return
    title, width = TITLES[contents.language_model], len(contents.projection["weight"])
    if section["weights"]:
        yield (
            f"The language model was frozen and is not in it: {section['weights']}, told by the projection's width"
            f" {width}, in {section['dtype']} as in LAVIS."
        )
    else:
        yield f"The language model is not in it, and LAVIS has no {title} of width {width}: set model.language_model."


def _left_over(contents: Contents) -> Iterator[str]:
    unused = set(contents.unused) - {POSITION_IDS}
    if POSITION_IDS in contents.unused:
        yield f"{POSITION_IDS} only counts from 0 and is left out."
    if trained := sorted(name for name in unused if name.startswith(LANGUAGE_MODELS)):
        yield (
            f"It holds a language model ({_some(trained)}), as LAVIS' own files never do. It is not read: if it was"
            " trained, this model is another."
        )
    if surplus := sorted(name for name in unused if name.startswith(ENCODER)):
        yield f"LAVIS' encoder ends before {_some(surplus)}: left out, as there."
    if unknown := sorted(unused.difference(trained, surplus)):
        yield f"LAVIS' BLIP-2 has no {_some(unknown)}: left out, as there."
    if contents.file.rest:
        yield f"Beside the weights it holds {', '.join(contents.file.rest)}: not read."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _names(dtypes: set[torch.dtype]) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
