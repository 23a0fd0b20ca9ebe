import yaml

from jaxbert.hub.card import Card, render
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


def test_a_card_says_nothing_that_it_was_not_told():
    text = render(Card("x"), EncoderConfig(), Head("masked_lm"))
    assert "fill-mask" in text
    assert not any(word in text for word in ("license", "## Data", "## Results", "## Training"))
