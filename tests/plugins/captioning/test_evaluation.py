"""The protocol of captioning, with a model whose captions are written down."""

import json
from pathlib import Path

import pytest
from mmbridge_captioning import CaptioningOptions, build_captioning
from mmbridge_registry import Generation, Record, UserError
from mmbridge_registry.testing.evaluation import check_evaluation

REFERENCE = json.loads(Path(__file__).with_name("pycocoevalcap.json").read_text())
ITEMS = REFERENCE["items"][:60]


class Scripted:
    """A model that says what stands in a list; keeps what it was asked."""

    def __init__(self, captions):
        self.captions = captions

    def caption(self, images, prompt, generation):
        self.asked = (prompt, generation)
        return [self.captions[int(image)] for image in images]


def records(per_image=True, domains=(None,)):
    """Records of the items, one per image or one per caption."""
    for number, item in enumerate(ITEMS):
        facts = {"domain": domains[number % len(domains)]}
        texts = [tuple(item["references"])] if per_image else [(text,) for text in item["references"]]
        for each in texts:
            yield Record(str(number).encode(), texts=each, image_id=number, name=str(number), facts=facts)


def evaluate(dataset, captions=None, options=None):
    model = Scripted([item["candidate"] for item in ITEMS] if captions is None else captions)
    return build_captioning(options or CaptioningOptions()).evaluate(model, list(dataset)), model


def test_one_record_per_image_or_per_caption_is_the_same():
    assert evaluate(records())[0].metrics == evaluate(records(per_image=False))[0].metrics


def test_what_people_wrote_scores_high_and_chance_does_not():
    evaluated, _ = evaluate(records(), [item["references"][0] for item in ITEMS])
    metrics = evaluated.metrics
    assert metrics["bleu_4"].value > 0.99
    assert metrics["rouge_l"].value > 0.99
    assert metrics["cider_d"].value > 2 > 20 * metrics["cider_d"].chance
    assert metrics["cider_d"].interval[0] < metrics["cider_d"].value < metrics["cider_d"].interval[1]
    assert all(metric.n == len(ITEMS) for metric in metrics.values())


def test_domains_are_scored_each_by_itself():
    evaluated, _ = evaluate(records(domains=("in-domain", "out-domain")))
    alone, _ = evaluate([record for record in records(domains=("in-domain", "out-domain")) if record.image_id % 2 == 0])
    assert evaluated.metrics["cider_d_in_domain"] == alone.metrics["cider_d_in_domain"]
    assert evaluated.metrics["cider_d_in_domain"].value == alone.metrics["cider_d"].value
    assert "cider_d_near_domain" not in evaluated.metrics


def test_the_model_is_asked_as_the_options_say_and_the_protocol_tells():
    options = CaptioningOptions(prompt="a photo of", generation=Generation(beams=5, min_new_tokens=8))
    evaluated, model = evaluate(records(), options=options)
    assert model.asked == ("a photo of", options.generation)
    assert "60 images, 300 captions by people; prompt 'a photo of', 5 beams, 8 to 30 new tokens" in evaluated.protocol


def test_the_best_and_the_worst_are_shown():
    said = [example.output for example in evaluate(records())[0].examples]
    scores = {item["candidate"]: item["cider_d"] for item in ITEMS}
    assert len(said) == 12
    assert min(scores[text] for text in said[:4]) > max(scores[text] for text in said[-4:])


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([Record(b"0", name="empty"), Record(b"1", texts=("a dog",))], "record 'empty' has no caption"),
        ([Record(b"0", texts=("a dog",))], "at least two images"),
    ],
)
def test_what_cannot_be_scored_is_refused(dataset, message):
    with pytest.raises(UserError, match=message):
        evaluate(dataset)


def test_it_keeps_the_contract():
    check_evaluation(build_captioning(CaptioningOptions()), Scripted([i["candidate"] for i in ITEMS]), list(records()))
