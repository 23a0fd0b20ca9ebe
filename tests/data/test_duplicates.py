"""Exact duplicates against a set of texts, near ones against brute-force Jaccard."""

import pickle
import sys

import numpy as np
import pytest

from jaxbert.data.digests import DigestSet
from jaxbert.data.duplicates import ExactDuplicates, NearDuplicates
from jaxbert.data.min_hash import Bands, NearDuplicateConfig
from jaxbert.data.sources.document import Document
from jaxbert.errors import UserError


def document(text):
    return Document(text, "t.txt", 1)


def dropped(duplicates, texts):
    return [duplicates(document(text)) for text in texts]


def near(texts):
    """Which of the texts are near to an earlier one that was kept."""
    bands, kept = Bands(NearDuplicateConfig()), NearDuplicates()
    return [not kept.add(bands(text)) for text in texts]


def test_a_digest_set_answers_as_a_set_does():
    rng = np.random.default_rng(0)
    # Few values, zero, and values that all want the same place.
    values = [*rng.integers(0, 3000, 5000), *(rng.integers(0, 200, 500) << 40), 2**64 - 1, 0]
    ours, reference = DigestSet(), set()
    for value in map(int, values):
        # Zero is stored as one: one collision more among 2^64.
        value = value or 1
        assert (value in ours) == (value in reference)
        assert ours.add(value) == (value not in reference)
        reference.add(value)
    assert len(ours) == len(reference)
    assert all(value in ours for value in reference)


def test_a_digest_takes_between_12_and_24_bytes():
    digests = DigestSet()
    rng = np.random.default_rng(0)
    sizes = []
    for count, value in enumerate(map(int, rng.integers(1, 2**63, 20_000)), start=1):
        digests.add(value)
        if count > 4000 and count % 100 == 0:
            sizes.append(sys.getsizeof(digests._table) / count)
    assert 11.9 < min(sizes) < 13
    assert 23 < max(sizes) < 24.2


def test_exact_duplicates_are_those_of_a_set_of_normalised_texts():
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("ab \n"), 5)) for _ in range(2000)]
    seen, expected = set(), []
    for text in texts:
        key = " ".join(text.split())
        expected.append("exact duplicate" if key in seen else None)
        seen.add(key)
    assert dropped(ExactDuplicates(), texts) == expected
    assert None in expected[100:]


def test_white_space_and_unicode_form_make_no_other_text_but_case_does():
    texts = ["Café  au\nlait", "Cafe\u0301 au lait ", "café au lait", "Café au lait."]
    assert dropped(ExactDuplicates(), texts) == [None, "exact duplicate", None, None]


def overlapping_pair(rng, similarity, size, first_word):
    """Two texts of `size` words each, none twice, with that Jaccard similarity of their words."""
    shared = round(2 * size * similarity / (1 + similarity))
    words = [f"w{first_word + i}" for i in range(2 * size - shared)]
    one, other = words[:size], words[:shared] + words[size:]
    assert len(set(one) & set(other)) / len(set(one) | set(other)) == pytest.approx(
        similarity, abs=0.02
    )
    return " ".join(rng.permutation(one)), " ".join(rng.permutation(other))


@pytest.mark.parametrize("config", [NearDuplicateConfig(1), NearDuplicateConfig(1, 64, 0.5)])
@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.8, 0.9])
def test_pairs_are_found_as_often_as_the_curve_of_the_banding_says(config, similarity):
    rng = np.random.default_rng(2)
    bands, count, size = Bands(config), 300, 60
    found = 0
    for index in range(count):
        one, other = overlapping_pair(rng, similarity, size, 200 * index)
        found += not set(bands(one)).isdisjoint(bands(other))
    shared = round(2 * size * similarity / (1 + similarity))
    exact = shared / (2 * size - shared)
    num_bands, rows = config.bands_and_rows
    expected = 1 - (1 - exact**rows) ** num_bands
    # Five standard deviations and one pair.
    assert abs(found - count * expected) < 5 * np.sqrt(count * expected * (1 - expected)) + 1


def jaccard(one, other, size):
    first, second = (
        {tuple(words[i : i + size]) for i in range(max(len(words) - size + 1, 1))}
        for words in (one.split(), other.split())
    )
    return len(first & second) / len(first | second)


def edited_corpus(rng):
    """Originals of random words, and after each some copies with more and more words replaced."""
    for _ in range(25):
        original = rng.integers(0, 5000, 300)
        for replaced in (0, 0, 2, 5, 40, 150):
            copy = original.copy()
            copy[rng.choice(300, replaced, replace=False)] = rng.integers(0, 5000, replaced)
            yield " ".join(f"w{word}" for word in copy)


def test_near_duplicates_are_those_of_brute_force_where_the_curve_leaves_no_doubt():
    texts = list(edited_corpus(np.random.default_rng(3)))
    answers = near(texts)
    kept: list[str] = []
    clear = [0, 0]
    for text, answer in zip(texts, answers, strict=True):
        nearest = max((jaccard(text, other, 5) for other in kept), default=0.0)
        # The curve: above 0.999 from 0.92 on, below 0.001 up to 0.3.
        if nearest > 0.92 or nearest < 0.3:
            assert answer == (nearest > 0.92)
            clear[nearest > 0.92] += 1
        if not answer:
            kept.append(text)
    assert min(clear) >= 25


def test_case_punctuation_and_line_breaks_make_no_difference():
    texts = ["One two, three; four five six.", "one TWO three\nfour -- five six!"]
    assert near(texts) == [False, True]


def test_a_text_shorter_than_a_shingle_is_compared_as_a_whole():
    texts = ["Yes, indeed.", "yes indeed", "indeed yes", "yes"]
    assert near(texts) == [False, True, False, False]


def test_texts_without_words_are_left_to_other_filters():
    assert near(["...", "!?", ""]) == [False, False, False]


def test_scripts_without_spaces_are_compared_letter_by_letter():
    text = "北京是中华人民共和国的首都也是全国的政治中心文化中心国际交往中心和科技创新中心" * 2
    other = text[:30] + "。" + text[30:]
    assert near([text, other, text[::-1]]) == [False, True, False]


def test_only_what_was_kept_drops_others():
    rng = np.random.default_rng(4)
    words = rng.integers(0, 10**6, 400).astype(str)
    chain = []
    for _ in range(40):
        words[rng.choice(400, 3, replace=False)] = rng.integers(0, 10**6, 3).astype(str)
        chain.append(" ".join(words))
    answers = near(chain)
    # Neighbours are alike, but what has drifted far from the first is kept again.
    assert not answers[0]
    assert 2 <= answers.count(False) < 20


def test_bands_are_the_same_in_another_process():
    bands = Bands(NearDuplicateConfig())
    text = "the quick brown fox jumps over the lazy dog, é"
    assert pickle.loads(pickle.dumps(bands))(text) == bands(text)
    assert Bands(NearDuplicateConfig())(text) == bands(text)


def test_a_long_text_has_the_bands_of_its_shingles_in_any_order():
    rng = np.random.default_rng(5)
    words = [f"w{i}" for i in range(5000)]
    bands = Bands(NearDuplicateConfig(shingle_words=1))
    assert bands(" ".join(words)) == bands(" ".join(rng.permutation(words)))


@pytest.mark.parametrize(
    ("config", "bands_and_rows"),
    [
        # FineWeb's.
        (NearDuplicateConfig(), (14, 8)),
        (NearDuplicateConfig(5, 128, 0.8), (14, 9)),
        (NearDuplicateConfig(5, 4, 0.01), (4, 1)),
    ],
)
def test_bands_follow_from_permutations_and_threshold(config, bands_and_rows):
    assert config.bands_and_rows == bands_and_rows


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": 1.0}, "threshold 1.0; expected a number between 0 and 1"),
        ({"shingle_words": 0}, "shingle_words must be at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        NearDuplicateConfig(**values)


@pytest.mark.parametrize("package", ["datasketch", "regex"])
def test_without_its_package_the_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"needs the package {package}; install jaxbert\[corpus\]"):
        Bands(NearDuplicateConfig())
