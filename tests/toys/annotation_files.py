"""Annotation files and their images, as they are published, for tests of their readers."""

import json
from collections.abc import Iterable
from pathlib import Path

from mmbridge_registry import Dataset, Record
from PIL import Image


def write_images(folder: Path, names: Iterable[str]) -> Path:
    """Write a small picture under each name; give the folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def write(path: Path, content: object) -> Path:
    """Write a text as it is, bytes as they are, and anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def records(dataset: Dataset) -> list[Record]:
    return [dataset[index] for index in range(len(dataset))]


# One file of each kind, with a single record.
KARPATHY = {
    "images": [{"filename": "1.jpg", "split": "val", "imgid": 0, "sentids": [0], "sentences": [{"raw": "A dog."}]}],
    "dataset": "flickr30k",
}
COCO = {
    "info": {"year": 2014},
    "images": [{"id": 1, "file_name": "COCO_val2014_000000000001.jpg", "coco_url": "http://x"}],
    "licenses": [{"id": number, "name": "Attribution"} for number in range(8)],
    "annotations": [{"id": 5, "image_id": 1, "caption": "A dog."}],
}
NOCAPS = {
    "images": [{"id": 0, "file_name": "0a.jpg", "coco_url": "s3://x", "open_images_id": "0a", "domain": "in-domain"}],
    "annotations": [{"id": 0, "image_id": 0, "caption": "A dog."}],
}
VQA_QUESTIONS = {
    "info": {"version": "2.0"},
    "task_type": "Open-Ended",
    "data_type": "mscoco",
    "license": {"name": "CC BY"},
    "data_subtype": "val2014",
    "questions": [{"image_id": 1, "question": "Which?", "question_id": 1000}],
}
VQA_ANSWERS = {
    "info": {"version": "2.0"},
    "data_subtype": "val2014",
    "annotations": [
        {
            "question_type": "which",
            "multiple_choice_answer": "dog",
            "answers": [{"answer": "dog", "answer_confidence": "yes", "answer_id": number} for number in range(1, 11)],
            "image_id": 1,
            "answer_type": "other",
            "question_id": 1000,
        }
    ],
}
GQA = {"02930152": {"imageId": "2354786", "question": "Is it?", "answer": "yes", "fullAnswer": "Yes, it is."}}
GENOME = [
    {"id": 1, "regions": [{"region_id": 9, "image_id": 1, "phrase": "a dog", "x": 1, "y": 2, "width": 3, "height": 4}]}
]
SBU = {"image_urls": ["http://a/1.jpg"], "captions": ["a dog"], "user_ids": ["u"]}
LAVIS = [{"image": "val2014/1.jpg", "caption": "A dog.", "image_id": "coco_1"}]
CC3M = "a dog\thttp://a/1.jpg\n"
CC12M = "http://a/1.jpg\ta dog\n"
PUBLISHED = {
    "karpathy": KARPATHY,
    "coco": COCO,
    "nocaps": NOCAPS,
    "vqa questions": VQA_QUESTIONS,
    "vqa answers": VQA_ANSWERS,
    "gqa": GQA,
    "genome": GENOME,
    "sbu": SBU,
    "lavis": LAVIS,
    "cc3m": CC3M,
    "cc12m": CC12M,
}
