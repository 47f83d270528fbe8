"""Where the questions and answers are published, and where their checksums are."""

from mmbridge_registry import PublishedFile

# visualqa.org/download. The checksums: facebookresearch/ParlAI, parlai/tasks/vqa_v2/build.py.
VQA = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
VQA_FILES = {
    "v2_OpenEnded_mscoco_train2014_questions.json": "v2_Questions_Train",
    "v2_OpenEnded_mscoco_val2014_questions.json": "v2_Questions_Val",
    "v2_OpenEnded_mscoco_test2015_questions.json": "v2_Questions_Test",
    "v2_OpenEnded_mscoco_test-dev2015_questions.json": "v2_Questions_Test",
    "v2_mscoco_train2014_annotations.json": "v2_Annotations_Train",
    "v2_mscoco_val2014_annotations.json": "v2_Annotations_Val",
}
VQA_SHA256 = {
    "v2_Questions_Train": "05a64b6e2582d06d7585f5429674a9a33851878be1bff9f8668cdcf792df611e",
    "v2_Questions_Val": "e71f6c5c3e97a51d050f28243e262b28cd0c48d11a6b4632d769d30d3f93222a",
    "v2_Questions_Test": "982e2e687a86514b78ea83af356d151976c5e3fb4168a29ca543610574082ad7",
    "v2_Annotations_Val": "0caae7c8d1dafd852727f5ac046bc1efca9b72026bd6ffa34fc489f3a7b3291e",
    "v2_Annotations_Train": "fb101bcefe91422c543c2bb6d70af11eb3119d0ff745ae283d09acdf66250853",
}
# okvqa.allenai.org/download.html and cs.stanford.edu/people/dorarad/gqa/download.html; nobody publishes checksums.
OK_VQA = "https://okvqa.allenai.org/static/data"
OK_VQA_FILES = [
    f"{kind.format(split)}.json"
    for kind in ("OpenEnded_mscoco_{}2014_questions", "mscoco_{}2014_annotations")
    for split in ("train", "val")
]
GQA = "https://downloads.cs.stanford.edu/nlp/data/gqa/questions1.2.zip"

PUBLISHED = [
    *(
        PublishedFile(name, f"{VQA}/{archive}_mscoco.zip", f"sha256:{VQA_SHA256[archive]}")
        for name, archive in VQA_FILES.items()
    ),
    *(PublishedFile(name, f"{OK_VQA}/{name}.zip") for name in OK_VQA_FILES),
    *(PublishedFile(f"{split}_balanced_questions.json", GQA) for split in ("train", "val", "testdev", "test")),
]
