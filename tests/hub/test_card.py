from pathlib import Path

import pytest
import yaml

from jaxbert.errors import UserError
from jaxbert.hub.card import Card, read_carried, render
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.head import Head

HEAD = Head("sequence_classification", ("a|b", "c"))


def test_the_front_matter_is_what_the_hub_reads():
    card = Card(
        "polite",
        language=("en",),
        license="apache-2.0",
        base_model="google-bert/bert-base-uncased",
        metrics={"accuracy": 0.5},
    )
    _, front, body = render(card, EncoderConfig(), HEAD).split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "language": ["en"],
        "license": "apache-2.0",
        "base_model": "google-bert/bert-base-uncased",
        "metrics": ["accuracy"],
        "tags": ["jaxbert"],
    }
    assert "# polite\n" in body
    assert "`BertForSequenceClassification` with 12 layers" in body
    assert "| accuracy | 0.5 |" in body


def test_training_options_are_one_row_each_by_their_dotted_names():
    training = {"optimizer": {"learning_rate": 3e-5, "decay": {"rate": 0.1}}, "labels": "a|b"}
    text = render(Card("x", training=training), EncoderConfig(), Head())
    assert "| optimizer.learning_rate | 3e-05 |\n| optimizer.decay.rate | 0.1 |" in text
    assert "| labels | a&#124;b |" in text


def test_labels_are_named_whatever_they_are():
    head = Head("sequence_classification", ("a `b` ``c``", "d\n# e"))
    text = render(Card("x"), EncoderConfig(), head)
    assert "Labels: ``` a `b` ``c`` ```, `d # e`.\n" in text


@pytest.mark.parametrize(("count", "end"), [(100, "`99`.\n"), (20_000, "`99` and 19,900 more, in")])
def test_of_very_many_labels_the_first_ones_are_named(count: int, end: str):
    head = Head("sequence_classification", tuple(map(str, range(count))))
    text = render(Card("x"), EncoderConfig(), head)
    assert f"`98`, {end}" in text
    assert "`100`" not in text


def test_a_card_says_nothing_that_it_was_not_told():
    text = render(Card("x"), EncoderConfig(), Head("masked_lm"))
    assert "fill-mask" in text
    assert not any(word in text for word in ("license", "## Data", "## Results", "## Training"))


def test_what_holds_of_a_changed_model_too_is_carried_from_card_to_card(tmp_path: Path):
    matter = {
        "license": "other",
        "license_name": "mine",
        "language": "en",
        "base_model": ["a/b", "c/d"],
        "datasets": ["s2orc"],
        "tags": ["their-tag"],
        "library_name": "theirs",
    }
    card = tmp_path / "README.md"
    card.write_text(f"---\n{yaml.safe_dump(matter)}---\n\n# Theirs\n\n---\n")
    carried = read_carried(tmp_path)
    assert carried == {key: matter[key] for key in carried}
    assert set(matter) - set(carried) == {"tags", "library_name"}
    front = yaml.safe_load(
        render(Card("x", carried=carried), EncoderConfig(), Head()).split("---\n")[1]
    )
    assert front == carried | {"library_name": "transformers", "tags": ["jaxbert"]}
    # What is told of the new model goes before it.
    own = Card("x", license="mit", base_model="e/f", carried=carried)
    front = yaml.safe_load(render(own, EncoderConfig(), Head()).split("---\n")[1])
    assert (front["license"], front["base_model"], front["language"]) == ("mit", "e/f", "en")
    assert "license_name" not in front
    for text in ("", "# A title\n\n---\nlicense: mit\n---\n", "---\nwords\n---\n", "---\n"):
        card.write_text(text)
        assert read_carried(tmp_path) == {}
    # What YAML 1.1 would take for false, a day that there is not, and a blank line in front.
    card.write_text("\n---\nlanguage: [no, en]\ndate: 2024-02-30\nlicense: null\n---\n")
    assert read_carried(tmp_path) == {"language": ["no", "en"]}
    text = render(Card("x", carried=read_carried(tmp_path)), EncoderConfig(), Head())
    assert yaml.safe_load(text.split("---\n")[1])["language"] == ["no", "en"]
    card.write_text("---\nlicense: [mit\n---\n")
    with pytest.raises(UserError, match=r"README\.md: its front matter is not YAML"):
        read_carried(tmp_path)
