"""Retrieval: find the text of an image and the image of a text (BLIP-2, section 4.4)."""

from typing import TYPE_CHECKING, Literal

from mmbridge_registry import EVALUATION, TEXT_BRIDGE, Catalog, Options, hookimpl
from pydantic import PositiveInt

if TYPE_CHECKING:
    from mmbridge_registry import Evaluation


class RetrievalOptions(Options):
    """Image-to-text and text-to-image retrieval: ranked by ITC, the best candidates ranked again by ITM."""

    candidates: PositiveInt = 128
    """Best candidates by ITC that ITM ranks again, per image and per text (k); fewer if there are fewer."""
    fusion: Literal["sum", "itm", "itc"] = "sum"
    """Score of a candidate: `sum` is ITM logit + cosine, as the published numbers were made; `itm` is the ITM logit
    alone, as the paper says; `itc` ranks by cosine only and makes no ITM pass."""


def build_retrieval(options: RetrievalOptions) -> "Evaluation":
    """Build the evaluation."""
    from mmbridge_retrieval.evaluation import Retrieval

    return Retrieval(options)


@hookimpl
def offer_parts(catalog: Catalog) -> None:
    """Offer the evaluation."""
    catalog.offer(EVALUATION, "retrieval", RetrievalOptions, build_retrieval, requires=[TEXT_BRIDGE])
