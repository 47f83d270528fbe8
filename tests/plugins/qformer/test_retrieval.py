"""The retrieval protocol through the whole path, with the goldens' Q-Former: scores of the original's evaluation."""

import pytest
import torch
from mmbridge_qformer import build_qformer
from mmbridge_qformer.lavis_names import state_from_lavis
from mmbridge_registry import Record
from mmbridge_retrieval import RetrievalOptions, build_retrieval
from torch.testing import assert_close
from toys.text_bridge import ToyEncoder

from mmbridge.inference import Model
from mmbridge.inference.listing import Prepared
from mmbridge.model import BridgedModel

FLOOR = {"rtol": 0, "atol": 2e-6}
"""The model computes in float64 and gives scores in float32; the original differs from itself by 2e-5 in logits."""
LONGEST = 24
"""Tokens of the longest caption, the third."""


class Through(ToyEncoder):
    """Gives on what it is given: features instead of pixels."""

    width = 48

    def forward(self, pixels):
        return pixels


@pytest.fixture
def scores(options, lavis_state, golden, captions):
    """Evaluate and put the predictions together: scores [image,text] and [text,image], -100 for no candidate."""

    def evaluate(text_length, **chosen):
        bridge = build_qformer(options.model_copy(update={"max_text_length": text_length}), 48).double()
        bridge.load_state_dict(state_from_lavis(lavis_state))
        model = BridgedModel(Through(), bridge)
        model.learned = {f"bridge.{name}" for name, _ in bridge.named_parameters()}
        records = [
            Record(Prepared(features), (text,), image_id=row)
            for row, (features, text) in enumerate(zip(golden["features"].double(), captions, strict=True))
        ]
        lines = build_retrieval(RetrievalOptions(**chosen)).evaluate(Model(model), records).predictions
        tables = torch.full((2, 6, 6), -100.0, dtype=torch.float64)
        for place, line in enumerate(lines):
            tables[place // 6, place % 6, line["found"]] = torch.tensor(line["scores"], dtype=torch.float64)
        return tables

    return evaluate


@pytest.fixture
def cosines(inference):
    """The original's cosines of whole captions."""
    texts = inference["text_embeds_proj.f64"][:, 0]
    return torch.einsum("iqc,jc->ijq", inference["image_embeds_proj.f64"], texts).amax(-1)


def test_re_ranked_scores_are_the_originals(scores, inference):
    to_text, to_image = scores(35, candidates=3)
    assert_close(to_text, inference["rerank_i2t.f64"], **FLOOR)
    assert_close(to_image, inference["rerank_t2i.f64"], **FLOOR)
    assert (inference["rerank_i2t.f64"] == -100).sum() == 18


def test_cosines_are_the_originals(scores, inference, cosines):
    for length, expected in ((35, cosines), (16, inference["itc.f64"])):
        to_text, to_image = scores(length, fusion="itc")
        assert_close(to_text, expected, **FLOOR)
        assert_close(to_image, expected.T, **FLOOR)


def test_match_logits_alone_are_what_the_original_adds_to_cosines(scores, inference, cosines):
    to_text, to_image = scores(35, candidates=3, fusion="itm")
    for ours, theirs, itc in ((to_text, "rerank_i2t.f64", cosines), (to_image, "rerank_t2i.f64", cosines.T)):
        seen = inference[theirs] > -100
        assert_close(ours[seen], inference[theirs][seen] - itc[seen], **FLOOR)
        assert (ours[~seen] == -100).all()
    assert_close(scores(16, fusion="itm")[0], inference["itm_logits.f64"][..., 1], **FLOOR)


@pytest.mark.parametrize("fusion", ["itc", "itm", "sum"])
def test_only_texts_that_are_cut_have_other_scores(scores, fusion):
    whole, cut = scores(35, fusion=fusion)[0], scores(16, fusion=fusion)[0]
    others = [0, 1, 3, 4, 5]
    assert_close(cut[:, others], whole[:, others], **FLOOR)
    assert (cut[:, 2] - whole[:, 2]).abs().min() > 1e-3
    assert_close(scores(LONGEST, fusion=fusion)[0], whole, rtol=0, atol=0)
    assert not scores(LONGEST - 1, fusion=fusion)[0].equal(whole)
