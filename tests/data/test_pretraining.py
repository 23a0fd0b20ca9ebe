import hashlib
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from corpora import (
    CLS,
    PAD,
    document_offsets,
    examples_of,
    numbered_store,
    parts,
    random_lengths,
    sentence_offsets,
    unmasked,
    vocabulary,
)

from jaxbert.data.masking_config import MaskingConfig, SpanUnits, WordUnits
from jaxbert.data.masking_rates import RatePoint
from jaxbert.data.pretraining import PretrainingData, PretrainingDataConfig
from jaxbert.data.stream import Phase, Stream, evaluation_batches
from jaxbert.errors import UserError

KEYS = {
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "masked_lm_positions",
    "labels",
    "next_sentence_label",
}
PACKED_KEYS = (KEYS - {"attention_mask"}) | {"sequence_ids", "sequence_starts"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """60 documents, some of a single sentence, some with sentences longer than an example."""
    documents = random_lengths(0, 60, 30, 25)
    documents += [[40], [3], [1], [300], [200, 10], [1, 1], [90, 90, 90]]
    return numbered_store(tmp_path_factory.mktemp("stores") / "store", documents)


@dataclass(frozen=True)
class Batches:
    """The rows of a store as batches of one size."""

    data: PretrainingData
    batch_size: int

    def __getattr__(self, name):
        return getattr(self.data, name)

    def batch(self, step):
        return Stream([Phase(self.data, self.batch_size)]).batch(step)

    def evaluation_batches(self):
        return list(evaluation_batches(self.data, self.batch_size))


def make(store, seed=0, batch_size=16, split="train", **options):
    config = PretrainingDataConfig(**{"max_seq_length": 64, **options})
    data = PretrainingData(store, config, seed, split, vocabulary(store.vocab_size))
    return Batches(data, batch_size)


def document_of(store, token):
    sentence = np.searchsorted(sentence_offsets(store), token, side="right") - 1
    return int(np.searchsorted(document_offsets(store), sentence, side="right") - 1)


def digest(batch):
    content = b"".join(name.encode() + batch[name].tobytes() for name in sorted(batch))
    return hashlib.sha256(content).hexdigest()


OPTIONS = [
    {},
    {"masking": MaskingConfig(units=WordUnits())},
    {"sentence_pairs": "sentence_order"},
    {"sentence_pairs": "none"},
    {"masking": MaskingConfig(num_duplicates=2)},
    {"packing": True},
    {"packing": True, "masking": MaskingConfig(units=SpanUnits(), probability=0.3)},
    {"packing": True, "sentence_pairs": "none", "max_seq_length": 96},
    {"packing": True, "sentence_pairs": "sentence_order", "max_examples_per_row": 3},
    {"max_seq_length": 37, "masking": MaskingConfig(probability=0.1, max_predictions=3)},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_batch_does_not_depend_on_the_batches_made_before(store, options):
    data = make(store, **options)
    forward = [digest(data.batch(step)) for step in range(12)]
    assert [digest(make(store, **options).batch(step)) for step in range(12)] == forward
    assert [digest(data.batch(step)) for step in reversed(range(12))] == forward[::-1]
    assert len(set(forward)) == 12


# The first eight hexadecimal digits of the batches of step 5, as the first release makes them.
DIGESTS = """
f10b68a0 e880109d 086586dd 527822b9 f10b68a0
7b11f473 51ba5195 f85a2bb9 8531879a 6a56914e
"""


@pytest.mark.parametrize(("options", "expected"), [*zip(OPTIONS, DIGESTS.split(), strict=True)])
def test_the_examples_of_a_seed_never_change(tmp_path, options, expected):
    """Resumed runs depend on it; the lengths are no draws, as NumPy's may change."""
    documents = [[(7 * i + 3 * j) % 25 + 1 for j in range(i % 30 + 1)] for i in range(60)]
    data = make(numbered_store(tmp_path / "store", documents), seed=3, **options)
    assert digest(data.batch(5))[:8] == expected


@pytest.mark.parametrize("options", OPTIONS)
def test_hosts_that_make_only_their_rows_make_the_same_batch(store, options):
    data = make(store, **options)
    stream = Stream([Phase(data.data, 16)])
    numbers = np.arange(data.num_rows - 12, data.num_rows + 4)
    numbers[numbers >= data.num_rows] = -1
    for whole, part in [
        (stream.batch(7), lambda a, b: stream.some(7, np.arange(a, b))),
        (data.evaluation_rows(numbers), lambda a, b: data.evaluation_rows(numbers[a:b])),
    ]:
        pieces = [part(0, 1), part(1, 1), part(1, 9), part(9, 16)]
        for name in whole:
            joined = np.concatenate([piece[name] for piece in pieces])
            np.testing.assert_array_equal(joined, whole[name])


def test_the_batch_size_does_not_change_the_stream_of_examples(store):
    large, single = make(store, batch_size=12).batch(1), make(store, batch_size=1)
    for row in range(12):
        for name, values in single.batch(12 + row).items():
            np.testing.assert_array_equal(values[0], large[name][row])


def test_another_process_makes_the_same_batch(store):
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_pretraining import digest, make\n"
        "from jaxbert.data.store import TokenStore\n"
        "print(digest(make(TokenStore.open(sys.argv[1])).batch(9)))\n"
    )
    arguments = [sys.executable, "-c", program, str(store.path), __file__.rpartition("/")[0]]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert output.strip() == digest(make(store).batch(9))


def test_seeds_give_other_examples(store):
    assert digest(make(store).batch(0)) != digest(make(store, seed=1).batch(0))


@pytest.mark.parametrize("options", OPTIONS)
def test_an_example_is_cls_a_sep_b_sep(store, options):
    data = make(store, **options)
    width, is_packed = data.config.max_seq_length, options.get("packing", False)
    for step in range(20):
        batch = data.batch(step)
        assert set(batch) == (PACKED_KEYS if is_packed else KEYS)
        assert {values.dtype for values in batch.values()} == {np.dtype(np.int32)}
        assert batch["input_ids"].shape == (16, width)
        examples = examples_of(batch)
        assert len(examples) >= 16
        for example in examples:
            segments = parts(example.ids)
            assert len(segments) == (2 if example.label >= 0 else 1)
            assert len(example.ids) == 1 + sum(len(segment) + 1 for segment in segments)
            a_end = 1 + len(segments[0])
            types = [0] * (a_end + 1) + [1] * (len(example.ids) - a_end - 1)
            assert example.types.tolist() == types
            for segment in segments:
                assert len(segment) > 0
                assert (np.diff(segment) == 1).all()
                assert document_of(store, segment[0]) == document_of(store, segment[-1])


@pytest.mark.parametrize("packing", [False, True])
def test_the_next_sentence_label_is_true_in_the_store(store, packing):
    data = make(store, packing=packing)
    labels = []
    for step in range(60):
        for example in examples_of(data.batch(step)):
            a, b = parts(example.ids)
            is_same_document = document_of(store, a[0]) == document_of(store, b[0])
            assert is_same_document == (example.label == 0)
            if example.label == 0:
                assert a[-1] < b[0]
                between = sentence_offsets(store)
                assert ((between > a[-1]) & (between <= b[0])).any()
            labels.append(example.label)
    assert set(labels) == {0, 1}


@pytest.mark.parametrize("packing", [False, True])
def test_the_sentence_order_label_is_true_in_the_store(store, packing):
    data = make(store, sentence_pairs="sentence_order", packing=packing)
    offsets = sentence_offsets(store)
    labels = []
    for step in range(60):
        for example in examples_of(data.batch(step)):
            labels.append(example.label)
            if example.label == -100:
                (lone,) = parts(example.ids)
                document = document_of(store, lone[0])
                first, stop = document_offsets(store)[document : document + 2]
                assert stop - first == 1
                continue
            earlier, later = parts(example.ids)[:: 1 if example.label == 0 else -1]
            assert document_of(store, earlier[0]) == document_of(store, later[0])
            assert earlier[-1] < later[0]
            assert ((offsets > earlier[-1]) & (offsets <= later[0])).any()
            if not packing and len(earlier) + len(later) < data.config.max_tokens:
                assert earlier[-1] + 1 == later[0]
    assert set(labels) == {0, 1, -100}


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("sentence_pairs", ["next_sentence", "sentence_order", "none"])
def test_as_many_examples_are_short_as_are_asked_for(tmp_path, sentence_pairs, packing):
    """Of documents of 900 tokens in sentences of three, in which nothing else ends an example."""
    store = numbered_store(tmp_path / "store", [[3] * 300] * 3)
    for probability in (0.0, 0.5):
        options = {"sentence_pairs": sentence_pairs, "packing": packing, "max_seq_length": 23}
        data = make(store, short_sequence_probability=probability, **options)
        rows = data.rows(np.arange(5 * data.num_rows), 0)
        lengths = np.array([len(example.ids) for example in examples_of(rows)])
        # What is left of a document is short as well, a few of a hundred.
        share = (lengths < lengths.max() - 3).mean()
        assert (share < 0.1) if probability == 0.0 else (0.25 < share < 0.6)


def test_half_of_the_pairs_of_an_epoch_are_swapped(store):
    data = make(store, sentence_pairs="sentence_order")
    batches = [data.batch(step) for step in range(200)]
    labels = np.concatenate([batch["next_sentence_label"] for batch in batches])
    labels = labels[labels >= 0]
    assert abs(labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(labels))


def test_without_pairs_their_label_is_ignored(store):
    data = make(store, sentence_pairs="none")
    assert (data.batch(0)["next_sentence_label"] == -100).all()
    assert (data.evaluation_batches()[0]["next_sentence_label"] == -100).all()


def spans_seen(store, data, batches):
    """The spans that the first segments lie in, and how often each was visited."""
    spans = data.data._cut.spans
    starts = sentence_offsets(store)[spans.first]
    examples = [example for batch in batches for example in examples_of(batch)]
    first_tokens = [parts(example.ids)[0][0] for example in examples]
    index = np.searchsorted(starts, first_tokens, side="right") - 1
    return np.bincount(index, minlength=len(spans))


@pytest.mark.parametrize("options", [o for o in OPTIONS if o.get("sentence_pairs") != "none"])
def test_an_epoch_visits_every_span_once(store, options):
    data = make(store, **options)
    for epoch in range(2):
        rows = data.rows(epoch * data.num_rows + np.arange(data.num_rows), 0)
        counts = spans_seen(store, data, [rows])
        # A swapped pair may begin with a sentence that the next span begins with.
        assert counts.sum() == data.num_examples
        assert (counts == 1).all()


@pytest.mark.parametrize("options", [o for o in OPTIONS if o.get("sentence_pairs") == "none"])
def test_an_epoch_without_pairs_shows_every_token_once(store, options):
    data = make(store, **options)
    for epoch in range(2):
        rows = data.rows(epoch * data.num_rows + np.arange(data.num_rows), 0)
        lengths = [len(parts(example.ids)[0]) for example in examples_of(rows)]
        assert sum(lengths) == store.num_tokens
        assert len(lengths) == data.num_examples
        assert max(lengths) == data.data.config.max_tokens


def test_static_examples_repeat_after_the_duplicates_and_dynamic_ones_do_not(store):
    for num_duplicates, repeats in [(3, True), (None, False)]:
        masking = MaskingConfig(num_duplicates=num_duplicates)
        data = make(store, masking=masking)
        num_rows = data.num_rows
        batches = [data.rows(epoch * num_rows + np.arange(num_rows), 0) for epoch in range(6)]
        epochs = [
            sorted(digest({k: v[i] for k, v in batch.items()}) for i in range(num_rows))
            for batch in batches
        ]
        assert (epochs[:3] == epochs[3:]) == repeats
        assert len({epochs[0][0], epochs[1][0], epochs[2][0]}) == 3


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_evaluation_covers_every_span_once_and_fills_the_last_batch(store, batch_size, packing):
    data = make(
        store, batch_size=batch_size, validation_fraction=0.3, split="validation", packing=packing
    )
    batches = data.evaluation_batches()
    assert len(batches) == -(-data.num_rows // batch_size)
    assert {len(batch["input_ids"]) for batch in batches} == {batch_size}
    ids = [example.row_id for batch in batches for example in examples_of(batch)]
    assert sorted(ids) == list(range(data.num_examples))
    if not packing:
        assert ids == sorted(ids)
    rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    for values in rows.values():
        assert len(values) == len(batches) * batch_size
    filler = {name: values[data.num_rows :] for name, values in rows.items()}
    assert (filler["row_ids"] == -1).all()
    assert (filler["labels"] == -100).all()
    assert (filler["next_sentence_label"] == -100).all()
    assert not filler["masked_lm_positions"].any()
    if packing:
        assert not filler["sequence_ids"].any()
    else:
        assert (filler["attention_mask"].sum(axis=1) == 1).all()
        assert (filler["input_ids"][:, 0] == CLS).all()


def test_evaluation_is_the_same_every_time_and_for_every_seed(store):
    options = {"validation_fraction": 0.3, "split": "validation"}
    data = make(store, **options)
    first = [digest(batch) for batch in data.evaluation_batches()]
    data.batch(5)
    assert [digest(batch) for batch in data.evaluation_batches()] == first
    other = make(store, seed=7, **options)
    assert [digest(batch) for batch in other.evaluation_batches()] == first


@pytest.mark.parametrize("packing", [False, True])
def test_evaluation_masks_as_no_schedule_says(store, packing):
    schedule = (RatePoint(0, probability=0.4, random_replace_prob=0.0),)
    plain, scheduled = (
        make(store, packing=packing, masking=MaskingConfig(max_predictions=26, schedule=points))
        for points in ((), schedule)
    )
    numbers = np.arange(6)
    for data, count in ((plain, 0), (scheduled, 1)):
        # What is cut and packed is for the most predictions that there ever are.
        rows = data.evaluation_rows(numbers), data.rows(numbers, 0)
        shares = [
            (batch["labels"] != -100).sum() / (batch["input_ids"] != PAD).sum() for batch in rows
        ]
        assert shares == pytest.approx([0.15, (0.15, 0.4)[count]], abs=0.03)


def documents_of(store, batches):
    examples = [example for batch in batches for example in examples_of(batch)]
    return {
        document_of(store, segment[0]) for example in examples for segment in parts(example.ids)
    }


@pytest.mark.parametrize("packing", [False, True])
def test_no_document_is_in_both_splits_not_even_as_a_random_next(store, packing):
    train = make(store, validation_fraction=0.3, packing=packing)
    validation = make(store, validation_fraction=0.3, split="validation", packing=packing)
    seen = documents_of(store, (train.batch(step) for step in range(100)))
    held_out = documents_of(store, validation.evaluation_batches())
    held_out |= documents_of(store, (validation.batch(step) for step in range(50)))
    assert not seen & held_out
    assert len(seen | held_out) == store.num_documents


def test_without_a_validation_share_every_document_trains(store):
    data = make(store)
    assert data.num_examples > store.num_documents
    seen = documents_of(store, (data.batch(step) for step in range(100)))
    assert seen == set(range(store.num_documents))


def test_the_masks_of_a_row_do_not_follow_those_of_its_neighbours(store):
    batch = make(store, batch_size=64).batch(0)
    rows = {tuple(positions) for positions in batch["masked_lm_positions"].tolist()}
    assert len(rows) > 55


def test_a_store_of_one_document_has_no_other_to_draw_from(tmp_path):
    store = numbered_store(tmp_path / "store", [[5, 5, 5]])
    with pytest.raises(UserError, match="sentence_pairs=none"):
        make(store)
    ids = make(store, sentence_pairs="none", batch_size=2).batch(0)["input_ids"]
    assert ids.shape == (2, 64)


def test_documents_of_one_sentence_have_no_order(tmp_path):
    store = numbered_store(tmp_path / "store", [[5], [7], [3]])
    with pytest.raises(UserError, match="no document of the train split has two sentences"):
        make(store, sentence_pairs="sentence_order")
    # All their next sentences are random ones, of which nothing can be learnt.
    with pytest.raises(UserError, match="next_sentence: no document of the train split has two"):
        make(store)
    held_out = make(store, split="validation", validation_fraction=1.0, batch_size=3)
    assert held_out.evaluation_batches()[0]["next_sentence_label"].tolist() == [1, 1, 1]


def test_a_split_without_documents_is_refused(store):
    with pytest.raises(UserError, match="0 in the validation split"):
        make(store, split="validation")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seq_length": 4}, "must be at least 5"),
        ({"max_seq_length": 3, "sentence_pairs": "none"}, "must be at least 4"),
        ({"sentence_pairs": "sentence_orders"}, "did you mean 'sentence_order'"),
        ({"masking": MaskingConfig(max_predictions=18)}, "must be from 19 .* to max_seq_length"),
        ({"masking": MaskingConfig(max_predictions=129)}, "to max_seq_length=128, or null"),
        ({"validation_fraction": -0.1}, "validation_fraction=-0.1: must be from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        PretrainingDataConfig(**options)


def test_a_split_that_is_none_is_refused(store):
    """It would be read as the other one, and evaluation be on what was trained on."""
    with pytest.raises(UserError, match=r"^split='valid': did you mean 'validation'"):
        make(store, split="valid", validation_fraction=0.5)


def test_the_shortest_rows_still_hold_a_pair(store):
    data = make(store, max_seq_length=5)
    for ids in unmasked(data.batch(0)):
        assert [len(segment) for segment in parts(ids)] == [1, 1]
