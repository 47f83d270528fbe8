"""Do the parts fit? Said before anything is built."""

from pathlib import Path

import pytest
from toys.parts import CONFIG, discovered

from mmbridge.config import ConfigError, load_recipe


def mistakes(tmp_path: Path, *overrides: str) -> list[str]:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, overrides, discovered())
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_an_objective_that_needs_a_text_bridge(tmp_path: Path) -> None:
    lines = mistakes(tmp_path, "model.bridge.name=plain")
    assert len(lines) == 3  # itc, itm, and the evaluation recall
    assert lines[0] == (
        "c.yaml:14: stages.representation.objectives.itc: objective 'itc' in stage 'representation' needs a bridge "
        "that reads text (a TextBridge such as `qformer`), but the model has 'plain'. "
        "Use a bridge that has it (textual)."
    )
    assert lines[2].startswith("c.yaml:27: evaluate.recall: evaluation 'recall' needs a bridge that reads text")


def test_a_decoder_objective_on_an_encoder_decoder(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, "~stages.generation.objectives", "stages.generation.objectives={lm: {}}")
    assert "objective 'lm' in stage 'generation' needs a decoder language model" in line
    assert "but the model has 'seq2seq', an encoder-decoder language model." in line
    assert line.endswith("Use the objective prefix_lm, or a language model that has it (gpt).")


def test_without_a_language_model(tmp_path: Path) -> None:
    lines = mistakes(tmp_path, "~model.language_model")
    assert any("'prefix_lm' in stage 'generation' needs" in line and "has no language model" in line for line in lines)
    assert any("there is no projection to train" in line for line in lines)
    assert any("evaluation 'captions' needs a language model" in line for line in lines)


@pytest.mark.parametrize(
    ("overrides", "where", "says"),
    [
        (["stages.representation.train=[bridge,projection]"], "stages.representation.train", "reaches the projection"),
        (["stages.representation.train=[language_model]"], "stages.representation.train", "reaches the language_model"),
        (["stages.representation.train=[]"], "stages.representation.train", "trains nothing"),
        (["stages.generation.micro_batch_size=3"], "stages.generation.micro_batch_size", "4 is not divisible by"),
        (["stages.generation.data={pair: 1}"], "stages.generation.data.pair", "did you mean 'pairs'?"),
        (["evaluate.recall.stages=[first]"], "evaluate.recall.stages.0", "there is no 'first' in `stages:`"),
        (["model.vision_encoder.dtype=float16", "stages.generation.train=[vision_encoder]"], "stages.generation.train",
         "stored in float16"),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path: Path, overrides: list[str], where: str, says: str) -> None:
    (line,) = mistakes(tmp_path, *overrides)
    assert line.startswith(f"command line: {where}: ")
    assert says in line


def test_frozen_float16_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    load_recipe(path, ["model.vision_encoder.dtype=float16"], discovered())


def test_stages_with_other_mistakes_are_still_known(tmp_path: Path) -> None:
    lines = mistakes(tmp_path, "stages.generation.steps=x")
    assert len(lines) == 1
