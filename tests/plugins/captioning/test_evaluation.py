"""The protocol of captioning, with a model whose captions are written down."""

import json
from pathlib import Path

import pytest
from mmbridge_captioning import CaptioningOptions, build_captioning
from mmbridge_captioning.evaluation import of_domain
from mmbridge_captioning.scores import cider_d
from mmbridge_captioning.tokens import words
from mmbridge_coco import NocapsOptions, build_nocaps
from mmbridge_registry import Generation, Record, UserError
from mmbridge_registry.testing.evaluation import check_evaluation
from toys.annotation_files import write, write_images

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
    asked = "prompt 'a photo of', 5 beams, length penalty 1, 8 to 30 new tokens; captions as written"
    assert f"60 images, 300 captions by people; {asked}" in evaluated.protocol


def test_the_best_and_the_worst_are_shown_with_their_scores():
    evaluated, _ = evaluate(records())
    scores = {line["caption"]: line["cider_d"] for line in evaluated.predictions}
    assert [example.picked for example in evaluated.examples] == ["best"] * 4 + ["random"] * 4 + ["worst"] * 4
    assert all(example.score == scores[example.output] for example in evaluated.examples)
    said = [example.score for example in evaluated.examples]
    assert said[:4] == sorted(scores.values(), reverse=True)[:4] and said[8:] == sorted(scores.values())[:4]


def test_predictions_are_a_coco_result_file_with_truth_and_score():
    evaluated, model = evaluate(records(domains=("in-domain", None)))
    lines = json.loads(json.dumps(evaluated.predictions))
    assert [line["image_id"] for line in lines] == list(range(60))
    assert [line["caption"] for line in lines] == model.captions
    assert [line["references"] for line in lines] == [item["references"] for item in ITEMS]
    assert lines[0]["domain"] == "in-domain" and "domain" not in lines[1]
    mean = sum(line["cider_d"] for line in lines) / 60
    assert mean == pytest.approx(evaluated.metrics["cider_d"].value, abs=1e-12)


def test_records_without_ids_go_by_their_names():
    dataset = [Record(b"0", texts=("a dog",), name="a.jpg"), Record(b"1", texts=("a cat",), name="b.jpg")]
    assert [line["image_id"] for line in evaluate(dataset)[0].predictions] == ["a.jpg", "b.jpg"]


def test_spice_of_a_domain_is_the_mean_over_its_images():
    texts = [("a", "dog"), ("a", "cat"), ("a", "cow")]
    metrics = of_domain("near_domain", [0, 2], texts, [[text] for text in texts], {"spice": [0.5, 0.1, 0.0]})
    assert (metrics["spice_near_domain"].value, metrics["spice_near_domain"].n) == (0.25, 2)


def test_a_nocaps_file_gives_its_three_domains_and_all_of_them(tmp_path: Path):
    domains = ("in-domain", "near-domain", "out-domain")
    images = [
        {
            "id": number, "file_name": f"{number:04x}.jpg", "open_images_id": f"{number:04x}", "width": 8, "height": 8,
            "coco_url": f"https://s3.amazonaws.com/nocaps/val/{number:04x}.jpg", "date_captured": "2018-11-06",
            "license": 0, "domain": domains[number % 3],
        }
        for number in range(30)
    ]  # fmt: skip
    captions = [
        {"id": 10 * number + place, "image_id": number, "caption": ITEMS[number]["references"][place % 5]}
        for number in range(30)
        for place in range(10)
    ]
    head = {"info": {"description": "nocaps"}, "licenses": [{"id": 0, "name": "CC BY 2.0"}]}
    file = write(tmp_path / "nocaps_val.json", head | {"images": images, "annotations": captions})
    folder = write_images(tmp_path / "val", [image["file_name"] for image in images])

    class ByName(Scripted):
        def caption(self, images, prompt, generation):
            return [self.captions[int(Path(image).stem, 16)] for image in images]

    dataset = build_nocaps(NocapsOptions(annotations=file, images=folder))
    found = build_captioning(CaptioningOptions()).evaluate(ByName([item["candidate"] for item in ITEMS]), dataset)
    said, written = [words(item["candidate"]) for item in ITEMS], [[*map(words, item["references"])] for item in ITEMS]
    for first, step, name in ((0, 3, "_in_domain"), (1, 3, "_near_domain"), (2, 3, "_out_domain"), (0, 1, "")):
        scores = cider_d(said[first:30:step], [texts * 2 for texts in written[first:30:step]])
        metric = found.metrics[f"cider_d{name}"]
        assert (metric.value, metric.n) == (pytest.approx(sum(scores) / len(scores), abs=1e-12), 30 // step)
    assert [line["domain"] for line in found.predictions] == list(domains) * 10


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
