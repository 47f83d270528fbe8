"""The conformance kit: good parts pass, and every promise that is broken is noticed by name."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmbridge_registry import (
    Bridge,
    Dataset,
    Draft,
    Evaluated,
    Evaluation,
    LanguageTokens,
    Metric,
    Objective,
    ObjectiveLoss,
    Record,
    TokenLoss,
    Tokens,
)
from mmbridge_registry.testing import (
    check_bridge,
    check_dataset,
    check_evaluation,
    check_language_model,
    check_objective,
    check_plugin,
    check_text_bridge,
    check_vision_encoder,
)
from third_party.installing import STRANGER
from torch import Tensor, nn
from toys.text_bridge import FEATURE, VOCABULARY, ToyBridge

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STRANGER))


def broken(part: Any, **changes: Any) -> Any:
    """Give the part with some methods or attributes replaced; functions get the part first."""
    methods = {name: value for name, value in changes.items() if callable(value) or isinstance(value, property)}
    part.__class__ = type(f"Broken{type(part).__name__}", (type(part),), methods)
    for name in changes.keys() - methods.keys():
        setattr(part, name, changes[name])
    return part


class TestVisionEncoder:
    def encoder(self) -> Any:
        from mmbridge_stranger import ConvOptions, build_conv

        return build_conv(ConvOptions(patches=4))

    def test_a_good_one_passes_and_is_left_as_it_was(self) -> None:
        encoder = self.encoder()
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        seed = torch.random.get_rng_state()
        check_vision_encoder(encoder)
        assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in encoder.parameters())
        assert torch.equal(torch.random.get_rng_state(), seed)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("num_tokens, width", {"num_tokens": 15}),
            ("stays in eval mode", {"train": nn.Module.train}),
            ("safe_dtypes", {"safe_dtypes": frozenset({torch.bfloat16})}),
            ("stored in a dtype", {"patches": nn.Conv2d(3, 24, 8, 8).double()}),
            ("what its images give alone", {"forward": lambda self, x: good(self)(x) - good(self)(x).mean(0)}),
            ("same features", {"forward": lambda self, x: good(self)(x) + torch.rand(())}),
            ("different images", {"forward": lambda self, x: good(self)(x * 0)}),
            ("finite", {"forward": lambda self, x: good(self)(x) / 0}),
            ("nothing for backward", {"forward": lambda self, x: good(self)(x) * torch.ones(1, requires_grad=True)}),
            ("picklable", {"transform": lambda self, train: lambda image: torch.zeros(3, 32, 32)}),
            ("image_size, image_size", {"transform": lambda self, train: Flat(31)}),
            ("float32", {"transform": lambda self, train: Flat(32, torch.float64)}),
            ("torch's default generator only", {"transform": lambda self, train: Flat(32, python=True)}),
            (r"train=False\) draws nothing", {"transform": lambda self, train: Flat(32, torchs=True)}),
            ("state_dict", {"load_state_dict": lambda self, state: None}),
        ],
    )
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_vision_encoder(broken(self.encoder(), **changes))

    def test_built_in_training_mode(self) -> None:
        with pytest.raises(AssertionError, match="built in eval mode"):
            check_vision_encoder(self.encoder().train())


def good(part: Any, method: str = "forward") -> Callable[..., Any]:
    """Give the unbroken method of a broken part."""
    return getattr(super(type(part), part), method)


class Flat:
    """A transform that draws where it is told to."""

    def __init__(self, size: int, dtype: torch.dtype = torch.float32, python: bool = False, torchs: bool = False):
        self.shape, self.dtype, self.python, self.torchs = (3, size, size), dtype, python, torchs

    def __call__(self, image: object) -> Tensor:
        value = random.random() if self.python else float(torch.rand(())) if self.torchs else 0.0
        return torch.full(self.shape, value, dtype=self.dtype)


class Plain(Bridge):
    """A good bridge: a linear map of the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.num_queries = 6, 2
        self.map = nn.Linear(FEATURE, 12)

    def forward(self, features: Tensor) -> Tensor:
        return self.map(features.to(self.map.weight.dtype).mean(1)).unflatten(-1, (2, 6))


class TestBridge:
    def test_a_good_one_passes(self) -> None:
        check_bridge(Plain(), FEATURE)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("num_queries, width", {"width": 7}),
            ("give alone", {"forward": lambda self, x: good(self)(x) + x.mean().to(torch.float32)}),
            ("eval mode the same", {"forward": lambda self, x: good(self)(x) + torch.rand(())}),
            ("different images", {"forward": lambda self, x: good(self)(x * 0)}),
            ("bfloat16 encoder", {"forward": lambda self, x: good(self)(x).to(x.dtype)}),
            ("no gradient gets to .*extra", {"extra": nn.Parameter(torch.zeros(1))}),
            ("leaves out .*map.bias", {"parameters_for": lambda self, passes: [("map.weight", self.map.weight)]}),
            ("names of named_parameters", {"parameters_for": lambda self, passes: [("weight", self.map.weight)]}),
            ("state_dict", {"state_dict": lambda self: {}, "load_state_dict": lambda self, state: None}),
        ],
    )
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_bridge(broken(Plain(), **changes), FEATURE)


class Letters:
    """A tokenizer of letters: [CLS] first, [SEP] last, padded on the right."""

    def __call__(self, texts: Sequence[str]) -> Tokens:
        rows = [[1, *(3 + ord(letter) % (VOCABULARY - 3) for letter in text), 2] for text in texts]
        longest = max(map(len, rows))
        mask = torch.tensor([[place < len(row) for place in range(longest)] for row in rows])
        return Tokens(torch.tensor([row + [0] * (longest - len(row)) for row in rows]), mask)


class Wide(Letters):
    def __call__(self, texts: Sequence[str]) -> Tokens:
        return super().__call__(texts).widen(60)


class Good(ToyBridge):
    """The toy bridge, complete: a tokenizer, features of any dtype, and exact reach."""

    tokenizer = Letters()
    reach = {
        "image": ("learned", "look"),
        "contrast": ("learned", "look", "words", "image_head", "text_head", "temp"),
        "match": ("learned", "look", "words", "match_head"),
        "decode": ("learned", "look", "words", "start"),
    }

    def encode_image(self, features: Tensor) -> Any:
        return super().encode_image(features.float())

    def parameters_for(self, passes: frozenset[Any]) -> Iterator[tuple[str, nn.Parameter]]:
        owners = {owner for each in passes for owner in self.reach[each]}
        return ((name, one) for name, one in self.named_parameters() if name.partition(".")[0] in owners)


class TestTextBridge:
    def bridge(self) -> Any:
        torch.manual_seed(0)
        return Good()

    def test_a_good_one_passes(self) -> None:
        check_text_bridge(self.bridge(), FEATURE)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("padded to the longest", {"tokenizer": Wide()}),
            ("picklable", {"tokenizer": SimpleNamespace}),
            ("hidden states .B,T,D", {"encode_text": lambda self, t: good(self, "encode_text")(t)[:, :-1]}),
            ("encode_text does not see padding", {"encode_text": lambda self, t: self.words(t.ids).cumsum(1) + t.ids.shape[1]}),
            ("match does not see padding", {"match": lambda self, i, t: good(self, "match")(i, t) + t.ids.shape[1]}),
            ("never sees the future", {"decode_text": lambda self, i, t: good(self, "decode_text")(i, t) + self.words(t.ids).sum(1, keepdim=True)}),
            ("position 0 as the start", {"decode_text": lambda self, i, t: good(self, "decode_text")(i, t) + self.words(t.ids)}),
            ("decode_text sees the image", {"decode_text": lambda self, i, t: self.words(t.ids[:, :1]) * 0 + torch.cat([self.words(t.ids[:, 1:]), self.words(t.ids[:, :1]) * 0], 1).cumsum(1) * 0}),
            ("vocabulary_logits scores", {"vocabulary_logits": lambda self, h: good(self, "vocabulary_logits")(h)[None]}),
            ("score for every id", {"vocabulary_logits": lambda self, h: good(self, "vocabulary_logits")(h)[..., :5]}),
            ("logits .B,2", {"match": lambda self, i, t: good(self, "match")(i, t)[:, :1]}),
            ("match sees the image", {"match": lambda self, i, t: good(self, "match")(i, t) * 0}),
            ("embed_image is L2", {"embed_image": lambda self, i: 2 * good(self, "embed_image")(i)}),
            ("embed_text is L2", {"embed_text": lambda self, h: 2 * good(self, "embed_text")(h)}),
            ("same C", {"embed_text": lambda self, h: good(self, "embed_text")(h)[:, :-1]}),
            ("positive scalar", {"temperature": property(lambda self: -self.temp)}),
            (r"\['match'\]\) is exactly .* leaves out .*match_head", {"reach": Good.reach | {"match": Good.reach["image"]}}),
            (r"\['decode'\]\) is exactly .* no gradient gets to .*temp", {"reach": Good.reach | {"decode": (*Good.reach["decode"], "temp")}}),
        ],
    )  # fmt: skip
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_text_bridge(broken(self.bridge(), **changes), FEATURE)

    def test_select_that_forgets_to_pick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("toys.text_bridge.ToyImages.select", lambda self, index: self)
        with pytest.raises(AssertionError, match="select picks and repeats rows"):
            check_text_bridge(self.bridge(), FEATURE)


class TestLanguageModel:
    def model(self) -> Any:
        from mmbridge_stranger import GruOptions, build_gru

        return build_gru(GruOptions(width=8))

    def test_a_good_one_passes(self) -> None:
        check_language_model(self.model())

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("kind is decoder", {"kind": "diffusion"}),
            ("safe_dtypes", {"safe_dtypes": frozenset({torch.bfloat16})}),
            ("stays in eval mode", {"train": nn.Module.train}),
            ("token_scale", {"token_scale": property(lambda self: 0.0)}),
            ("picklable", {"tokenizer": lambda prompts, targets: None}),
            ("float32 scalar", {"loss": lambda self, s, t: lose(self, s, t, total=lambda total: total.double())}),
            ("finite and positive", {"loss": lambda self, s, t: lose(self, s, t, total=lambda total: -total)}),
            ("counts the labels", {"loss": lambda self, s, t: lose(self, s, t, count=lambda count: count + 1)}),
            ("sum of its rows", {"loss": lambda self, s, t: lose(self, s, t, total=lambda total: total / len(s))}),
            ("reaches the soft prompt", {"loss": lambda self, s, t: lose(self, s.detach(), t)}),
            ("every query", {"loss": lambda self, s, t: lose(self, s[:, 1:], t)}),
            ("one text per row", {"generate": lambda self, s, p, g: good(self, "generate")(s, p, g)[1:]}),
            ("always gives the same", {"generate": lambda self, s, p, g: [str(random.random()) for _ in p]}),
            ("what its rows write alone", {"generate": lambda self, s, p, g: [str(len(p))] * len(p)}),
            ("prompt is not part", {"generate": lambda self, s, p, g: [f"{prompt} x" for prompt in p]}),
            ("one number per candidate", {"score": lambda self, s, p, c: [torch.zeros(2) for _ in p]}),
            ("minus the loss", {"score": lambda self, s, p, c: [torch.ones(len(texts)) for texts in c]}),
            ("score gives for a batch", {"score": lambda self, s, p, c: [one + len(p) for one in good(self, "score")(s, p, c)]}),
        ],
    )  # fmt: skip
    def test_broken_promises(self, promise: str, changes: dict[str, Any]) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_language_model(broken(self.model(), **changes))

    def test_shifted_labels(self) -> None:
        with pytest.raises(AssertionError, match="not shifted"):
            check_language_model(broken(self.model(), tokenizer=Shifted()))

    def test_gradient_on_a_frozen_model(self) -> None:
        def thaw(self: Any, soft_prompt: Tensor, tokens: LanguageTokens) -> TokenLoss:
            self.head.bias.requires_grad_()
            return good(self, "loss")(soft_prompt, tokens)

        with pytest.raises(AssertionError, match=r"gets no gradient; these do: \['head.bias'\]"):
            check_language_model(broken(self.model(), loss=thaw))


def lose(
    model: Any,
    soft_prompt: Tensor,
    tokens: LanguageTokens,
    total: Callable[[Tensor], Tensor] = lambda total: total,
    count: Callable[[Tensor], Tensor] = lambda count: count,
) -> TokenLoss:
    loss = good(model, "loss")(soft_prompt, tokens)
    return TokenLoss(total(loss.total), count(loss.count))


class Shifted:
    def __call__(self, prompts: Sequence[str], targets: Sequence[str]) -> LanguageTokens:
        from mmbridge_stranger.characters import CharacterTokenizer

        tokens = CharacterTokenizer()(prompts, targets)
        return LanguageTokens(tokens.inputs, tokens.labels.roll(-1, 1))


class Matching(Objective):
    """A good objective: true pairs match."""

    passes = frozenset({"match"})

    def prepare(self, draft: Draft) -> dict[str, Any]:
        return {"captions": draft.captions}

    def forward(self, step: Any) -> ObjectiveLoss:
        logits = step.bridge.match(step.image, step.captions)
        losses = nn.functional.cross_entropy(logits, torch.ones(len(logits), dtype=torch.int64), reduction="sum")
        return ObjectiveLoss(step.mean(losses, len(logits)), {"logit": logits.detach().mean()})


def changed(objective: Any, step: Any, **changes: Any) -> ObjectiveLoss:
    return replace(good(objective)(step), **changes)


class TestObjective:
    def test_a_good_one_passes(self) -> None:
        check_objective(Matching(), Good(), FEATURE)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("exactly what a loss reaches", {"passes": frozenset({"match", "contrast"})}),
            ("exactly what a loss reaches", {"passes": frozenset({"image"})}),
            ("row per sample", {"prepare": lambda self, draft: {"captions": torch.zeros(1)}}),
            ("same draft always prepares", {"prepare": lambda self, draft: {"captions": draft.captions, "x": torch.rand(4)}}),
            ("finite scalar", {"forward": lambda self, step: changed(self, step, loss=torch.ones(2))}),
            ("always gives the same loss", {"forward": lambda self, step: changed(self, step, loss=torch.rand(()))}),
            ("detached scalar", {"forward": lambda self, step: changed(self, step, metrics={"m": step.bridge.temp})}),
        ],
    )  # fmt: skip
    def test_broken_promises(self, promise: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        objective = Matching()
        # Broken on the class itself, so that the objective can still be pickled.
        for name, value in changes.items():
            wrapped = value if not callable(value) else at_class(value)
            monkeypatch.setattr(Matching, name, wrapped)
        with pytest.raises(AssertionError, match=promise):
            check_objective(objective, Good(), FEATURE)

    def test_one_that_cannot_travel_to_a_worker(self) -> None:
        objective = Matching()
        objective.note = lambda: None
        with pytest.raises(AssertionError, match="picklable"):
            check_objective(objective, Good(), FEATURE)


GOOD_FORWARD = Matching.forward


def at_class(value: Callable[..., Any]) -> Callable[..., Any]:
    """Let `good` find the unbroken forward of a class that is broken in place."""

    def call(self: Any, *arguments: Any) -> Any:
        unbroken = SimpleNamespace(forward=GOOD_FORWARD.__get__(self))
        return value(self, *arguments) if value.__code__.co_argcount == 2 else unbroken

    return call


class Numbers(Dataset):
    """A good dataset."""

    def __init__(self) -> None:
        self.records = [Record(b"image", ("one", "two"), "how many?", ("2",), image_id=i) for i in range(3)]

    def __len__(self) -> int:
        return len(self.records)

    def read(self, index: int) -> Record:
        return self.records[index]


class TestDataset:
    def test_a_good_one_passes(self) -> None:
        check_dataset(Numbers())

    @pytest.mark.parametrize(
        ("promise", "change"),
        [
            ("answers belong", {"question": None}),
            ("tuple of strings", {"texts": "a caption"}),
            ("tuple of strings", {"answers": (2,)}),
            ("the image is there", {"image": Path("nowhere.png")}),
            ("the image is there", {"image": b""}),
            ("bytes, a Path or a PIL image", {"image": 3}),
            ("image_id is an int", {"image_id": "coco_1"}),
        ],
    )
    def test_broken_records(self, promise: str, change: dict[str, Any]) -> None:
        dataset = Numbers()
        dataset.records[2] = replace(dataset.records[2], **change)
        with pytest.raises(AssertionError, match=promise):
            check_dataset(dataset)

    @pytest.mark.parametrize(
        ("promise", "changes"),
        [
            ("at least one record", {"records": []}),
            ("picklable", {"note": lambda: None}),
            ("cheap to copy", {"note": bytes(17 * 2**20)}),
        ],
    )
    def test_broken_datasets(self, promise: str, changes: dict[str, Any]) -> None:
        dataset = Numbers()
        vars(dataset).update(changes)
        with pytest.raises(AssertionError, match=promise):
            check_dataset(dataset)

    @pytest.mark.parametrize(
        ("promise", "method", "value"),
        [
            ("same index always", "read", lambda self, index: Record(b"x", (str(random.random()),))),
            (r"dataset\[3\] of 3", "__getitem__", lambda self, index: self.records[index % 3]),
            (r"dataset\[-1\] of 3", "__getitem__", lambda self, index: self.records[index]),
        ],
    )
    def test_broken_reading(self, promise: str, method: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Numbers, method, value)
        with pytest.raises(AssertionError, match=promise):
            check_dataset(Numbers())


class Counting(Evaluation):
    """A good evaluation, or one that gives what it is told."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)

    def evaluate(self, model: Any, dataset: Dataset) -> Any:
        found = Evaluated({"size": Metric(len(dataset), n=len(dataset))}, protocol="counts all records, no prompt")
        return self.results.pop(0) if self.results else found


class TestEvaluation:
    protocol = "counts all records, no prompt"

    def test_a_good_one_passes(self) -> None:
        check_evaluation(Counting(), SimpleNamespace(), Numbers())  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("promise", "result"),
        [
            ("gives an Evaluated", {"size": 3}),
            ("measures something", Evaluated({}, protocol)),
            ("protocol is a sentence", Evaluated({"size": Metric(3, 3)}, "")),
            ("'size' is finite", Evaluated({"size": Metric(float("nan"), 3)}, protocol)),
            ("how many items", Evaluated({"size": Metric(3, 0)}, protocol)),
            ("chance of 'size'", Evaluated({"size": Metric(3, 3, chance=float("nan"))}, protocol)),
            ("always measures the same", Evaluated({"size": Metric(4, 3)}, protocol)),
        ],
    )
    def test_broken_promises(self, promise: str, result: Any) -> None:
        with pytest.raises(AssertionError, match=promise):
            check_evaluation(Counting(result), SimpleNamespace(), Numbers())  # type: ignore[arg-type]


PLUGIN = '''
from mmbridge_registry import DATASET, LANGUAGE_MODEL, Options, hookimpl
class Settings(Options):
    "Settings."
    size: int = 1
    """Size."""
def build(options):
    "Build it."
@hookimpl
def offer_parts(catalog):
    catalog.offer(DATASET, "mine", Settings, build)
'''


class TestPlugin:
    @pytest.fixture
    def check(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> Callable[[str], None]:
        def check(code: str) -> None:
            name = f"plugin_{abs(hash(code))}"
            (tmp_path / f"{name}.py").write_text(code)
            monkeypatch.setenv("PYTHONPATH", str(tmp_path))
            monkeypatch.syspath_prepend(str(tmp_path))
            check_plugin(name)

        return check

    def test_a_good_one_passes(self, check: Callable[[str], None]) -> None:
        check(PLUGIN)

    @pytest.mark.parametrize(
        ("promise", "old", "new"),
        [
            ("does not import torch", "@hookimpl", "import torch\n@hookimpl"),
            ("can be imported", "@hookimpl", "import nothing_like_this\n@hookimpl"),
            ("marked with @hookimpl", "@hookimpl\n", ""),
            ("offers parts or weights", 'catalog.offer(DATASET, "mine", Settings, build)', "pass"),
            ("documented by the string below", '    """Size."""\n', ""),
            ("says what it sets", '    "Settings."\n', ""),
            ("is frozen", "class Settings(Options):", 'class Settings(Options, frozen=False):'),
            ("forbids unknown keys", "class Settings(Options):", 'class Settings(Options, extra="allow"):'),
            ("derive from Options", "Settings, build", "dict, build"),
            ("says what it builds", '    "Build it."', "    pass"),
            (r"takes \(options\), not \(settings\)", "build(options)", "build(settings)"),
            ("name of a-z", '"mine"', '"My part"'),
            ("traits of .* known", "Settings, build)", "Settings, build, provides=['speed'])"),
            ("DECODER or ENCODER_DECODER", "catalog.offer(DATASET", "catalog.offer(LANGUAGE_MODEL"),
            ("lie inside the package", "    catalog.offer", "    from pathlib import Path; catalog.ship('w', Path('no'))\n    catalog.offer"),
        ],
    )  # fmt: skip
    def test_broken_promises(self, promise: str, old: str, new: str, check: Callable[[str], None]) -> None:
        assert old in PLUGIN
        with pytest.raises(AssertionError, match=promise):
            check(PLUGIN.replace(old, new))
