"""The conformance kit: what a plugin's author calls in his own tests, and what every built-in plugin runs on itself.

    def test_my_encoder_keeps_the_contract():
        check_plugin("mmbridge_mine")
        check_vision_encoder(build_mine(MineOptions(weights="random")))

Each check raises an AssertionError with the sentence of the contract that is broken. Parts should be tiny, in float32
and on the CPU; they are left as they were found.
"""

from mmbridge_registry.testing.bridge import check_bridge
from mmbridge_registry.testing.dataset import check_dataset
from mmbridge_registry.testing.evaluation import check_evaluation
from mmbridge_registry.testing.language_model import check_language_model
from mmbridge_registry.testing.lone_step import LoneStep
from mmbridge_registry.testing.objective import check_objective
from mmbridge_registry.testing.plugin import check_plugin
from mmbridge_registry.testing.text_bridge import check_text_bridge
from mmbridge_registry.testing.vision_encoder import check_vision_encoder

__all__ = [
    "LoneStep",
    "check_bridge",
    "check_dataset",
    "check_evaluation",
    "check_language_model",
    "check_objective",
    "check_plugin",
    "check_text_bridge",
    "check_vision_encoder",
]
