import numpy as np
import pytest
from scipy import stats

from jaxbert.data.draws import below, hashed, philox, uniforms, word_keys, words, words_at


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter, key, expected):
    out = philox(tuple(np.array([word], np.uint64) for word in counter), key)
    assert " ".join(f"{int(word[0]):08x}" for word in out) == expected


def test_a_word_depends_on_its_own_address_alone():
    epochs, examples = np.array([0, 3, 3, 7]), np.array([5, 5, 2**33 + 5, 1])
    together = words(1, "purpose", epochs, examples, 11)
    for row in range(4):
        alone = words(1, "purpose", epochs[row : row + 1], examples[row : row + 1], 6)
        np.testing.assert_array_equal(alone[0], together[row, :6])


def test_words_can_be_drawn_for_any_places_and_several_purposes():
    epochs, examples = np.array([0, 3, 7]), np.array([5, 2**33 + 5, 1])
    keys = word_keys(1, ["a", "b"], epochs, examples)
    owners, places = np.array([0, 2, 2, 1]), np.array([4, 0, 9, 9])
    for purpose, own in zip("ab", keys, strict=True):
        whole = words(1, purpose, epochs, examples, 10)
        np.testing.assert_array_equal(words_at(places, own[:, owners]), whole[owners, places])


def test_seed_purpose_epoch_and_example_each_change_the_words():
    def draw(seed=0, purpose="a", epoch=0, example=0):
        return tuple(words(seed, purpose, np.array([epoch]), np.array([example]), 4)[0].tolist())

    addresses = [{}, {"seed": 1}, {"seed": -1}, {"purpose": "b"}, {"epoch": 1}, {"example": 1}]
    addresses.append({"example": 2**32})
    assert len({draw(**address) for address in addresses}) == len(addresses)


def test_uniforms_are_uniform_and_uncorrelated_between_neighbours():
    examples = np.arange(20_000)
    drawn = uniforms(3, "test", np.zeros_like(examples), examples, 2)
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 0.001
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.03


@pytest.mark.parametrize("bound", [1, 2, 3, 2**31, 2**40 - 1])
def test_the_largest_uniform_number_stays_below_every_bound(bound):
    largest = np.array([1.0 - 2.0**-53])
    assert below(largest, bound)[0] == bound - 1 or bound == 2**40 - 1
    assert below(largest, bound)[0] < bound


def test_a_hash_fills_the_bytes_asked_for():
    values = [hashed(seed, "test", 4) for seed in range(2_000)]
    assert max(values) < 2**32
    assert len(set(values)) == len(values)
    assert stats.kstest(np.array(values) / 2.0**32, "uniform").pvalue > 0.001


@pytest.mark.parametrize("step", [1, 2, 7, 64])
def test_the_words_of_an_example_are_as_good_as_independent(step):
    examples = np.arange(2_000)
    drawn = words(5, "test", np.zeros_like(examples), examples, 512)
    assert stats.kstest(drawn.ravel()[::7] / 2.0**32, "uniform").pvalue > 0.001
    # High and low bits of words that are `step` apart, in one example and in the next ones.
    for bits in (drawn >> 28, drawn & 15):
        for first, second in ((bits[:, :-step], bits[:, step:]), (bits[:-step], bits[step:])):
            pairs = np.bincount((16 * first + second).ravel(), minlength=256)
            assert stats.chisquare(pairs).pvalue > 1e-4


def test_every_bit_of_a_word_is_set_half_of_the_time():
    examples = np.arange(5_000)
    drawn = words(6, "test", examples, np.zeros_like(examples), 64)
    shares = [((drawn >> np.uint32(bit)) & 1).mean() for bit in range(32)]
    assert np.abs(np.array(shares) - 0.5).max() < 5 * 0.5 / np.sqrt(drawn.size)
