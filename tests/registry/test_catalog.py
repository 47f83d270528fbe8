"""The catalog: what is offered is found, what is not is explained."""

from pathlib import Path

import pytest
from mmbridge_registry import (
    BRIDGE,
    TEXT_BRIDGE,
    VISION_ENCODER,
    Catalog,
    Options,
    Plugin,
    PluginError,
    PublishedFile,
    UserError,
)

ONE = Plugin("one", "package_one", "dist-one", "1.2")
TWO = Plugin("two", "package_two", "dist-two", "3.4")


class Nothing(Options):
    """No options."""


@pytest.fixture
def catalog() -> Catalog:
    catalog = Catalog()
    with catalog.of(ONE):
        for name in ("conv", "clip_vit", "alpha"):
            catalog.offer(VISION_ENCODER, name, Nothing, lambda options, name=name: (name, options))
        catalog.offer(BRIDGE, "conv", Nothing, lambda options, encoder_width: encoder_width, provides=[TEXT_BRIDGE])
    return catalog


def test_an_offer_is_found_by_kind_and_name(catalog: Catalog) -> None:
    offer = catalog.find(VISION_ENCODER, "conv")
    assert (offer.plugin, offer.options, offer.provides) == (ONE, Nothing, frozenset())
    assert offer.build(Nothing()) == ("conv", Nothing())
    assert catalog.find(BRIDGE, "conv").provides == {TEXT_BRIDGE}
    assert catalog.names(VISION_ENCODER) == ["alpha", "clip_vit", "conv"]
    assert [offer.name for offer in catalog.offers()] == ["conv", "clip_vit", "alpha", "conv"]


def test_a_near_miss_is_answered_with_the_nearest_name(catalog: Catalog) -> None:
    with pytest.raises(UserError, match="did you mean 'clip_vit'") as caught:
        catalog.find(VISION_ENCODER, "clip-vit", where="a.yaml:3 model.vision_encoder")
    assert str(caught.value).startswith("a.yaml:3 model.vision_encoder: there is no vision encoder 'clip-vit'")
    assert caught.value.exit_code == 2


def test_a_far_miss_is_answered_with_the_list(catalog: Catalog) -> None:
    with pytest.raises(UserError, match="known: alpha, clip_vit, conv"):
        catalog.find(VISION_ENCODER, "zzz")
    with pytest.raises(UserError, match="known: none"):
        Catalog().find(BRIDGE, "conv")


def test_two_plugins_with_one_name_are_both_named(catalog: Catalog) -> None:
    with catalog.of(TWO):
        catalog.offer(VISION_ENCODER, "conv", Nothing, lambda options: options)
    with pytest.raises(PluginError) as caught:
        catalog.find(VISION_ENCODER, "conv")
    for word in ("vision encoder 'conv'", "dist-one 1.2", "dist-two 3.4", "MMBRIDGE_PLUGINS"):
        assert word in str(caught.value)
    assert catalog.find(BRIDGE, "conv").plugin == ONE, "other kinds and names are not touched"
    assert catalog.find(VISION_ENCODER, "alpha").plugin == ONE
    assert catalog.names(VISION_ENCODER).count("conv") == 1


def test_shipped_weights(catalog: Catalog) -> None:
    with catalog.of(ONE):
        catalog.ship("tiny/vit", Path("one"))
    assert catalog.shipped("tiny/vit") == Path("one")
    assert catalog.shipped("tiny/other") is None
    with catalog.of(TWO):
        catalog.ship("tiny/vit", Path("two"))
    with pytest.raises(PluginError, match=r"weights 'tiny/vit'.*dist-one.*dist-two"):
        catalog.shipped("tiny/vit")
    assert catalog.shipped_names() == ["tiny/vit"]


def test_published_annotation_files(catalog: Catalog) -> None:
    file = PublishedFile("dataset_coco.json", "https://example.org/captions.zip")
    with catalog.of(ONE):
        catalog.publish(file)
    assert catalog.published("dataset_coco.json") == file
    assert catalog.published("other.json") is None
    with catalog.of(TWO):
        catalog.publish(PublishedFile("dataset_coco.json", "https://example.com/another.zip"))
    with pytest.raises(PluginError, match=r"annotation file 'dataset_coco\.json'.*dist-one.*dist-two"):
        catalog.published("dataset_coco.json")
    assert catalog.published_names() == ["dataset_coco.json"]


def test_offers_belong_to_the_plugin_of_their_block_even_after_an_error() -> None:
    catalog = Catalog()
    with pytest.raises(ZeroDivisionError), catalog.of(ONE), catalog.of(TWO):
        raise ZeroDivisionError
    catalog.offer(BRIDGE, "mine", Nothing, lambda options, encoder_width: None)
    assert catalog.find(BRIDGE, "mine").plugin.name == "(unpackaged)"
