"""Runs of words: against plain walks over each row, and against the papers' distributions."""

import numpy as np
import pytest
from corpora import CLS, MASK, NUM_SPECIAL, PAD, SEP, UNK, mask_rows, vocabulary
from scipy import stats

from jaxbert.data.mask_units import (
    Layout,
    choose_runs,
    choose_tokens,
    draw_run_lengths,
    run_length_shares,
    word_starts,
)
from jaxbert.data.masking_config import (
    MaskingConfig,
    NgramUnits,
    PhraseUnits,
    SpanUnits,
    TokenUnits,
    WordUnits,
)
from jaxbert.data.phrases import Phrases
from jaxbert.data.ragged import Ragged

VOCAB_SIZE = 1_000
VOCABULARY = vocabulary(VOCAB_SIZE, 4)
PHRASES = Phrases([[5, 6], [9, 12, 13], [6, 7, 9]])
RUNS = [SpanUnits(), NgramUnits()]
ALL_UNITS = [TokenUnits(), WordUnits(), *RUNS, PhraseUnits(file="phrases.txt")]
kinds = pytest.mark.parametrize("units", ALL_UNITS, ids=lambda units: units.kind)


def rows_of_text(lengths, width, seed=0, vocab_size=VOCAB_SIZE):
    """[CLS] text [SEP] text [SEP] padding, with an [UNK] here and there."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(NUM_SPECIAL, vocab_size, (len(lengths), width)).astype(np.int32)
    ids[generator.random(ids.shape) < 0.02] = UNK
    columns = np.arange(width)
    ids[:, 0] = CLS
    ids[(columns == lengths[:, None] // 3) & (columns > 1)] = SEP
    ids[columns == lengths[:, None] - 1] = SEP
    ids[columns >= lengths[:, None]] = PAD
    return ids


def mask(ids, lengths, units, seed=0, first=0, **options):
    return mask_rows(
        ids,
        lengths,
        VOCABULARY,
        np.zeros(len(ids), np.int64),
        first + np.arange(len(ids)),
        seed=seed,
        config=MaskingConfig(units=units, **options),
        phrases=PHRASES if isinstance(units, PhraseUnits) else None,
    )


def chosen_marks(masked, shape):
    chosen = np.zeros(shape, dtype=bool)
    rows, slots = np.nonzero(masked.labels != -100)
    chosen[rows, masked.positions[rows, slots]] = True
    return chosen


def words_of(maskable, continues):
    """The segments of a row as lists of words, these as lists of positions."""
    segments = []
    for position, is_text in enumerate(maskable):
        if not is_text:
            continue
        if position == 0 or not maskable[position - 1]:
            segments.append([])
        if segments[-1] and continues[position]:
            segments[-1][-1].append(position)
        else:
            segments[-1].append([position])
    return segments


def walked(segments, order, runs, wanted, passes):
    """What SpanBERT's code (passes) or ALBERT's does with one row, whole words only."""
    places = [(segment, k) for segment in segments for k in range(len(segment))]
    chosen = set()
    for unit in order:
        segment, k = places[unit]
        if chosen & set(segment[k]):
            continue
        run = set()
        for word in segment[k : k + runs[unit]]:
            new = set(word) - chosen if passes else set(word)
            if len(chosen) + len(run) + len(new) > wanted:
                break
            run |= new
        if not chosen & run:
            chosen |= run
    return chosen


def flat(rows):
    """The examples that are the whole rows."""
    return Ragged(np.full(len(rows), rows.shape[1]))


@pytest.mark.parametrize("passes", [True, False])
def test_runs_are_those_of_a_walk_over_each_row(passes):
    generator = np.random.default_rng(3)
    maskable = generator.random((300, 40)) < 0.85
    continues = generator.random(maskable.shape) < 0.4
    is_start = word_starts(maskable, continues)
    layout = Layout.of(maskable.ravel(), is_start.ravel(), flat(maskable))
    order = layout.in_random_order(generator.integers(2**32, size=is_start.sum(), dtype=np.uint32))
    runs = generator.integers(1, 6, len(layout.sizes))
    wanted = generator.integers(1, 30, len(maskable))
    chosen = maskable & choose_runs(layout, order, runs, wanted, passes).reshape(maskable.shape)
    for row in range(len(maskable)):
        first, count = layout.first[row], layout.count[row]
        own = order[row, :count] - first
        assert sorted(own.tolist()) == list(range(count))
        segments = words_of(maskable[row], continues[row])
        expected = walked(segments, own, runs[first : first + count], wanted[row], passes)
        assert set(np.flatnonzero(chosen[row]).tolist()) == expected


def test_no_run_goes_on_in_the_next_row():
    maskable = np.array([[True, True, False, False], [False, False, True, True]])
    layout = Layout.of(maskable.ravel(), maskable.ravel(), flat(maskable))
    order = layout.in_random_order(np.arange(4, dtype=np.uint32))
    assert layout.room.tolist() == [2, 1, 2, 1]
    chosen = choose_runs(layout, order, np.full(4, 9), np.array([9, 0]), passes=True)
    assert (maskable.ravel() & chosen).tolist() == [True, True] + [False] * 6


def test_no_run_goes_on_in_a_row_that_follows_without_a_special_token():
    maskable = np.ones((2, 2), bool)
    layout = Layout.of(maskable.ravel(), maskable.ravel(), flat(maskable))
    assert layout.room.tolist() == [2, 1, 2, 1]


def test_tokens_that_draw_the_same_number_do_not_exceed_what_is_wanted():
    maskable = np.array([False, True, True, True, True, True, False, True])
    examples = Ragged(np.array([4, 4]))
    drawn = np.full(8, 7, np.uint32)
    chosen, counts = choose_tokens(maskable, drawn, np.array([2, 5]), examples)
    assert counts.tolist() == [2, 3]
    assert chosen.tolist() == [1, 2, 4, 5, 7]


@pytest.mark.parametrize("largest", [2**32, 9])
def test_the_tokens_with_the_smallest_numbers_are_chosen(largest):
    """Small numbers are often equal, and the largest is what stands for a token of no interest."""
    generator = np.random.default_rng(largest)
    lengths = generator.integers(1, 40, 200)
    maskable = generator.random(lengths.sum()) < 0.8
    drawn = (2**32 - 1 - generator.integers(largest, size=lengths.sum())).astype(np.uint32)
    wanted = generator.integers(1, 12, 200)
    places, counts = choose_tokens(maskable, drawn, wanted, Ragged(lengths))
    chosen = set(places.tolist())
    np.testing.assert_array_equal(counts, Ragged(lengths).among(places))
    for start, length, count in zip(lengths.cumsum() - lengths, lengths, wanted, strict=True):
        own = [place for place in range(start, start + length) if maskable[place]]
        highest = sorted(drawn[own])[:count][-1:]
        # Of what is no larger than the last of them the first ones.
        expected = [place for place in own if drawn[place] <= highest][:count]
        assert sorted(chosen & set(range(start, start + length))) == expected


def test_span_lengths_are_geometric_below_eleven_words():
    drawn = np.random.default_rng(0).integers(2**32, size=100_000, dtype=np.uint32)
    lengths = draw_run_lengths(run_length_shares(SpanUnits()), drawn)
    shares = 0.2 * 0.8 ** np.arange(10)
    counts = np.bincount(lengths, minlength=11)[1:]
    assert stats.chisquare(counts, len(lengths) * shares / shares.sum()).pvalue > 0.001
    # Joshi et al. 2019, section 3.1.
    assert round(lengths.mean(), 1) == 3.8


def test_ngram_lengths_fall_as_their_inverse():
    drawn = np.random.default_rng(0).integers(2**32, size=100_000, dtype=np.uint32)
    lengths = draw_run_lengths(run_length_shares(NgramUnits()), drawn)
    counts = np.bincount(lengths, minlength=4)[1:]
    # 1, 1/2 and 1/3 of their sum (Lan et al. 2019, section 4.1).
    assert stats.chisquare(counts, len(lengths) * np.array([6, 3, 2]) / 11).pvalue > 0.001


@pytest.mark.parametrize(
    ("units", "shares"),
    [
        (SpanUnits(geometric_p=0.5, max_words=4), [8 / 15, 4 / 15, 2 / 15, 1 / 15]),
        (NgramUnits(max_words=2), [2 / 3, 1 / 3]),
        (WordUnits(), [1.0]),
    ],
)
def test_how_long_runs_may_be_is_as_the_units_say(units, shares):
    np.testing.assert_allclose(run_length_shares(units), shares, rtol=1e-12)


def lengths_of_runs(chosen):
    """How many unbroken runs there are of each number of tokens, from one to eighteen or more."""
    padded = np.pad(chosen, ((0, 0), (1, 1))).astype(int)
    begins = np.flatnonzero(np.diff(padded).ravel() == 1)
    ends = np.flatnonzero(np.diff(padded).ravel() == -1)
    return np.bincount(np.minimum(ends - begins, 18), minlength=19)[1:]


@pytest.mark.parametrize("units", RUNS, ids=lambda units: units.kind)
def test_masked_runs_are_as_long_as_in_the_published_procedure(units):
    """The papers draw a start and a length again and again; here the starts are permuted once."""
    num_rows, num_tokens, wanted = 500, 298, 45
    ids = np.full((num_rows, num_tokens + 2), 6, np.int32)
    ids[:, 0], ids[:, -1] = CLS, SEP
    masked = mask(ids, np.full(num_rows, num_tokens + 2), units)
    found = chosen_marks(masked, ids.shape)
    assert (found.sum(axis=1) == wanted).all()
    generator = np.random.default_rng(1)
    shares = run_length_shares(units)
    published = np.zeros((num_rows, num_tokens), dtype=bool)
    for row in published:
        while row.sum() < wanted:
            length = generator.choice(len(shares), p=shares) + 1
            start = generator.integers(num_tokens)
            window = row[start : start + length]
            if row[start] or (units == NgramUnits() and window.any()):
                continue
            window[: 1 + np.searchsorted(np.cumsum(~window), wanted - row.sum())] = True
    table = np.array([lengths_of_runs(found), lengths_of_runs(published)])
    table = table[:, table.sum(axis=0) > 10]
    assert stats.chi2_contingency(table).pvalue > 0.001


@kinds
def test_units_are_never_split_and_special_tokens_never_chosen(units):
    lengths = np.random.default_rng(5).integers(1, 98, 300)
    # Few ids, so that the phrases are met.
    ids = rows_of_text(lengths, 97, vocab_size=14)
    for seed, probability in enumerate(np.random.default_rng(6).uniform(0.01, 1.0, 6)):
        masked = mask(ids, lengths, units, seed, probability=probability)
        chosen = chosen_marks(masked, ids.shape)
        assert not chosen[ids < NUM_SPECIAL].any()
        wanted = np.maximum(1, np.rint(probability * lengths))
        assert (chosen.sum(axis=1) <= wanted).all()
        if units == TokenUnits():
            expected = np.minimum(wanted, (ids >= NUM_SPECIAL).sum(axis=1))
            np.testing.assert_array_equal(chosen.sum(axis=1), expected)
            continue
        maskable = ids >= NUM_SPECIAL
        joined = maskable & ~word_starts(maskable, VOCABULARY.is_continuation[ids])
        if isinstance(units, PhraseUnits):
            joined |= PHRASES.inside(ids, maskable, maskable & ~joined)
        assert (chosen[:, 1:] == chosen[:, :-1])[joined[:, 1:]].all()


@kinds
@pytest.mark.parametrize("probability", [0.05, 0.15, 0.4, 0.8])
def test_nearly_as_many_tokens_are_masked_as_the_recipe_asks_for(units, probability):
    lengths = np.random.default_rng(8).integers(60, 128, 500)
    masked = mask(rows_of_text(lengths, 127), lengths, units, probability=probability)
    # BERT's code: max(1, round(rate * length)). What is missing is less than a word a row.
    wanted = np.maximum(1, np.rint(probability * lengths)).sum()
    assert 0.98 * wanted < (masked.labels != -100).sum() <= wanted
    assert wanted / lengths.sum() == pytest.approx(probability, rel=0.02)


@kinds
def test_a_row_is_masked_the_same_however_wide_and_in_any_company(units):
    lengths = np.random.default_rng(7).integers(3, 41, 64)
    ids = rows_of_text(lengths, 40, vocab_size=14)
    narrow = mask(ids, lengths, units, probability=0.3)
    wide_ids = np.pad(ids, ((0, 0), (0, 89)), constant_values=PAD)
    wide = mask(wide_ids, lengths, units, probability=0.3)
    slots = narrow.positions.shape[1]
    np.testing.assert_array_equal(wide.input_ids[:, :40], narrow.input_ids)
    np.testing.assert_array_equal(wide.positions[:, :slots], narrow.positions)
    np.testing.assert_array_equal(wide.labels[:, :slots], narrow.labels)
    assert (wide.labels[:, slots:] == -100).all()
    for row in range(0, 64, 9):
        some = slice(row, row + 1)
        alone = mask(ids[some], lengths[some], units, first=row, probability=0.3)
        np.testing.assert_array_equal(alone.input_ids[0], narrow.input_ids[row])
        np.testing.assert_array_equal(alone.positions[0], narrow.positions[row])


@kinds
def test_rows_without_text_and_batches_without_rows_have_no_masks(units):
    ids = np.array([[CLS, UNK, SEP], [CLS, SEP, PAD], [CLS, 77, SEP], [CLS, 8, SEP]], np.int32)
    lengths = np.array([3, 2, 3, 3])
    masked = mask(ids, lengths, units)
    assert (masked.labels != -100).sum(axis=1).tolist() == [0, 0, 1, 1]
    assert mask(ids[:2], lengths[:2], units).labels.tolist() == [[-100], [-100]]
    assert mask(ids[:0], lengths[:0], units).labels.shape == (0, 1)


def test_the_tokens_of_a_span_become_the_same_in_80_10_10_of_the_spans():
    lengths = np.full(3_000, 128)
    ids = rows_of_text(lengths, 128)
    masked = mask(ids, lengths, SpanUnits())
    chosen = chosen_marks(masked, ids.shape)
    became = np.select([masked.input_ids == MASK, masked.input_ids == ids], [1, 2], 3)
    follows = chosen[:, 1:] & chosen[:, :-1]
    same = (became[:, 1:] == became[:, :-1])[follows]
    # A random token is the original one once in 995 times.
    assert same.mean() > 0.9995
    begins = chosen & ~np.pad(chosen, ((0, 0), (1, 0)))[:, :-1]
    counts = np.bincount(became[begins], minlength=4)[1:]
    assert stats.chisquare(counts, counts.sum() * np.array([0.8, 0.1, 0.1])).pvalue > 0.001


def test_the_words_of_an_ngram_decide_alone_what_they_become():
    lengths = np.full(500, 128)
    ids = rows_of_text(lengths, 128)
    masked = mask(ids, lengths, NgramUnits())
    chosen = chosen_marks(masked, ids.shape)
    is_mask = masked.input_ids == MASK
    pairs = chosen[:, 1:] & chosen[:, :-1]
    table = np.zeros((2, 2))
    np.add.at(table, (is_mask[:, 1:][pairs].astype(int), is_mask[:, :-1][pairs].astype(int)), 1)
    assert stats.chi2_contingency(table).pvalue > 0.001
