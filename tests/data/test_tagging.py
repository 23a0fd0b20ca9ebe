"""Schemes of tags against seqeval, on sequences that keep to them and on random ones."""

import random
from itertools import pairwise

import pytest
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOBES, Entities

from jaxbert.data.tagging import (
    Scheme,
    Span,
    all_tags,
    continuation,
    converted,
    detected,
    offence,
    scheme_of_labels,
    spans,
    strict_spans,
    written,
)

PREFIXES = {"bio": "BI", "iob1": "BI", "bioes": "BIES", "bilou": "BILU"}
SCHEMES: tuple[Scheme, ...] = ("bio", "iob1", "bioes", "bilou")


def random_tags(prefixes: str, seed: int, number: int = 400) -> list[list[str]]:
    rng = random.Random(seed)
    tags = ["O", "O", *(f"{prefix}-{kind}" for prefix in prefixes for kind in ("x", "y-z"))]
    return [rng.choices(tags, k=rng.randrange(9)) for _ in range(number)]


def random_spans(rng: random.Random, length: int) -> list[Span]:
    edges = sorted(rng.sample(range(length + 1), rng.randrange(length + 2)))
    pairs = pairwise(edges)
    return [Span(rng.choice("xy"), *pair) for pair in pairs if rng.random() < 0.7]


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
def test_entities_of_any_tags_are_those_that_seqeval_finds(prefixes: str):
    for tags in random_tags(prefixes, seed=1):
        expected = [Span(kind, start, last + 1) for kind, start, last in get_entities(tags)]
        assert spans(tags) == expected, tags


@pytest.mark.parametrize(("prefixes", "scheme"), [("BIES", IOBES), ("BILU", BILOU)])
def test_whole_entities_of_any_tags_are_those_that_seqeval_finds_strictly(prefixes, scheme):
    for tags in random_tags(prefixes, seed=2):
        found = Entities([tags], scheme).entities[0]
        assert strict_spans(tags) == [Span(e.tag, e.start, e.end) for e in found], tags


@pytest.mark.parametrize("scheme", SCHEMES)
def test_written_entities_are_read_back_and_break_no_rule(scheme: Scheme):
    rng = random.Random(3)
    for _ in range(200):
        length = rng.randrange(9)
        entities = random_spans(rng, length)
        tags = written(entities, length, scheme)
        assert spans(tags) == entities
        assert offence(tags, scheme) is None
        for other in SCHEMES:
            assert spans(converted(tags, other)) == entities


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tags_break_a_scheme_where_it_would_write_their_entities_otherwise(scheme: Scheme):
    for tags in random_tags(PREFIXES[scheme], seed=4):
        assert (offence(tags, scheme) is None) == (converted(tags, scheme) == tags), tags


def test_the_schemes_of_two_neighbours_and_a_lone_word():
    entities = [Span("x", 0, 2), Span("x", 2, 3), Span("y", 3, 4)]
    expected = {
        "bio": "B-x I-x B-x B-y O",
        "iob1": "I-x I-x B-x I-y O",
        "bioes": "B-x E-x S-x S-y O",
        "bilou": "B-x L-x U-x U-y O",
    }
    for scheme, tags in expected.items():
        assert written(entities, 5, scheme) == tags.split()
        assert detected([tags.split()]) == scheme


@pytest.mark.parametrize(
    ("tags", "scheme", "place", "reason"),
    [
        ("O I-x", "bio", 1, "'I-x' follows 'O'"),
        ("B-x I-y", "bio", 1, "'I-y' follows 'B-x'"),
        ("O S-x", "bio", 1, "'S-x' is no tag of bio"),
        ("O B-x", "iob1", 1, "'B-x' follows 'O', where iob1 begins with 'I-x'"),
        ("B-x O", "bioes", 1, "'O' follows 'B-x', which bioes does not end without an E"),
        ("O B-x", "bioes", 1, "'B-x' ends a sentence"),
        ("O I-x L-x", "bilou", 1, "'I-x' breaks bilou"),
        ("O NOUN", "bio", 1, "'NOUN' is no tag of bio"),
    ],
)
def test_the_first_broken_tag_is_found(tags: str, scheme: Scheme, place: int, reason: str):
    found = offence(tags.split(), scheme)
    assert found is not None
    assert found[0] == place
    assert found[1].startswith(reason)


def test_a_scheme_is_told_by_the_tags():
    assert detected([["I-x", "B-x"], ["O"]]) == "iob1"
    assert detected([["B-x", "O", "I-x"]]) == "bio"
    assert detected([["NOUN", "O"], ["B-x"]]) == detected([["O"]]) == detected([]) == "none"
    assert scheme_of_labels(["O", "I-x"]) == "iob1"
    assert scheme_of_labels(["B-x", "U-x", "E-x"]) == "none"
    assert scheme_of_labels(all_tags(["x"], "bilou")) == "bilou"


def test_all_tags_of_a_scheme_and_what_goes_on_in_a_word():
    assert all_tags(["x", "y"], "bio") == ("O", "B-x", "I-x", "B-y", "I-y")
    assert all_tags(["x"], "bioes") == ("O", "B-x", "I-x", "E-x", "S-x")
    assert [continuation(tag) for tag in ("O", "B-a-b", "I-x", "S-x")] == [
        "O",
        "I-a-b",
        "I-x",
        "S-x",
    ]
