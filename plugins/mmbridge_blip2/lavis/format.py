"""LAVIS' `.pth` files, where BLIP-2 was first published (salesforce/LAVIS)."""

from pathlib import Path

from mmbridge_registry import Assembled, Exported, Format, Imported

from mmbridge_blip2.lavis.exporting import export
from mmbridge_blip2.lavis.file import is_pickle, read_file
from mmbridge_blip2.lavis.importing import import_file
from mmbridge_blip2.lavis.layouts import refuse_other_layouts


class Lavis(Format):
    """Files of stage 1, stage 2 (OPT, FlanT5), caption and retrieval finetunes, with ViT-g or CLIP ViT-L."""

    def recognises(self, source: Path) -> bool:
        """Whether it is a pickle of torch. Nobody else here reads those, so `read` says what foreign ones are."""
        return is_pickle(source)

    def read(self, source: Path) -> Imported:
        """Read a file with `weights_only=True`; tensors stay mapped to it where torch can do that.

        Raises:
            UserError: it is cut short, holds more than plain data (which is never run), is no file of LAVIS' BLIP-2, or
                contradicts itself.
        """
        file = read_file(source)
        refuse_other_layouts(file.tensors, source)
        return import_file(file, source)

    def write(self, model: Assembled, destination: Path, card: str) -> Exported:
        """Write a file that LAVIS loads, and the card beside it as `<destination>.md`.

        Raises:
            UserError: LAVIS has no such bridge or language model, or no place for the encoder that was trained.
        """
        return export(model, destination, card)
