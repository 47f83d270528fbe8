"""METEOR and SPICE: the Java programs that pycocoevalcap 1.2 carries, run by themselves.

Its Python is not used: it writes into its own folder, and downloads CoreNLP (400 MB) without asking.
"""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmbridge_registry import Metric, UserError
from mmbridge_registry.intervals import bootstrap
from torch import Tensor

from mmbridge_captioning import InJava
from mmbridge_captioning.scores import Words

References = Sequence[Sequence[Words]]
Measured = tuple[Metric, list[float]]
"""The metric, and what each image scores."""

JARS = {"meteor": "meteor/meteor-1.5.jar", "spice": "spice/spice-1.0.jar"}
HEAP = {"meteor": "-Xmx2G", "spice": "-Xmx8G"}
CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
"""What SPICE parses with; it must lie in `spice/lib`, and does not come with pycocoevalcap."""

# What METEOR counts, of both sides: words, words that bear little meaning, matches of each kind, pieces they come in.
WORDS, FUNCTION_WORDS, STAGES, PIECES, MATCHED = slice(0, 2), slice(2, 4), slice(4, 20), 20, slice(21, 23)
OF_STAGE = torch.tensor([1.0, 0.6, 0.8, 0.6], dtype=torch.float64)
"""METEOR's weights, in English, of equal words, stems, synonyms and paraphrases; the others follow."""
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75


def jar_of(name: InJava) -> Path:
    """Find a program, and try whether Java runs.

    Raises:
        UserError: Java, pycocoevalcap or CoreNLP is not there.
    """
    try:
        subprocess.run(["java", "-version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        do = "Install a Java runtime (8 or newer), or leave `java` out of the evaluation's options."
        raise UserError(f"{name} needs Java, and `java -version` does not run.", do=do) from error
    package = find_spec("pycocoevalcap")
    jars = [Path(folder, JARS[name]) for folder in (package.submodule_search_locations or () if package else ())]
    jar = next((jar for jar in jars if jar.is_file()), None)
    if jar is None:
        raise UserError(f"{name} needs pycocoevalcap.", do="Run `pip install mmbridge[java]`.")
    missing = [file for file in CORENLP if not (jar.parent / "lib" / file).is_file()]
    if name == "spice" and missing:
        do = "Run `python -m pycocoevalcap.spice.get_stanford_models` once, which downloads it."
        raise UserError(f"SPICE needs CoreNLP: there is no {missing[0]}.", where=jar.parent / "lib", do=do)
    return jar


def meteor(jar: Path, candidates: Sequence[Words], moved: Sequence[Words], references: References) -> Measured:
    """METEOR 1.5 of the corpus, as papers print it: of the counts of all captions, not the mean of their scores.

    Raises:
        UserError: Java fails.
    """
    lines = [
        " ||| ".join(["SCORE", *map(" ".join, of_image), " ".join(said)])
        for captions in (candidates, moved)
        for said, of_image in zip(captions, references, strict=True)
    ]
    said = _run("meteor", jar, ["-", "-", "-stdio", "-l", "en", "-norm"], "\n".join([*lines, ""]))
    counts = torch.tensor([[float(count) for count in line.split()] for line in said.splitlines()]).double()
    own, others = added(counts).split(len(candidates))
    value, chance = (meteor_of(rows.sum(0)).item() for rows in (own, others))
    return Metric(value, len(own), chance, interval=bootstrap(own, meteor_of)), meteor_of(own).tolist()


def added(counts: Tensor) -> Tensor:
    """Give the program's counts [n,23] as it adds them up: a piece that is all of both sides counts as none."""
    whole = (counts[:, MATCHED] == counts[:, WORDS]).all(1) & (counts[:, PIECES] == 1)
    counts[whole, PIECES] = 0
    return counts


def meteor_of(counts: Tensor) -> Tensor:
    """METEOR [...] of counts [...,23], or of their sums (Denkowski and Lavie, 2014)."""
    words, functions = counts[..., WORDS], counts[..., FUNCTION_WORDS]
    stages = counts[..., STAGES].unflatten(-1, (4, 2, 2))  # by stage, content or function, side
    matched = ((DELTA * stages[..., 0, :] + (1 - DELTA) * stages[..., 1, :]) * OF_STAGE[:, None]).sum(-2)
    weighed = DELTA * (words - functions) + (1 - DELTA) * functions
    precision, recall = (matched / weighed).unbind(-1)
    mean = precision * recall / ((1 - ALPHA) * recall + ALPHA * precision)
    penalty = GAMMA * (counts[..., PIECES] / counts[..., MATCHED].mean(-1)) ** BETA
    return (mean * (1 - penalty)).nan_to_num()


def spice(jar: Path, candidates: Sequence[Words], moved: Sequence[Words], references: References) -> Measured:
    """SPICE 1.0, the mean over images of the F-measure of what captions assert (Anderson et al., 2016).

    Raises:
        UserError: Java fails.
    """
    asked = [
        {"image_id": row, "test": " ".join(said), "refs": [*map(" ".join, references[row % len(references)])]}
        for row, said in enumerate([*candidates, *moved])
    ]
    with TemporaryDirectory() as folder:
        given, out, cache = Path(folder, "in.json"), Path(folder, "out.json"), Path(folder, "cache")
        given.write_text(json.dumps(asked))
        cache.mkdir()
        _run("spice", jar, [given, "-cache", cache, "-out", out, "-silent"])
        scored = {one["image_id"]: one["scores"]["All"]["f"] for one in json.loads(out.read_text())}
    own, others = torch.tensor([scored[row] for row in range(len(asked))], dtype=torch.float64).split(len(candidates))
    return Metric.mean(own, others.mean().item()), own.tolist()


MEASURES: Mapping[InJava, Callable[[Path, Sequence[Words], Sequence[Words], References], Measured]]
MEASURES = {"meteor": meteor, "spice": spice}


def _run(name: InJava, jar: Path, arguments: Sequence[str | Path], given: str = "") -> str:
    command = list(map(str, ["java", HEAP[name], "-Dfile.encoding=UTF-8", "-jar", jar, *arguments]))
    try:
        run = subprocess.run(
            command,
            input=given,
            capture_output=True,
            check=True,
            text=True,
            encoding="utf-8",
            cwd=jar.parent,
            start_new_session=True,  # Ctrl-C and SIGTERM are for the run, which ends in order
        )
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["it says nothing"])[0]
        do = f"Leave `{name}` out of the option `java`, or try Java 8, for which it was made."
        raise UserError(f"{name} ended with code {error.returncode} ({reason}).", do=do) from error
    return run.stdout
