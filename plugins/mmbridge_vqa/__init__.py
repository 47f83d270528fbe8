"""Questions about photographs: VQAv2, OK-VQA and GQA."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmbridge_registry import (
    DATASET,
    EVALUATION,
    GENERATES,
    AnnotationFile,
    Catalog,
    Dataset,
    Generation,
    Options,
    hookimpl,
)

from mmbridge_vqa.sources import PUBLISHED

if TYPE_CHECKING:
    from mmbridge_registry import Evaluation


class VqaOptions(Options):
    """Options of `vqa`."""

    questions: AnnotationFile
    """`v2_OpenEnded_mscoco_val2014_questions.json` of VQAv2, `OpenEnded_mscoco_val2014_questions.json` of OK-VQA."""
    answers: AnnotationFile | None = None
    """The annotations that belong to them, `v2_mscoco_val2014_annotations.json` or `mscoco_val2014_annotations.json`;
    without it (test splits) the questions have no answers: they can be asked, not trained on."""
    images: Path
    """COCO's folder, the one that holds `train2014/`, `val2014/` and `test2015/`, or one of these."""


class GqaOptions(Options):
    """Options of `gqa`."""

    questions: AnnotationFile
    """`train_balanced_questions.json` and the like; those of test splits have no answers."""
    images: Path
    """Folder of the images, `<imageId>.jpg`."""


class VqaAccuracyOptions(Options):
    """Questions answered in a few words, scored against what people answered."""

    prompt: str = "Question: {} Short answer:"
    """What the answer goes on after; {} is the question."""
    generation: Generation = Generation(beams=5, max_new_tokens=10, min_new_tokens=1, length_penalty=-1.0)
    """How answers are decoded: by default as the published numbers were made."""
    rules: Literal["official", "lavis", "exact"] = "official"
    """`official` is VQAv2's evaluator since March 2021; `lavis` the one before, which BLIP-2's VQAv2 and OK-VQA
    numbers come from; `exact` compares one true answer, as for GQA."""
    lemmatise: bool = False
    """Nouns and verbs of the model's answers by their lemmas, as BLIP-2's OK-VQA numbers have them; needs
    `mmbridge[lemmatise]` and spaCy's `en_core_web_sm`."""


def build_vqa(options: VqaOptions) -> Dataset:
    """Open VQAv2 or OK-VQA: all ten answers in `answers`; `facts` hold ids, types and OK-VQA's raw answers."""
    from mmbridge_vqa.vqa import open_vqa

    return open_vqa(options)


def build_gqa(options: GqaOptions) -> Dataset:
    """Open GQA; `facts` hold each question's id, full answer and types."""
    from mmbridge_vqa.gqa import open_gqa

    return open_gqa(options)


def build_vqa_accuracy(options: VqaAccuracyOptions) -> "Evaluation":
    """Build the evaluation.

    Raises:
        UserError: answers are to be lemmatised, and spaCy or its model is not installed.
    """
    from mmbridge_vqa.evaluation import VqaAccuracy

    return VqaAccuracy(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "vqa", VqaOptions, build_vqa)
    catalog.offer(DATASET, "gqa", GqaOptions, build_gqa)
    catalog.offer(EVALUATION, "vqa_accuracy", VqaAccuracyOptions, build_vqa_accuracy, requires=[GENERATES])
    for file in PUBLISHED:
        catalog.publish(file)
