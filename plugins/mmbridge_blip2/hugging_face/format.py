"""Folders of transformers' BLIP-2, as the hub has them."""

from pathlib import Path

from mmbridge_registry import Assembled, Exported, Format, Imported

from mmbridge_blip2.hugging_face.exporting import export
from mmbridge_blip2.hugging_face.folder import is_blip2
from mmbridge_blip2.hugging_face.importing import import_folder


class HuggingFace(Format):
    """`Blip2ForConditionalGeneration` and `Blip2Model` (OPT, T5), and `Blip2ForImageTextRetrieval`."""

    def recognises(self, source: Path) -> bool:
        """Whether a folder's config says that it is a BLIP-2."""
        return is_blip2(source)

    def read(self, source: Path) -> Imported:
        """Read a folder of safetensors; towers stay mapped to its files.

        Raises:
            UserError: it is cut short, pickled, asks for code, lacks an epsilon, computes what no part here does, or
                contradicts itself.
        """
        return import_folder(source)

    def write(self, model: Assembled, destination: Path, card: str) -> Exported:
        """Write a folder that transformers loads: by `Blip2ForConditionalGeneration` if some stage has trained the
        projection to a language model, else by `Blip2ForImageTextRetrieval`.

        Raises:
            UserError: encoder, bridge or language model have no place there.
        """
        return export(model, destination, card)
