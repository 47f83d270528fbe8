"""Where LAVIS' annotation files are published: salesforce/LAVIS, lavis/configs/datasets, which has few checksums."""

from mmbridge_registry import PublishedFile

STORE = "https://storage.googleapis.com/sfr-vision-language-research"
MD5 = {
    "coco_karpathy_train.json": "md5:aa31ac474cf6250ebb81d18348a07ed8",
    "coco_karpathy_val.json": "md5:b273847456ef5580e33713b1f7de52a0",
    "coco_karpathy_test.json": "md5:3ff34b0ef2db02d01c37399f6a2a6cd1",
}
FOLDERS = {
    "datasets": [
        *MD5,
        *(f"flickr30k_{split}.json" for split in ("train", "val", "test")),
        *(f"nocaps_{split}.json" for split in ("val", "test")),
        *(f"vqa_{split}.json" for split in ("train", "val", "test")),
    ],
    "LAVIS/datasets/vqav2": ["vqa_val_eval.json"],
    "LAVIS/datasets/okvqa": ["okvqa_train.json", "okvqa_val_eval.json"],
    "LAVIS/datasets/visual_genome": ["vg_caption.json"],
}

PUBLISHED = [
    PublishedFile(name, f"{STORE}/{folder}/{name}", MD5.get(name))
    for folder, names in FOLDERS.items()
    for name in names
]
