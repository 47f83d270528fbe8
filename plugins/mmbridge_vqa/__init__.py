"""Questions about photographs: VQAv2, OK-VQA and GQA."""

from pathlib import Path

from mmbridge_registry import DATASET, Catalog, Dataset, Options, hookimpl


class VqaOptions(Options):
    """Options of `vqa`."""

    questions: Path
    """`v2_OpenEnded_mscoco_val2014_questions.json` of VQAv2, `OpenEnded_mscoco_val2014_questions.json` of OK-VQA."""
    answers: Path | None = None
    """The annotations that belong to them, `v2_mscoco_val2014_annotations.json` or `mscoco_val2014_annotations.json`;
    without it (test splits) the questions have no answers: they can be asked, not trained on."""
    images: Path
    """COCO's folder, the one that holds `train2014/`, `val2014/` and `test2015/`, or one of these."""


class GqaOptions(Options):
    """Options of `gqa`."""

    questions: Path
    """`train_balanced_questions.json` and the like; those of test splits have no answers."""
    images: Path
    """Folder of the images, `<imageId>.jpg`."""


def build_vqa(options: VqaOptions) -> Dataset:
    """Open VQAv2 or OK-VQA: all ten answers in `answers`; `facts` hold ids, types and OK-VQA's raw answers."""
    from mmbridge_vqa.vqa import open_vqa

    return open_vqa(options)


def build_gqa(options: GqaOptions) -> Dataset:
    """Open GQA; `facts` hold each question's id, full answer and types."""
    from mmbridge_vqa.gqa import open_gqa

    return open_gqa(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    catalog.offer(DATASET, "vqa", VqaOptions, build_vqa)
    catalog.offer(DATASET, "gqa", GqaOptions, build_gqa)
