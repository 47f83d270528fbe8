"""The start from BERT: what is copied is equal, what is new is named, what does not fit is refused."""

import json
import shutil

import pytest
import torch
from mmbridge_qformer import QFormerOptions, build_qformer
from mmbridge_qformer.bert_init import start_from_bert
from mmbridge_registry import Generation, Tokens, UserError
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import BertConfig, BertForMaskedLM, BertModel

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
}
REST = {"max_text_length": 20, "queries": 4, "contrastive_width": 8}


def save_bert(folder, wordpiece, kind=BertForMaskedLM, **changes):
    torch.manual_seed(5)
    shutil.copytree(wordpiece, folder)
    bert = kind(BertConfig(vocab_size=199, initializer_range=0.2, **(SIZES | changes))).eval()
    token_types = (bert if kind is BertModel else bert.bert).embeddings.token_type_embeddings
    torch.nn.init.zeros_(token_types.weight)  # BLIP-2 has none
    bert.save_pretrained(folder)
    return bert


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bert") / "bert"


@pytest.fixture(scope="module")
def bert(folder, wordpiece):
    return save_bert(folder, wordpiece)


def build(folder, **options):
    return build_qformer(QFormerOptions(**({"init": str(folder)} | REST | options)), 12).eval()


def test_sizes_vocabulary_and_tokenizer_are_those_of_the_checkpoint(bert, folder):
    bridge = build(folder)
    geometry = bridge.geometry
    assert (geometry.width, geometry.layers, geometry.heads, geometry.intermediate) == (32, 3, 4, 48)
    assert (geometry.positions, geometry.norm_eps) == (24, 1e-12)
    assert geometry.vocabulary == len(bridge.tokenizer) == 200
    assert geometry.start == bridge.tokenizer.start == 199


def test_the_text_half_is_bert(bert, folder):
    bridge = build(folder)
    tokens = bridge.tokenizer(["a red dog sitting on the grass", "cat"])
    with torch.no_grad():
        theirs = bert.bert(tokens.ids, tokens.mask.long()).last_hidden_state
        mine = bridge.encode_text(tokens)
        scores = bert(tokens.ids, tokens.mask.long()).logits
    assert_close(mine[tokens.mask], theirs[tokens.mask], atol=2e-6, rtol=1e-5)
    assert_close(bridge.vocabulary_logits(mine)[tokens.mask][:, :199], scores[tokens.mask], atol=1e-5, rtol=1e-5)


def test_the_report_names_every_tensor_and_tells_the_truth(bert, folder):
    bridge = build(folder)
    before = {name: tensor.clone() for name, tensor in bridge.named_parameters()}
    report = start_from_bert(bridge, folder)
    state, theirs = dict(bridge.named_parameters()), load_file(folder / "model.safetensors")
    assert set(report.copied) | set(report.new) == set(state)
    assert set(report.copied).isdisjoint(report.new)
    assert set(report.copied.values()) | set(report.unused) == set(theirs)
    assert report.unused == ("bert.embeddings.token_type_embeddings.weight",)
    for ours, name in report.copied.items():
        assert state[ours][: len(theirs[name])].equal(theirs[name]), ours
    for layer in bridge.layers:
        assert all(map(torch.equal, layer.query_ffn.parameters(), layer.text_ffn.parameters()))
    new = {name.split(".")[0] for name in report.new}
    assert new == {"queries", "image_norm", "contrast", "match_head", "layers"}
    assert all("cross_attention" in name for name in report.new if name.startswith("layers"))
    assert all(state[name].equal(before[name]) for name in report.new)
    assert report.rows_added == 1
    assert "1 rows added" in str(report) and str(len(report.new)) in str(report)


def test_new_tensors_are_drawn_as_the_paper_draws_them(bert, folder):
    bridge = build(folder, queries=64)
    cross = {name: tensor for name, tensor in bridge.named_parameters() if "cross_attention" in name}
    matrices = [tensor for tensor in cross.values() if tensor.dim() == 2]
    for tensor in (bridge.queries, bridge.embeddings.words.weight[199], *matrices):
        assert tensor.std().item() == pytest.approx(0.02, rel=0.35)
    assert not any(tensor.any() for name, tensor in cross.items() if name.endswith("bias"))
    assert len(matrices) == 8
    assert bridge.temperature.item() == pytest.approx(0.07)
    assert bridge.vocabulary.bias[199] == 0


def test_a_bare_encoder_leaves_the_word_head_new(tmp_path, wordpiece):
    save_bert(tmp_path / "bare", wordpiece, kind=BertModel)
    report = start_from_bert(build(tmp_path / "bare"), tmp_path / "bare")
    assert {"vocabulary.dense.weight", "vocabulary.norm.weight", "vocabulary.bias"} < set(report.new)
    assert report.copied["embeddings.words.weight"] == "bert.embeddings.word_embeddings.weight"


def test_names_and_precision_of_old_checkpoints(bert, folder, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        for new, before in names.items():
            name = name.replace(new, before)
        state[name] = tensor.half()
    save_file(state, old / "model.safetensors")
    for mine, theirs in zip(build(old).layers.parameters(), build(folder).layers.parameters(), strict=True):
        assert mine.dtype == torch.float32
        if mine.std() > 0.05 or mine.dim() == 1:
            assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_under_meta_nothing_is_read(bert, folder):
    with torch.device("meta"):
        bridge = build(folder)
    assert all(parameter.is_meta for parameter in bridge.parameters())


def test_seed_decides_what_is_new(bert, folder):
    def states():
        torch.manual_seed(8)
        return build(folder).state_dict()

    first, second = states(), states()
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"width": 64}, r"has the shape .*32.*, the Q-Former .*64"),
        ({"heads": 3}, "3 heads do not divide the width 32"),
        ({"max_text_length": 30}, "texts of 30 tokens do not fit 24 positions"),
        ({"vocabulary": 77}, "the vocabulary is 77, but the tokenizer has 200 tokens"),
        ({"tokenizer": "nowhere/at-all"}, "'nowhere/at-all' is no folder"),
        ({"init": "google-bert/bert-base-uncased"}, "is no folder"),  # never random weights by surprise
    ],
)
def test_what_does_not_fit_is_refused(bert, folder, options, complaint):
    with pytest.raises(UserError, match=complaint):
        build(folder, **options)


def broken(folder, tmp_path, **config):
    copy = tmp_path / "broken"
    shutil.copytree(folder, copy)
    settings = json.loads((copy / "config.json").read_text()) | config
    (copy / "config.json").write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))
    return copy


def test_an_unknown_activation_or_eps_is_refused(bert, folder, wordpiece, tmp_path):
    with pytest.raises(UserError, match="the activation is 'relu', not 'gelu'"):
        build(broken(folder, tmp_path / "a", hidden_act="relu"))
    with pytest.raises(UserError, match="lacks layer_norm_eps"):
        build(broken(folder, tmp_path / "b", layer_norm_eps=None))
    with pytest.raises(UserError, match=r"config.json: it lacks vocab_size, hidden_size"):
        build(wordpiece)


def test_a_folder_without_readable_weights_is_refused(bert, folder, tmp_path):
    copy = broken(folder, tmp_path)
    save_file({"something.else": torch.zeros(2)}, copy / "model.safetensors")
    with pytest.raises(UserError, match="no tensor of a BERT"):
        build(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="does not exist"):
        build(copy)


def test_without_a_tokenizer_all_but_words_works():
    sizes = {"layers": 2, "width": 16, "heads": 2, "intermediate": 24, "vocabulary": 50}
    bridge = build_qformer(QFormerOptions(queries=4, **sizes), 12).eval()
    image = bridge.encode_image(torch.randn(2, 3, 12))
    tokens = Tokens(torch.ones(2, 3, dtype=torch.long), torch.ones(2, 3, dtype=torch.bool))
    assert bridge.decode_text(image, tokens).shape == (2, 3, 16)
    with pytest.raises(UserError, match="has no tokenizer"):
        bridge.tokenizer(["a"])
    with pytest.raises(UserError, match="has no tokenizer"):
        bridge.generate_text(image, Generation())
