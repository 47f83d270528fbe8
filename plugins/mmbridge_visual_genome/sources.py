"""Where the annotation file is published."""

from mmbridge_registry import PublishedFile

# The authors' own page, homes.cs.washington.edu/~ranjay/visualgenome/api.html: visualgenome.org is no longer theirs.
# Nobody publishes checksums of this version.
PUBLISHED = [
    PublishedFile(
        "region_descriptions.json",
        "https://homes.cs.washington.edu/~ranjay/visualgenome/data/dataset/region_descriptions.json.zip",
    )
]
