"""Answers of a finished model: to few texts or many, from one thread or several."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow
import pytest

import jaxbert
from jaxbert.errors import UserError
from jaxbert.experiment.predictor import Predictor
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.tasks.sentences import SentenceColumns
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.text.training import train_wordpiece

TEXTS = ["the old cat sees a green tree.", "", "the house by the river", "a cat " * 9]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    tokenizer = train_wordpiece(TEXTS, 60, min_frequency=1)
    config = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=32,
        initializer_range=1.0,
    )
    head = Head("sequence_classification", ("no", "yes", "perhaps"))
    path = tmp_path_factory.mktemp("predictor") / "model"
    save_params(init_params(config, head, 0), config, head, tokenizer, path)
    return path


@pytest.fixture(scope="module")
def predictor(directory: Path) -> Predictor:
    return jaxbert.Predictor(directory)


def alone(directory: Path, *text: str) -> dict[str, float]:
    """What the plain model says of one input."""
    model, tokenizer = jaxbert.from_pretrained(directory), jaxbert.load_tokenizer(directory)
    pairs = [text[1]] if len(text) > 1 else None
    given = tokenizer.encode([text[0]], pairs)
    output = model(given["input_ids"], token_type_ids=given["token_type_ids"])
    chances = jax.nn.softmax(output.logits[0]).tolist()
    return dict(zip(("no", "yes", "perhaps"), chances, strict=True))


def agree(prediction: dict[str, Any], expected: dict[str, float]) -> None:
    assert prediction["probabilities"] == pytest.approx(expected, abs=1e-5)
    assert prediction["label"] == max(expected, key=lambda name: expected[name])


def test_every_text_is_answered_as_by_the_model_alone(predictor, directory):
    for text, prediction in zip(TEXTS, predictor(TEXTS), strict=True):
        agree(prediction, alone(directory, text))
    assert predictor([]) == []


def test_threads_may_share_it(predictor):
    requests = [[text] * count for text in TEXTS for count in (1, 3)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(predictor, requests * 3))
    expected = {text: predictor([text])[0]["probabilities"] for text in TEXTS}
    for request, predictions in zip(requests * 3, found, strict=True):
        assert len(predictions) == len(request)
        for text, prediction in zip(request, predictions, strict=True):
            assert prediction["probabilities"] == pytest.approx(expected[text], abs=1e-6)


def test_requests_of_all_sizes_run_in_few_compiled_shapes(directory):
    predictor, generator = Predictor(directory, batch_size=16), np.random.default_rng(0)
    for count in range(1, 40):
        lengths = generator.integers(0, 12, count)
        predictor(["cat " * length for length in lengths])
    # Batches of 8 (the test's devices) and 16 rows, of 8, 16 and 24 tokens.
    assert predictor._step._cache_size() <= 2 * 3


def test_what_is_compiled_ahead_is_all_that_requests_need(directory):
    predictor, generator = Predictor(directory, batch_size=16), np.random.default_rng(1)
    predictor.compile()
    compiled = predictor._step._cache_size()
    assert compiled == 2 * 5  # batches of 8 and 16 rows, of 8, 12, 16, 24 and 32 tokens
    for count in (1, 9, 16, 40):
        predictor([TEXTS[i] for i in generator.integers(0, len(TEXTS), count)])
    assert predictor._step._cache_size() == compiled


def test_vectors_are_those_of_the_predictions(tmp_path, directory):
    jaxbert.convert(directory, tmp_path / "encoder", head="none")
    predictor = Predictor(tmp_path / "encoder")
    vectors = predictor.vectors(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((4, 8), np.float32)
    expected = [prediction["embedding"] for prediction in predictor(TEXTS)]
    np.testing.assert_array_equal(vectors, np.array(expected, np.float32))
    assert predictor.vectors([]).shape == (0, 8)
    with pytest.raises(UserError, match="task is sequence_classification: call the predictor"):
        Predictor(directory).vectors(TEXTS)


def test_a_half_precision_predictor_says_about_the_same(predictor, directory):
    half = Predictor(directory, dtype="bfloat16")
    for found, expected in zip(half(TEXTS), predictor(TEXTS), strict=True):
        assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=0.05)
        assert found["probabilities"] != expected["probabilities"]


def test_texts_of_unlike_lengths_are_not_all_as_wide_as_the_longest(directory):
    predictor, shapes = Predictor(directory, batch_size=32), []
    step = predictor._step
    predictor._step = lambda params, batch: (
        shapes.append(batch["input_ids"].shape) or step(params, batch)
    )
    texts = ["cat"] * 25 + ["cat " * 20]
    agree(predictor(texts)[-1], alone(directory, texts[-1]))
    assert shapes == [(8, 24), (8, 8), (8, 8), (8, 8)]
    shapes.clear()
    predictor(["cat"] * 30)
    assert shapes == [(32, 8)]
    # On a CPU four small batches are quicker than one that no cache holds.
    shapes.clear()
    predictor = Predictor(directory, batch_size=128)
    step = predictor._step
    predictor._step = lambda params, batch: (
        shapes.append(batch["input_ids"].shape) or step(params, batch)
    )
    predictor(["cat " * 30] * 128)
    assert shapes == [(8, 32)] * 16


def test_pairs_are_read_where_the_task_has_them(directory):
    columns = {"text": "first", "text_pair": "second"}
    predictor = Predictor(directory, columns=columns)
    pair = (TEXTS[0], TEXTS[2])
    for given in (pair, {"first": pair[0], "second": pair[1]}):
        (prediction,) = predictor([given])
        agree(prediction, alone(directory, *pair))
    section = SequenceClassificationConfig(columns=SentenceColumns("first", "second"))
    with pytest.raises(UserError, match="it says columns and options itself: drop them"):
        Predictor(directory, section=section, columns=columns)


def test_inputs_that_cannot_be_read_are_named(predictor):
    names = r"columns=\{\"text\": \"text\", \"text_pair\": \"text_pair\"\}"
    with pytest.raises(UserError, match=f"input 2 is a pair, .* reads single texts: .*{names}"):
        predictor(["a", ("b", "c")])
    with pytest.raises(UserError, match="input 1 is 3 texts, and the model reads single texts"):
        predictor([("a", "b", "c")])
    with pytest.raises(UserError, match="input 1 has no 'sentence', which the model reads"):
        predictor([{"text": "a"}])
    with pytest.raises(UserError, match=r"found one text: put it in \[\]"):
        predictor("a")
    with pytest.raises(UserError, match=r"found values by column: put it in \[\]"):
        predictor({"sentence": "a"})
    with pytest.raises(UserError, match=r"found a table: give table\['text'\] or"):
        predictor(pyarrow.table({"sentence": ["a"]}))
    for given in ("b\ud800", {"sentence": "\udc00"}):
        with pytest.raises(UserError, match="input 2: 'sentence' holds half of a surrogate pair"):
            predictor(["a \U0001f600", given])
    for given, kind in ((None, "NoneType"), (3, "int"), (b"a", "bytes")):
        with pytest.raises(UserError, match=f"input 2 is {kind}: expected a text"):
            predictor(["a", given])
