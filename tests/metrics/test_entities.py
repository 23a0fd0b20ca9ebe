"""Scores of entities are seqeval's, to the last bit."""

import random

import pytest
from seqeval.metrics import classification_report
from seqeval.scheme import BILOU, IOBES

from jaxbert.errors import UserError
from jaxbert.metrics.entities import entity_scores

CASES = [
    ("bio", "BI", None),
    ("iob1", "BI", None),
    ("bioes", "BIES", IOBES),
    ("bilou", "BILU", BILOU),
]


def random_tags(prefixes: str, lengths: list[int], rng: random.Random) -> list[list[str]]:
    tags = ["O", "O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("x", "y", "a-b"))]
    return [rng.choices(tags, k=length) for length in lengths]


@pytest.mark.parametrize(("scheme", "prefixes", "strict"), CASES)
def test_scores_of_any_tags_are_those_of_seqeval(scheme, prefixes, strict):
    rng = random.Random(0)
    for _ in range(5):
        lengths = [rng.randrange(7) for _ in range(60)]
        labels, found = (random_tags(prefixes, lengths, rng) for _ in range(2))
        # Half of the sentences right, so that there is something to count.
        found = [a if rng.random() < 0.5 else b for a, b in zip(labels, found, strict=True)]
        mode = {} if strict is None else {"mode": "strict", "scheme": strict}
        report = classification_report(labels, found, output_dict=True, zero_division=0, **mode)
        scores = entity_scores(labels, found, scheme, ("a-b", "x", "y", "never"))
        assert scores["f1"] == report["micro avg"]["f1-score"] > 0
        assert scores["precision"] == report["micro avg"]["precision"]
        assert scores["recall"] == report["micro avg"]["recall"]
        for kind in ("a-b", "x", "y"):
            expected = report[kind]
            assert scores[f"f1/{kind}"] == expected["f1-score"]
            assert scores[f"precision/{kind}"] == expected["precision"]
            assert scores[f"recall/{kind}"] == expected["recall"]
            assert scores[f"number/{kind}"] == expected["support"]
        assert scores["number/never"] == scores["f1/never"] == 0.0


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_sentences_without_entities_have_no_scores_but_zero(scheme: str):
    for tags in ([], [[]], [["O", "O"], []]):
        assert set(entity_scores(tags, tags, scheme, ["x"]).values()) == {0.0}


@pytest.mark.parametrize(("scheme", "meant"), [("BIOES", "bioes"), ("iobes", "bioes")])
def test_a_scheme_that_is_none_is_refused(scheme: str, meant: str):
    """Tags would be read as BIO, in which E and S are no entity's."""
    with pytest.raises(UserError, match=f"^scheme='{scheme}': did you mean '{meant}'"):
        entity_scores([["S-x"]], [["S-x"]], scheme, ["x"])
