"""The demo from end to end: docstrings, vocabulary, pretraining, fine-tuning, export, reload."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxbert.data.prepare import PrepareOptions, prepare
from jaxbert.demo import recipe
from jaxbert.demo.corpus import Files, write_corpus
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.inference import Ready, evaluate_labelled, ready
from jaxbert.experiment.predictor import Predictor
from jaxbert.experiment.pretrain import pretrain
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.tokenizer import load_tokenizer

SENTENCES = (
    "Compute the gradient of a function with respect to its first positional argument.",
    "Draw a scatter plot with varying marker size and color on the axes.",
    "Fit the estimator to the training data and return the mean accuracy on the test data.",
    "Lexer for a functional programming language with support for string escapes.",
    "Save a checkpoint of the train state at the given step and wait until it is finished.",
    "Download a file from a repo on the Hub and cache it on the local disk.",
)


@dataclass(frozen=True)
class Outcome:
    """What the demo has measured; accuracies are over the held-out modules, one per seed."""

    files: Files
    pretraining: dict[str, float]
    pretrained: tuple[float, ...]
    scratch: tuple[float, ...]
    reloaded: float
    """Accuracy of the first pretrained model after export and reload."""
    predictions: tuple[tuple[str, str, float], ...]
    """Sentence, predicted library, probability."""

    @property
    def margin(self) -> float:
        """Mean accuracy with pretraining less that without."""
        return float(np.mean(self.pretrained) - np.mean(self.scratch))

    @property
    def spread(self) -> float:
        """Largest difference between two seeds of the same kind."""
        return float(max(np.ptp(self.pretrained), np.ptp(self.scratch)))


def run_demo(out: Path, *, num_steps: int, say: Callable[[str], None]) -> Outcome:
    """Runs the demo in a directory; what is there already is not done again."""
    say("1/5  the docstrings of the installed libraries become a corpus")
    files = write_corpus(
        out / "data",
        limit_mb=recipe.CORPUS_MB,
        train_per_library=recipe.TRAIN_PER_LIBRARY,
        test_per_library=recipe.TEST_PER_LIBRARY,
    )
    say(f"     {files.modules} modules, {files.characters / 1e6:.1f} MB of text")
    say(f"2/5  a vocabulary of {recipe.VOCABULARY_SIZE} pieces and a token store")
    store = out / "store"
    if not store.exists():
        prepare([str(files.corpus)], store, PrepareOptions(vocab_size=recipe.VOCABULARY_SIZE))
    say("3/5  pretraining: masked words and next sentences")
    fitted = pretrain(recipe.pretraining(store, num_steps), out / "pretrained")
    say(f"4/5  fine-tuning on {files.train_rows} docstrings, {len(recipe.SEEDS)} seeds, twice")
    model = out / "pretrained" / "model"
    pretrained = _accuracies(out, files, "pretrained", lambda seed: model, say)
    scratch = _accuracies(out, files, "scratch", lambda seed: _untrained(out, seed), say)
    say("5/5  the export is opened again")
    opened = ready(out / f"pretrained-{recipe.SEEDS[0]}" / "model")
    metrics = evaluate_labelled(opened, str(files.test), recipe.TASK, recipe.READING)
    return Outcome(
        files=files,
        pretraining=fitted.results,
        pretrained=pretrained,
        scratch=scratch,
        reloaded=metrics["accuracy"],
        predictions=tuple(_predict(opened, SENTENCES)),
    )


def _accuracies(
    out: Path,
    files: Files,
    name: str,
    model_of: Callable[[int], Path],
    say: Callable[[str], None],
) -> tuple[float, ...]:
    found = []
    for seed in recipe.SEEDS:
        config = recipe.fine_tuning(model_of(seed), files.train, files.test, seed)
        fitted = finetune(config, out / f"{name}-{seed}", quiet=True)
        found.append(fitted.results["eval_accuracy"])
        say(f"     {name}, seed {seed}: accuracy {found[-1]:.3f}")
    return tuple(found)


def _untrained(out: Path, seed: int) -> Path:
    """The same architecture and tokenizer with the weights of a fresh initialisation."""
    directory = out / "untrained" / str(seed)
    if not directory.exists():
        like = load_params(out / "pretrained" / "model")
        head = Head("pretraining")
        params = init_params(like.config, head, seed)
        tokenizer = load_tokenizer(like.directory)
        directory.parent.mkdir(exist_ok=True)
        save_params(params, like.config, head, tokenizer, directory)
    return directory


def _predict(model: Ready, texts: Sequence[str]) -> list[tuple[str, str, float]]:
    predictor = Predictor(model, section=recipe.TASK, reading=recipe.READING)
    found = predictor([{"text": text} for text in texts])
    return [
        (text, prediction["label"], prediction["probabilities"][prediction["label"]])
        for text, prediction in zip(texts, found, strict=True)
    ]
