"""The conformance kit, as a stranger's plugin runs it on itself."""

from mmbridge_registry.testing import check_language_model, check_plugin


def test_the_plugin_keeps_the_contract():
    check_plugin("mmbridge_flan_t5")


def test_the_language_model_keeps_the_contract(t5):
    check_language_model(t5)
