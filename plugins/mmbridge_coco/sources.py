"""Where the annotation files are published, and where their checksums are."""

from mmbridge_registry import PublishedFile

# The checksums of these three archives: tensorflow/datasets, url_checksums/coco_captions.txt. COCO's address is the
# bucket of images.cocodataset.org, which has no certificate of its own.
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
KARPATHY_SHA256 = "sha256:4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817"
COCO = "https://s3.amazonaws.com/images.cocodataset.org/annotations/annotations_trainval"
COCO_SHA256 = {
    "2014": "sha256:031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    "2017": "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
}
# nocaps.org/download; nobody publishes checksums.
NOCAPS = "https://s3.amazonaws.com/nocaps"

PUBLISHED = [
    *(PublishedFile(f"dataset_{name}.json", KARPATHY, KARPATHY_SHA256) for name in ("coco", "flickr30k")),
    *(
        PublishedFile(f"captions_{split}{year}.json", f"{COCO}{year}.zip", checksum)
        for year, checksum in COCO_SHA256.items()
        for split in ("train", "val")
    ),
    *(
        PublishedFile(name, f"{NOCAPS}/{name}")
        for name in ("nocaps_val_4500_captions.json", "nocaps_test_image_info.json")
    ),
]
