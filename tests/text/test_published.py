"""Every family's tokenizer against transformers' own, from the files that checkpoints have."""

import json
import shutil

import numpy as np
import pytest
from strings import ODD, random_strings

from jaxbert.errors import UserError
from jaxbert.text.tokenizer import load_tokenizer, save_tokenizer

transformers = pytest.importorskip("transformers")

STRINGS = ["", " ", "  two  spaces ", *ODD, *random_strings(150, seed=21)]
PAIRS = [*random_strings(len(STRINGS), seed=22)]
ROLES = ("pad", "cls", "sep", "mask", "unk")


def reference(directory):
    return transformers.AutoTokenizer.from_pretrained(directory)


def pipeline(backend):
    state = json.loads(backend.to_str())
    # transformers leaves the last call's truncation and padding there.
    return {key: value for key, value in state.items() if key not in ("truncation", "padding")}


def assert_same_ids(ours, theirs):
    encoded = ours.encode(STRINGS, max_length=10_000, padding=False)
    assert [row.tolist() for row in encoded["input_ids"]] == theirs(STRINGS)["input_ids"]
    assert all(not types.any() for types in encoded["token_type_ids"])


def assert_same_types(ours, theirs):
    """Of pairs, as transformers gives them unasked; none are zeros."""
    encoded = ours.encode(STRINGS, PAIRS, max_length=10_000, padding=False)
    found = theirs(STRINGS, PAIRS)
    zeros = [[0] * len(row) for row in found["input_ids"]]
    types = [row.tolist() for row in encoded["token_type_ids"]]
    assert types == found.get("token_type_ids", zeros)
    return encoded["token_type_ids"]


def test_the_pipeline_is_that_of_transformers(published):
    ours, theirs = load_tokenizer(published), reference(published)
    assert pipeline(ours.backend) == pipeline(theirs.backend_tokenizer)
    for role in ROLES:
        assert getattr(ours, f"{role}_id") == getattr(theirs, f"{role}_token_id")
    for pair in (False, True):
        assert ours.num_special_tokens(pair=pair) == theirs.num_special_tokens_to_add(pair=pair)
    special = {i for i, token in theirs.added_tokens_decoder.items() if token.special}
    assert ours.special_ids == special


def test_ids_are_those_of_transformers(published):
    assert_same_ids(load_tokenizer(published), reference(published))


@pytest.mark.parametrize("max_length", [7, 8, 19, 50])
def test_pairs_are_framed_and_truncated_as_by_transformers(published, max_length):
    ours, theirs = load_tokenizer(published), reference(published)
    encoded = ours.encode(STRINGS, PAIRS, max_length=max_length, padding="max_length")
    expected = theirs(
        STRINGS,
        PAIRS,
        max_length=max_length,
        padding="max_length",
        truncation="longest_first",
        return_token_type_ids=True,
    )
    np.testing.assert_array_equal(encoded["input_ids"], expected["input_ids"])
    np.testing.assert_array_equal(encoded["attention_mask"], expected["attention_mask"])
    if json.loads((published / "config.json").read_text())["model_type"] == "distilbert":
        # transformers leaves the types out here unless they are asked for.
        assert not encoded["token_type_ids"].any()
    else:
        np.testing.assert_array_equal(encoded["token_type_ids"], expected["token_type_ids"])


def test_transformers_loads_what_was_saved_with_the_same_ids(published, tmp_path):
    ours = load_tokenizer(published)
    save_tokenizer(ours, tmp_path)
    theirs = reference(tmp_path)
    assert pipeline(theirs.backend_tokenizer) == pipeline(ours.backend)
    assert_same_ids(ours, theirs)
    # As it lies beside a model.
    shutil.copy(published / "config.json", tmp_path)
    assert_same_ids(ours, reference(tmp_path))


def test_transformers_gives_pairs_the_types_that_a_model_is_trained_with(published, tmp_path):
    ours = load_tokenizer(published)
    save_tokenizer(ours, tmp_path)
    shutil.copy(published / "config.json", tmp_path)
    assert_same_types(ours, reference(tmp_path))
    assert_same_types(load_tokenizer(tmp_path), reference(tmp_path))


def test_transformers_gives_types_with_a_class_that_it_does_not_know(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    file = tmp_path / "tokenizer_config.json"
    stated = json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(stated))
    ours = load_tokenizer(tmp_path)
    save_tokenizer(ours, tmp_path / "again")
    assert any(row.any() for row in assert_same_types(ours, reference(tmp_path / "again")))


def test_what_transformers_saved_loads_with_the_same_ids(published, tmp_path):
    reference(published).save_pretrained(tmp_path)
    shutil.copy(published / "config.json", tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert pipeline(loaded.backend) == pipeline(load_tokenizer(published).backend)
    assert_same_ids(loaded, reference(tmp_path))


def test_saving_twice_writes_the_same_files(published, tmp_path):
    save_tokenizer(load_tokenizer(published), tmp_path / "a")
    save_tokenizer(load_tokenizer(tmp_path / "a"), tmp_path / "b")
    first, second = ({f.name: f.read_bytes() for f in (tmp_path / d).iterdir()} for d in "ab")
    assert first == second


def test_the_vocabulary_files_of_old_tools_give_the_same_ids(published, tmp_path):
    ours = load_tokenizer(published)
    save_tokenizer(ours, tmp_path)
    old = {"vocab.txt", "vocab.json"} & {file.name for file in tmp_path.iterdir()}
    assert bool(old) == (not list(published.glob("*.model")))
    if old:
        (tmp_path / "tokenizer.json").unlink()
        again = load_tokenizer(tmp_path)
        assert again.encode_plain(STRINGS) == ours.encode_plain(STRINGS)


def test_camemberts_tokenizer_json_needs_no_class_beside_it(sentencepiece_models, tmp_path):
    shutil.copy(sentencepiece_models["xlm-roberta"], tmp_path / "sentencepiece.bpe.model")
    (tmp_path / "config.json").write_text('{"model_type": "camembert"}')
    bare = load_tokenizer(tmp_path)
    # camembert-base's own layout.
    reference(tmp_path).save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    ours = load_tokenizer(tmp_path)
    assert (ours.cls_id, ours.pad_id, ours.sep_id, ours.unk_id) == (5, 1, 6, 3)
    assert_same_ids(ours, reference(tmp_path))
    assert_same_ids(bare, reference(tmp_path))


def test_a_vocabulary_beside_a_model_without_class_of_its_own_is_no_other_familys(
    sentencepiece_models, tmp_path
):
    shutil.copy(sentencepiece_models["xlm-roberta"], tmp_path / "sentencepiece.bpe.model")
    (tmp_path / "config.json").write_text('{"model_type": "eurobert"}')
    with pytest.raises(UserError, match="name the right class as"):
        load_tokenizer(tmp_path)


def test_an_unknown_piece_of_another_name_stays_the_same_piece(sentencepiece_models, tmp_path):
    # SentencePiece's own special pieces: number 0 is <unk>, and there is no [UNK].
    shutil.copy(sentencepiece_models["xlm-roberta"], tmp_path / "spm.model")
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    ours = load_tokenizer(tmp_path)
    assert_same_ids(ours, reference(tmp_path))
    save_tokenizer(ours, tmp_path / "saved")
    assert_same_ids(ours, reference(tmp_path / "saved"))
    assert_same_ids(load_tokenizer(tmp_path / "saved"), reference(tmp_path))
