"""Where the lists of captions and addresses are published, and where their checksums are."""

from mmbridge_registry import PublishedFile

# The checksums: huggingface/datasets, datasets/{conceptual_captions,conceptual_12m,sbu_captions}/dataset_infos.json.
PUBLISHED = [
    PublishedFile(
        "Train_GCC-training.tsv",
        "https://storage.googleapis.com/gcc-data/Train/GCC-training.tsv",
        "sha256:eab84e5ebc713a41a6b1f6ae6fa3d6617821a13b03fe24e16004cc4aac189635",
    ),
    PublishedFile(
        "Validation_GCC-1.1.0-Validation.tsv",
        "https://storage.googleapis.com/gcc-data/Validation/GCC-1.1.0-Validation.tsv",
        "sha256:528a0c939ec2ad8d1740bd3f459a51e9fe67643050e29f68fabb6da3f8ac985d",
    ),
    PublishedFile(
        "cc12m.tsv",
        "https://storage.googleapis.com/conceptual_12m/cc12m.tsv",
        "sha256:892b549d493c7e75ade10d46c88c9ddabb097790d912b74cfc0ea4ff035ec2c3",
    ),
    PublishedFile(
        "sbu-captions-all.json",
        "https://www.cs.rice.edu/~vo9/sbucaptions/sbu-captions-all.tar.gz",
        "sha256:3d145fb58fea5bf5680e71c82e93d336c1a06d726dbea7f7702d49f5bf2ff532",
    ),
]
