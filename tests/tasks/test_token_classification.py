"""Tags of words: from files to labels of tokens, and from outputs of tokens back to words."""

import random
from itertools import chain
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from jaxbert.data.reading import Reading
from jaxbert.data.tagged import TagColumns, TaggedSentence, read_tagged
from jaxbert.errors import UserError
from jaxbert.nn.head import Head
from jaxbert.nn.model import ModelOutput
from jaxbert.tasks.tagged_words import TaggedWords
from jaxbert.tasks.token_classification import TokenClassification, TokenClassificationConfig
from jaxbert.text.tokenizer import Tokenizer
from jaxbert.text.training import train_wordpiece

LABELS = ("O", "B-x", "I-x", "B-y", "I-y")
WORDS = ["the", "cat", "unbelievable", "\x07", "dogs", "thecatdogs", "ab1c"]
TASK = TokenClassification(LABELS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_wordpiece(["the cat dogs abc " * 3, "x y z 1"], 60, lowercase=True)


def tagged(words: str, tags: str | list[int], line: int = 1) -> TaggedSentence:
    found = tuple(words.split(" "))
    names = tuple(tags.split(" ")) if isinstance(tags, str) else tuple(tags)
    return TaggedSentence(found, names, "a.conll", range(line, line + len(found)))


def random_sentences(number: int, seed: int) -> list[TaggedSentence]:
    rng, found = random.Random(seed), []
    for _ in range(number):
        size = rng.choice((1, 4, 25))
        words, tags = rng.choices(WORDS, k=size), ["O"]
        for _ in range(size):
            allowed = [*LABELS[:2], "B-y", *([f"I-{tags[-1][2:]}"] * 2 if tags[-1] != "O" else [])]
            tags.append(rng.choice(allowed))
        found.append(tagged(" ".join(words), " ".join(tags[1:])))
    return found


def outputs(examples: TaggedWords, seed: int, share: float = 1.0) -> dict[str, Any]:
    """What a model might say of some of the examples."""
    rng = np.random.default_rng(seed)
    rows = examples.features["input_ids"]
    numbers = np.flatnonzero(rng.random(len(rows)) < share)
    return {
        "row_ids": numbers,
        "tags": [rng.integers(0, 5, len(rows[n])).astype(np.int32) for n in numbers],
        "probabilities": [rng.random(len(rows[n])).astype(np.float32) for n in numbers],
    }


def said(examples: TaggedWords, rows: dict[str, Any]) -> list[list[str]]:
    """The tags of every sentence's words, token by token; of none where a window is lacking."""
    by_example = dict(zip(rows["row_ids"].tolist(), rows["tags"], strict=True))
    found, word = [], 0
    for number, sentence in enumerate(examples.sentences):
        names = []
        for _ in sentence.words:
            example, token = examples.windows.places[word]
            word += 1
            tags = by_example.get(example)
            names.append("O" if example < 0 or tags is None else LABELS[tags[token]])
        windows = np.flatnonzero(examples.windows.sentences == number)
        found.append(names if set(windows) <= set(by_example) else [])
    return found


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_metrics_are_those_of_words_and_entities(tokenizer, share):
    sentences = random_sentences(60, seed=1)
    examples = TASK.examples(sentences, tokenizer, Reading(12), labelled=True)
    assert len(examples.features["input_ids"]) > 80
    rows = outputs(examples, 2, share)
    found = said(examples, rows)
    labels = [list(s.tags) for s, names in zip(sentences, found, strict=True) if names]
    found = [names for names in found if names]
    assert (len(found) == 60) == (share == 1.0)
    metrics = examples.metrics({"loss": 0.5}, rows)
    assert metrics["loss"] == 0.5
    assert metrics["accuracy"] == accuracy_score([*chain(*labels)], [*chain(*found)])
    assert metrics["f1"] == f1_score(labels, found)
    by_type = f1_score(labels, found, average=None)
    assert [metrics["f1/x"], metrics["f1/y"]] == by_type.tolist()
    tags, wrong = examples.tables(rows)
    flat = [*chain(*labels)], [*chain(*found)]
    scores = precision_recall_fscore_support(*flat, labels=LABELS, zero_division=0.0)
    for column, expected in zip((2, 3, 4, 1), scores, strict=True):
        assert [row[column] for row in tags.rows] == expected.tolist()
    assert len(wrong.rows) == 20
    assert all(row[2] != row[3] for row in wrong.rows)
    surest = [row[-1] for row in wrong.rows]
    assert surest == sorted(surest, reverse=True)


def test_a_mistake_is_shown_with_its_word_and_where_it_stands(tokenizer):
    sentences = [
        tagged("the cat", "O B-x", line=1),
        TaggedSentence((), (), "a.conll", range(4, 4)),
        tagged("dogs x the y", "B-y I-y O O", line=4),
    ]
    examples = TASK.examples(sentences, tokenizer, Reading(12), labelled=True)
    rows = outputs(examples, 0)
    for tags, scores in zip(rows["tags"], rows["probabilities"], strict=True):
        tags[:], scores[:] = 4, np.arange(len(scores)) / 10
    wrong = examples.tables(rows)[1].rows
    assert {row[:4] for row in wrong} == {
        ("a.conll:1", "the", "O", "I-y"),
        ("a.conll:2", "cat", "B-x", "I-y"),
        ("a.conll:4", "dogs", "B-y", "I-y"),
        ("a.conll:6", "the", "O", "I-y"),
        ("a.conll:7", "y", "O", "I-y"),
    }


def test_classes_that_are_no_entities_have_accuracy_alone(tokenizer):
    task = TokenClassification(("DET", "NOUN"))
    examples = task.examples([tagged("the cat", "DET NOUN")], tokenizer, Reading(12), labelled=True)
    rows = {"row_ids": np.array([0]), "tags": [np.array([0, 0, 0, 0])]}
    rows["probabilities"] = [np.full(4, 0.5)]
    assert examples.metrics({"loss": 1.0}, rows) == {"loss": 1.0, "accuracy": 0.5}
    assert list(examples.predictions(rows)) == [{"words": ["the", "cat"], "tags": ["DET", "DET"]}]
    task = TokenClassification(LABELS, scheme="none")
    examples = task.examples([tagged("the cat", "O I-x")], tokenizer, Reading(12), labelled=True)
    assert examples.metrics({}, rows) == {"accuracy": 0.5}


def test_a_word_without_pieces_is_outside_or_what_most_of_its_sentence_are(tokenizer):
    sentences = [tagged("\x07", "y"), tagged("the \x07 cat cat", "z y z z")]
    task = TokenClassification(("x", "y", "z"))
    examples = task.examples(sentences, tokenizer, Reading(12), labelled=True)
    rows = {"row_ids": np.arange(2), "tags": [np.array([1, 1]), np.array([0, 1, 2, 2, 0])]}
    rows["probabilities"] = [np.ones(len(tags)) for tags in rows["tags"]]
    assert [found["tags"] for found in examples.predictions(rows)] == [["x"], ["y", "z", "z", "z"]]
    assert examples.metrics({}, rows) == {"accuracy": 2 / 5}
    words = TokenClassification(("x", "O")).examples(
        [tagged("\x07 the", "O O")], tokenizer, Reading(12), labelled=True
    )
    rows = {"row_ids": np.arange(1), "tags": [np.zeros(3, int)], "probabilities": [np.ones(3)]}
    assert [found["tags"] for found in words.predictions(rows)] == [["O", "x"]]


def test_long_sentences_and_words_without_pieces_are_told_before_training(tokenizer):
    sentences = [tagged("the cat", "O O"), tagged("the \x07 " + "cat " * 9 + "x", "O " * 11 + "O")]
    long, silent = TASK.examples(sentences, tokenizer, Reading(8), labelled=True).notes
    assert "1 of 2 sentences are longer" in long
    assert "1 of 14 words have no piece" in silent
    assert TASK.examples(sentences[:1], tokenizer, Reading(8), labelled=True).notes == ()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ("first", [-100, 1, 3, -100, -100, -100, 2, -100]),
        ("all", [-100, 1, 3, 4, 4, 4, 2, -100]),
    ],
)
def test_later_pieces_of_a_word_count_where_that_is_asked_for(tokenizer, pieces, expected):
    task = TokenClassification(LABELS, label_pieces=pieces)
    sentence = tagged("the thecat \x07 cat", "B-x B-y O I-x")
    with pytest.raises(UserError, match=r"a.conll:4: 'I-x' follows 'O'"):
        task.examples([sentence], tokenizer, Reading(12), labelled=True)
    sentence = tagged("the thecat \x07 cat", "B-x B-y B-x I-x")
    examples = task.examples([sentence], tokenizer, Reading(12), labelled=True)
    assert len(tokenizer.encode_plain(["the cat thecat"])[0]) == 6
    assert [row.tolist() for row in examples.features["labels"]] == [expected]
    assert (
        "labels" not in task.examples([sentence], tokenizer, Reading(12), labelled=False).features
    )


def test_labels_that_lack_the_tags_of_later_pieces_are_refused(tokenizer):
    task = TokenClassification(("O", "B-x"), label_pieces="all")
    examples = task.examples([tagged("the", "B-x")], tokenizer, Reading(12), labelled=True)
    with pytest.raises(UserError, match=r"task.labels lacks 'I-x'"):
        _ = examples.features


def test_predictions_of_a_text_have_places_in_words_and_characters(tokenizer, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "The cat-dogs  sat."}\n{"text": ""}')
    sentences = list(read_tagged(str(path), TagColumns(), labelled=False))
    examples = TASK.examples(sentences, tokenizer, Reading(20), labelled=False)
    names = ["O", "B-x", "I-x", "I-x", "O", "B-y"]
    first = examples.windows.places[:, 1]
    tags = np.zeros(len(examples.features["input_ids"][0]), np.int32)
    tags[first] = [LABELS.index(name) for name in names]
    scores = np.zeros(len(tags))
    scores[first] = [0.9, 0.5, 0.25, 0.75, 0.9, 1.0]
    rows = {"row_ids": np.arange(2), "tags": [tags, np.zeros(2, int)]}
    rows["probabilities"] = [scores, np.ones(2)]
    found, empty = examples.predictions(rows)
    assert found["words"] == ["The", "cat", "-", "dogs", "sat", "."]
    assert found["tags"] == names
    assert found["entities"] == [
        {
            "type": "x",
            "start": 1,
            "end": 4,
            "start_character": 4,
            "end_character": 12,
            "text": "cat-dogs",
            "score": 0.5,
        },
        {
            "type": "y",
            "start": 5,
            "end": 6,
            "start_character": 17,
            "end_character": 18,
            "text": ".",
            "score": 1.0,
        },
    ]
    assert empty == {"words": [], "tags": [], "entities": []}


def test_an_entity_of_a_scheme_with_ends_is_one_that_has_its_end(tokenizer):
    labels = ("O", "B-x", "I-x", "E-x", "S-x")
    examples = TokenClassification(labels).examples(
        [tagged("the cat the dogs x", "O O O O O")], tokenizer, Reading(12), labelled=False
    )
    names = ["B-x", "E-x", "B-x", "I-x", "S-x"]
    tags = np.zeros(len(examples.features["input_ids"][0]), np.int32)
    tags[examples.windows.places[:, 1]] = [labels.index(name) for name in names]
    rows = {"row_ids": np.arange(1), "tags": [tags], "probabilities": [np.ones(len(tags))]}
    [found] = examples.predictions(rows)
    assert [(each["start"], each["end"]) for each in found["entities"]] == [(0, 2), (4, 5)]


IOB1 = [tagged("a b c", "I-x B-x O"), tagged("d", "I-y", line=5)]


def indices(config: TokenClassificationConfig, records: list[TaggedSentence], tokenizer) -> Any:
    task = config.task(records)
    tags = task.examples(records, tokenizer, Reading(12), labelled=True).tags
    assert tags is not None
    return task.labels, [task.labels[tag] for tag in tags]


def test_data_are_trained_in_their_scheme_and_iob1_in_bio(tokenizer):
    Config = TokenClassificationConfig
    assert indices(Config(), IOB1, tokenizer) == (LABELS, ["B-x", "B-x", "O", "B-y"])
    labels, tags = indices(Config(train_as="bioes"), IOB1, tokenizer)
    assert labels == ("O", *(f"{prefix}-{kind}" for kind in "xy" for prefix in "BIES"))
    assert tags == ["S-x", "S-x", "O", "S-y"]
    whole = [tagged("a b", "B-x L-x")]
    assert indices(Config(), whole, tokenizer) == (
        ("O", "B-x", "I-x", "L-x", "U-x"),
        ["B-x", "L-x"],
    )
    # Another file of the same data may be in another scheme.
    task = Config().task(IOB1)
    other = task.examples(whole, tokenizer, Reading(12), labelled=True)
    assert [task.labels[tag] for tag in other.tags] == ["B-x", "I-x"]


def test_broken_tags_are_an_error_or_read_as_conlleval_reads_them(tokenizer):
    broken = [tagged("a b c", "B-x O I-y")]
    with pytest.raises(UserError, match=r"a.conll:3: 'I-y' follows 'O'.*broken_tags=repair"):
        TokenClassificationConfig().task(broken)
    config = TokenClassificationConfig(broken_tags="repair")
    assert indices(config, broken, tokenizer) == (LABELS, ["B-x", "O", "B-y"])
    config = TokenClassificationConfig(scheme="bio", broken_tags="repair")
    with pytest.raises(UserError, match=r"a.conll:1: 'NOUN' is no tag of bio"):
        config.task([tagged("a", "NOUN")])


def test_numbers_of_tags_are_named_by_the_labels(tokenizer):
    rows = [tagged("a b c", [1, 2, 0])]
    config = TokenClassificationConfig(labels=LABELS)
    assert indices(config, rows, tokenizer) == (LABELS, ["B-x", "I-x", "O"])
    assert TokenClassificationConfig().task(
        [tagged("a " * 11 + "b", list(range(12)))]
    ).labels == tuple(map(str, range(12)))
    with pytest.raises(UserError, match=r"a.conll:2: tag 7, expected the number .* to 4"):
        config.task(rows).examples([tagged("a b", [0, 7])], tokenizer, Reading(9), labelled=True)


def test_a_word_that_is_numbered_as_none_of_the_labels_is_refused():
    with pytest.raises(UserError, match=r"a.conll:2: tag -100, expected the number .* from 0 on"):
        TokenClassificationConfig().task([tagged("a b", [0, -100])])


def test_a_tag_that_the_model_does_not_know_is_named_with_its_line(tokenizer):
    message = r"a.conll:1: label 'B-z' is none of the model's: .*task.labels"
    with pytest.raises(UserError, match=message):
        TASK.examples([tagged("a", "B-z")], tokenizer, Reading(9), labelled=True)
    with pytest.raises(UserError, match=r"only the tags \['O'\]: nothing to tell apart"):
        TokenClassificationConfig().task([tagged("a b", "O O")])
    with pytest.raises(UserError, match="drop one"):
        TokenClassificationConfig(labels=LABELS, train_as="bio")


def test_the_head_says_the_labels_and_gives_the_task_back():
    assert TASK.head == Head("token_classification", labels=LABELS)
    assert TokenClassificationConfig().task_of(TASK.head) == TASK
    task, assumptions = TokenClassificationConfig().assumed()
    assert (len(task.labels), len(assumptions)) == (9, 1)
    assert TokenClassificationConfig(labels=LABELS).assumed() == (TASK, ())


def test_tokens_give_their_likeliest_tag_and_its_probability():
    logits = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32) * 30
    found = TASK.token_outputs(ModelOutput(jnp.zeros((3, 7, 4)), logits=jnp.asarray(logits)))
    np.testing.assert_array_equal(found["tags"], logits.argmax(axis=-1))
    scores = np.exp(logits.astype(np.float64))
    expected = (scores / scores.sum(axis=-1, keepdims=True)).max(axis=-1)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-6)
    assert TASK.row_outputs(ModelOutput(jnp.zeros((3, 7, 4)))) == {}
