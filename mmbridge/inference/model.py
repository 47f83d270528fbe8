"""The model as its users see it."""

from mmbridge.inference.comparing import Comparing
from mmbridge.inference.writing import Writing


class Model(Writing, Comparing):
    """A `VisionLanguage`: captions, answers, matches and embeds any number of images, `batch_size` at a time.

    Images are a list of paths, bytes, PIL pictures and arrays, or a folder: all images in it, by name. Only a few
    batches of them are in memory at once; `stream` gives answers as they come. Captions to compare and questions are
    cleaned as they are in training (lower case, few marks); prompts and candidates are read as they are. Scores come
    back in float32 on the CPU. The model is put in eval mode for each call and left as it was. What nobody has trained
    (a matching head, a projection) is refused.
    """
