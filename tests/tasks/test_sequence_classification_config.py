"""The section `task` for sentences: which target it makes of records, or of a finished head."""

from typing import Any

import pytest

from jaxbert.config import parse_config, to_values
from jaxbert.data.reading import Reading
from jaxbert.data.tables import Row
from jaxbert.errors import UserError
from jaxbert.nn.head import Head
from jaxbert.tasks.multi_label import MultiLabel
from jaxbert.tasks.multiple_choice import MultipleChoiceConfig
from jaxbert.tasks.question_answering import QuestionAnsweringConfig
from jaxbert.tasks.regression import Regression
from jaxbert.tasks.sentence_embedding import SentenceEmbeddingConfig
from jaxbert.tasks.sequence_classification_config import SequenceClassificationConfig
from jaxbert.tasks.single_label import SingleLabel
from jaxbert.tasks.token_classification import TokenClassificationConfig
from jaxbert.text.training import train_wordpiece

PAIRS = {"text": "query", "text_pair": "passage"}
TOKENIZER, READING = train_wordpiece(["a text"], 50, min_frequency=1), Reading(8)


def config(**values: Any) -> SequenceClassificationConfig:
    return parse_config(SequenceClassificationConfig, values)


def rows(*labels: str) -> list[Row]:
    return [Row({"sentence": "x", "label": x}, "t.tsv", i) for i, x in enumerate(labels, start=2)]


def target(*labels: str, **values: Any) -> Any:
    return config(**values).task(rows(*labels)).target


def test_labels_are_those_of_the_data_where_none_are_given():
    assert target("b", "a", "b") == SingleLabel(("a", "b"))
    assert target("b", "a", labels=["b", "a"]) == SingleLabel(("b", "a"))
    assert target("b,a", "", multi_label=True) == MultiLabel(("a", "b"))
    assert target("1", "2", regression=True) == Regression()


def test_labels_that_are_none_or_no_texts_are_refused():
    for kind in (SequenceClassificationConfig, TokenClassificationConfig):
        with pytest.raises(UserError, match=r"'labels': .* at least 1 .*: leave it out, or name"):
            parse_config(kind, {"labels": []})
        with pytest.raises(UserError, match=r"'labels.0': .* \(found 0\): put it in quotes$"):
            parse_config(kind, {"labels": [0]})


def test_weights_are_given_by_name_or_balanced_by_the_data():
    assert target("a", "b", class_weights={"b": 3}).class_weights == (1.0, 3.0)
    assert target("a", "b", "b", "b", class_weights="balanced").class_weights == (2.0, 2 / 3)
    with pytest.raises(UserError, match=r"task\.class_weights: no class 'negativ': did"):
        target("negative", "positive", class_weights={"negativ": 2.0})
    with pytest.raises(UserError, match=r"task\.class_weights: 0 for every class: nothing to"):
        target("a", "b", class_weights={"a": 0.0, "b": 0.0})
    number = r"^configuration: 'class_weights.0': Input should be .* put it in quotes$"
    with pytest.raises(UserError, match=number):
        parse_config(SequenceClassificationConfig, {"class_weights": {0: 2.0}})


def test_how_one_class_is_trained_and_told_is_as_the_section_says():
    options: dict[str, Any] = {"label_smoothing": 0.3, "top_k": 2}
    assert target("a", "b", **options) == SingleLabel(("a", "b"), **options)


KINDS = (
    (SequenceClassificationConfig, {"classifier_dropout": 0.3, "pooling": "max"}),
    (SequenceClassificationConfig, {"mixture": {"num_layers": 3}, "regression": True}),
    (TokenClassificationConfig, {"classifier_dropout": 0.3, "mixture": {"num_layers": 3}}),
    (MultipleChoiceConfig, {"classifier_dropout": 0.3}),
    (QuestionAnsweringConfig, {"mixture": {"num_layers": 3}}),
    (SentenceEmbeddingConfig, {"pooling": "max"}),
)


@pytest.mark.parametrize(("kind", "values"), KINDS)
def test_the_head_of_every_kind_is_as_the_section_says(kind: Any, values: dict[str, Any]):
    section = parse_config(kind, values)
    head = section.assumed()[0].head
    for name in ("classifier_dropout", "pooling", "mixture"):
        assert getattr(head, name) == getattr(section, name, None)


def test_a_threshold_is_that_of_every_label_and_tuned_begins_with_a_half():
    assert target("a,b", multi_label=True, threshold=0.3).thresholds == (0.3, 0.3)
    tuned = config(multi_label=True, threshold="tuned").task(rows("a,b"))
    assert (tuned.target.thresholds, tuned.tunes_thresholds) == (None, True)


def test_a_finished_head_says_what_its_outputs_are():
    def of(problem: Any, **values: Any) -> Any:
        head = Head("sequence_classification", ("a", "b"), problem, **values)
        return config(top_k=9, threshold="tuned", multi_label=True).task_of(head)

    assert of("multi_label_classification", thresholds=(0.1, 0.2)).target == MultiLabel(
        ("a", "b"), (0.1, 0.2)
    )
    assert of("single_label_classification").target == SingleLabel(("a", "b"), top_k=9)
    assert of(None).target == SingleLabel(("a", "b"), top_k=9)
    assert of("regression").target == Regression(("a", "b"))
    assert not of("multi_label_classification").tunes_thresholds


def test_a_class_that_training_lacks_is_named_with_file_row_and_remedy():
    task = config().task(rows("a", "b"))
    sentences = rows("a", "c", "d")
    with pytest.raises(UserError) as caught:
        task.examples(sentences, TOKENIZER, READING, labelled=True)
    assert str(caught.value).startswith("t.tsv:3: label 'c' is none of the model's: ")
    assert "(and 1 more such rows), or train with task.labels that name it" in str(caught.value)


def test_a_section_is_read_back_from_what_a_run_writes_down():
    for values in ({"glue": "mnli"}, {"class_weights": {"a": 2.0}}, {"class_weights": "balanced"}):
        assert config(**to_values(config(**values))) == config(**values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"labels": ["a", "b", "c"]}, "here are 3 labels"),
        ({"labels": ["a", "b"], "multi_label": True}, "here are 2 labels"),
        ({"regression": True}, "here numbers are told"),
    ],
)
def test_what_ranks_no_rows_is_refused(values, told):
    with pytest.raises(UserError, match=told):
        config(**values, columns=PAIRS, ranking=True).assumed()


def test_texts_that_are_no_pairs_are_not_ranked():
    section = config(labels=["no", "yes"], ranking=True)
    with pytest.raises(UserError, match=r"columns\.text_pair is null"):
        section.assumed()
    with pytest.raises(UserError, match=r"columns\.text_pair is null"):
        section.task_of(Head("sequence_classification", ("no", "yes")))


def test_rows_are_ranked_by_one_label_or_the_second_of_two_classes():
    for values in ({"labels": ["no", "yes"]}, {"labels": ["relevant"], "multi_label": True}):
        section = config(**values, columns=PAIRS, ranking=True)
        task, _ = section.assumed()
        assert task.ranks
        assert section.task_of(task.head).ranks
