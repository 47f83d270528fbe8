"""From options to a Q-Former."""

import logging

from mmbridge_qformer import QFormerOptions
from mmbridge_qformer.bert_init import start_from_bert
from mmbridge_qformer.geometry import folder_of, geometry_of
from mmbridge_qformer.qformer import QFormer
from mmbridge_qformer.tokenizer import QFormerTokenizer

log = logging.getLogger(__name__)


def build(options: QFormerOptions, encoder_width: int) -> QFormer:
    """Build a Q-Former; under `torch.device("meta")` no weights are read.

    Raises:
        UserError: the options contradict each other or the checkpoint.
    """
    start = folder_of(options.init, "init")
    tokenizer = QFormerTokenizer(folder_of(options.tokenizer or options.init, "tokenizer"), options.max_text_length)
    geometry = geometry_of(options, encoder_width, tokenizer)
    bridge = QFormer(geometry, tokenizer, options.temperature, options.init_std)
    if start is not None and not bridge.queries.is_meta:
        log.info("Q-Former from %s: %s", start, start_from_bert(bridge, start))
    return bridge
