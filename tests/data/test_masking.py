import numpy as np
import pytest
from corpora import CLS, MASK, NUM_SPECIAL, PAD, SEP, UNK, mask_rows, vocabulary
from scipy import stats

from jaxbert.data.masking import IGNORED
from jaxbert.data.masking_config import MaskingConfig, TokenUnits, WordUnits

VOCAB_SIZE = 1_000


def rows_of_text(num_rows, lengths, width=128, seed=0):
    """[CLS] text [SEP] padding, with an [UNK] here and there."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(NUM_SPECIAL, VOCAB_SIZE, (num_rows, width)).astype(np.int32)
    ids[generator.random(ids.shape) < 0.02] = UNK
    columns = np.arange(width)
    ids[:, 0] = CLS
    ids[columns == lengths[:, None] - 1] = SEP
    ids[columns >= lengths[:, None]] = PAD
    return ids


def mask(ids, lengths, continuation_every=4, seed=0, **options):
    return mask_rows(
        ids,
        lengths,
        vocabulary(VOCAB_SIZE, continuation_every),
        np.zeros(len(ids), np.int64),
        np.arange(len(ids)),
        seed=seed,
        config=MaskingConfig(**options),
    )


def test_every_row_has_the_number_of_masks_of_the_reference():
    lengths = np.array([5, 9, 10, 11, 17, 50, 90, 127, 128])
    masked = mask(rows_of_text(9, lengths), lengths)
    # max(1, round(0.15 * length))
    expected = [1, 1, 2, 2, 3, 8, 14, 19, 19]
    assert (masked.labels != -100).sum(axis=1).tolist() == expected
    capped = mask(rows_of_text(9, lengths), lengths, max_predictions=7)
    assert (capped.labels != -100).sum(axis=1).tolist() == [min(7, n) for n in expected]


@pytest.mark.parametrize("units", [TokenUnits(), WordUnits()])
def test_labels_are_the_original_ids_and_everything_else_is_untouched(units):
    lengths = np.arange(3, 129)
    ids = rows_of_text(len(lengths), lengths)
    masked = mask(ids, lengths, units=units)
    used = masked.labels != -100
    rows, _ = np.nonzero(used)
    np.testing.assert_array_equal(masked.labels[used], ids[rows, masked.positions[used]])
    restored = masked.input_ids.copy()
    restored[rows, masked.positions[used]] = masked.labels[used]
    np.testing.assert_array_equal(restored, ids)
    assert (masked.positions[~used] == 0).all()
    assert {a.dtype for a in (masked.input_ids, masked.positions, masked.labels)} == {
        np.dtype(np.int32)
    }


@pytest.mark.parametrize("units", [TokenUnits(), WordUnits()])
def test_positions_ascend_without_doubles_and_are_never_special_tokens(units):
    lengths = np.random.default_rng(1).integers(3, 129, 500)
    masked = mask(rows_of_text(500, lengths), lengths, probability=0.4, units=units)
    used = masked.labels != -100
    assert (masked.labels[used] >= NUM_SPECIAL).all()
    for row, row_used in zip(masked.positions, used, strict=True):
        assert (np.diff(row[row_used]) > 0).all()


def test_a_row_of_special_tokens_alone_gets_no_masks():
    ids = np.full((2, 128), PAD, np.int32)
    ids[0, :3] = CLS, UNK, SEP
    ids[1, :3] = CLS, 77, SEP
    for units in (TokenUnits(), WordUnits()):
        masked = mask(ids, np.array([3, 3]), units=units, continuation_every=4)
        assert (masked.labels != -100).sum(axis=1).tolist() == [0, 1]
        assert masked.positions[1, 0] == 1


def test_masks_are_80_percent_mask_10_percent_kept_and_10_percent_random():
    lengths = np.full(5_000, 128)
    masked = mask(rows_of_text(5_000, lengths), lengths)
    rows, slots = np.nonzero(masked.labels != -100)
    original = masked.labels[rows, slots]
    became = masked.input_ids[rows, masked.positions[rows, slots]]
    # A random replacement may hit the original: 1 in 995 of a tenth.
    random = (became != MASK) & (became != original)
    counts = [(became == MASK).sum(), (became == original).sum(), random.sum()]
    expected = len(rows) * np.array([0.8, 0.1 + 0.1 / 995, 0.1 - 0.1 / 995])
    assert stats.chisquare(counts, expected).pvalue > 0.001
    assert (became[random] >= NUM_SPECIAL).all()
    counts = np.bincount(became[random], minlength=VOCAB_SIZE)[NUM_SPECIAL:]
    assert stats.chisquare(counts).pvalue > 0.001


def test_what_a_token_becomes_does_not_depend_on_where_it_is():
    lengths = np.full(20_000, 128)
    masked = mask(rows_of_text(20_000, lengths), lengths)
    rows, slots = np.nonzero(masked.labels != -100)
    positions = masked.positions[rows, slots]
    is_mask = masked.input_ids[rows, positions] == MASK
    for place, count in [(positions - 1, 126), (slots, 19)]:
        table = np.zeros((count, 2))
        np.add.at(table, (place, is_mask.astype(int)), 1)
        assert stats.chi2_contingency(table).pvalue > 0.001


@pytest.mark.parametrize("units", [TokenUnits(), WordUnits()])
def test_every_position_is_masked_equally_often(units):
    lengths = np.full(20_000, 34)
    ids = rows_of_text(1, lengths[:1], 34).repeat(20_000, axis=0)
    ids[:, 1:33] = np.arange(33, 65)
    # Words of two pieces in every row when asked for whole words.
    masked = mask(ids, lengths, continuation_every=2, units=units, probability=0.12)
    used = masked.labels != -100
    assert (used.sum(axis=1) == 4).all()
    counts = np.bincount(masked.positions[used], minlength=34)[1:33]
    if units == WordUnits():
        np.testing.assert_array_equal(counts[0::2], counts[1::2])
        counts = counts[0::2]
    # Four (or two) without replacement per row: less spread than independent draws.
    assert stats.chisquare(counts).pvalue > 0.001


def word_of_each_token(ids):
    """Words as lists of positions, in the plainest way."""
    words, previous_is_text = [], False
    for position, token in enumerate(ids.tolist()):
        is_text = token >= NUM_SPECIAL
        if is_text and token % 4 == 0 and previous_is_text:
            words[-1].append(position)
        elif is_text:
            words.append([position])
        previous_is_text = is_text
    return words


def test_whole_words_are_masked_whole_within_the_budget():
    lengths = np.random.default_rng(2).integers(3, 129, 300)
    ids = rows_of_text(300, lengths)
    masked = mask(ids, lengths, units=WordUnits())
    num_long = 0
    for row in range(300):
        chosen = set(masked.positions[row][masked.labels[row] != -100].tolist())
        words = word_of_each_token(ids[row])
        wanted = max(1, round(0.15 * lengths[row]))
        assert len(chosen) <= wanted
        for word in words:
            assert chosen >= set(word) or not chosen & set(word)
            num_long += len(word) > 1 and chosen >= set(word)
        # What is left of the budget is too small for every word not chosen.
        left = wanted - len(chosen)
        assert all(chosen >= set(word) or len(word) > left for word in words)
    assert num_long > 100


def test_the_pieces_of_a_chosen_word_decide_one_by_one_what_they_become():
    lengths = np.full(2_000, 128)
    ids = rows_of_text(2_000, lengths)
    masked = mask(ids, lengths, units=WordUnits())
    mixed = 0
    for row in range(2_000):
        for word in word_of_each_token(ids[row]):
            if set(word) <= set(masked.positions[row].tolist()) and len(word) > 1:
                share = (masked.input_ids[row, word] == MASK).mean()
                mixed += 0 < share < 1
    assert mixed > 500


def test_a_continuation_piece_at_the_start_of_a_segment_is_a_word_of_its_own():
    ids = np.array([[CLS, 9, SEP, 8, 12, SEP]], np.int32)
    outcomes = set()
    for seed in range(50):
        masked = mask(ids, np.array([6]), seed=seed, probability=0.34, units=WordUnits())
        outcomes.add(tuple(masked.positions[0][masked.labels[0] != -100].tolist()))
    assert outcomes == {(1,), (3, 4)}


def test_a_row_is_masked_the_same_in_any_company_and_differently_in_other_epochs():
    lengths = np.full(8, 64)
    ids = rows_of_text(8, lengths, width=64)
    whole = mask(ids, lengths)
    for row in range(8):
        for epoch in (0, 1):
            alone = mask_rows(
                ids[row : row + 1],
                lengths[row : row + 1],
                vocabulary(VOCAB_SIZE),
                np.array([epoch]),
                np.array([row]),
                seed=0,
                config=MaskingConfig(),
            )
            is_same = (alone.positions[0] == whole.positions[row]).all()
            assert is_same == (epoch == 0)


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (0.5, 0.3)])
def test_chosen_tokens_become_what_the_shares_say(shares: tuple[float, float]):
    lengths = np.full(2000, 64)
    ids = rows_of_text(2000, lengths)
    masked = mask(ids, lengths, mask_replace_prob=shares[0], random_replace_prob=shares[1])
    used = masked.labels != IGNORED
    shown = np.take_along_axis(masked.input_ids, masked.positions, axis=1)[used]
    original, count = masked.labels[used], used.sum()
    is_mask = shown == vocabulary(VOCAB_SIZE).mask_id
    # A random token is the original one once in the size of the vocabulary.
    changed = (shown != original) & ~is_mask
    for share, marks in zip(shares, (is_mask, changed), strict=True):
        five_sigma = 5 * np.sqrt(share * (1 - share) / count)
        assert abs(marks.mean() - share) <= five_sigma + 3 * share / VOCAB_SIZE
