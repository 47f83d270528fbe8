"""Plugins of one file, installed as pip would: the module and its metadata side by side in a folder."""

from pathlib import Path

HASTY = '''
from mmbridge_registry import OBJECTIVE, TEXT_BRIDGE, Options, hookimpl

class HastyOptions(Options):
    """Caption tokens, written from the queries."""

def build_hasty(options):
    from mmbridge_registry import Objective, ObjectiveLoss
    from torch.nn.functional import cross_entropy

    class Hasty(Objective):
        passes = frozenset({"decode"})

        def prepare(self, draft):
            return {"captions": draft.captions}

        def forward(self, step):
            hidden = step.bridge.decode_text(step.image, step.captions)[:, :-1].flatten(0, 1)
            loss = cross_entropy(step.bridge.vocabulary_logits(hidden), step.captions.ids[:, 1:].flatten())
            loss.backward(retain_graph=True)  # gives the memory of the graph back at once, so its author thinks
            return ObjectiveLoss(loss.detach())

    return Hasty()

@hookimpl
def offer_parts(catalog):
    catalog.offer(OBJECTIVE, "hasty", HastyOptions, build_hasty, requires=(TEXT_BRIDGE,))
'''
"""An objective that calls the bridge and goes backward by itself: DDP does not see its gradient."""


def install(folder: Path, name: str, source: str, version: str = "1.5") -> None:
    """Write module `stray_NAME` and distribution `dist-NAME`, whose entry point has the name itself."""
    (folder / f"stray_{name}.py").write_text(source)
    metadata = folder / f"dist_{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(f"[mmbridge]\n{name} = stray_{name}\n")
