import json
import pickle
import threading

import numpy as np
import pytest
from strings import random_strings

from jaxbert.errors import UserError
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def reference(tokenizer, tmp_path_factory):
    """transformers' own tokenizer over the same vocabulary."""
    transformers = pytest.importorskip("transformers")
    vocab = {token: i for i, token in enumerate(tokenizer.vocab())}
    lowercase = tokenizer.config["do_lower_case"]
    return transformers.BertTokenizer(vocab=vocab, do_lower_case=lowercase)


def assert_same(ours, theirs):
    assert set(ours) == {"input_ids", "token_type_ids", "attention_mask"}
    for key, value in ours.items():
        assert value.dtype == np.int32
        np.testing.assert_array_equal(value, np.array(theirs[key]).reshape(value.shape), key)


def test_ids_are_those_of_transformers(tokenizer, reference):
    strings = ["", " ", *random_strings(400, seed=2)]
    ours = tokenizer.encode(strings, max_length=10_000)
    assert_same(ours, reference(strings, padding="longest"))


@pytest.mark.parametrize("max_length", [4, 5, 16, 17, 31])
def test_pairs_are_truncated_as_transformers_truncates_them(tokenizer, reference, max_length):
    first, second = random_strings(200, seed=3), random_strings(200, seed=4)
    ours = tokenizer.encode(first, second, max_length=max_length, padding="max_length")
    theirs = reference(
        first, second, padding="max_length", max_length=max_length, truncation="longest_first"
    )
    assert_same(ours, theirs)


def test_without_padding_rows_keep_their_lengths(tokenizer, reference):
    strings = random_strings(50, seed=5)
    ragged = tokenizer.encode(strings, padding=False)
    theirs = reference(strings)["input_ids"]
    assert [row.tolist() for row in ragged["input_ids"]] == theirs
    assert all(mask.all() for mask in ragged["attention_mask"])


def test_transformers_loads_what_was_saved_with_the_same_ids(tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    save_tokenizer(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    strings = random_strings(200, seed=6)
    assert_same(tokenizer.encode(strings), theirs(strings, padding="longest"))
    assert (theirs.pad_token_id, theirs.mask_token_id) == (tokenizer.pad_id, tokenizer.mask_id)
    assert type(theirs).__name__.startswith("BertTokenizer")


def test_what_transformers_saved_loads_with_the_same_ids(tokenizer, reference, tmp_path):
    reference.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    strings = random_strings(200, seed=7)
    assert_same(loaded.encode(strings), reference(strings, padding="longest"))
    assert loaded.vocab() == tokenizer.vocab()
    assert loaded.model_max_length is None


def test_a_saved_vocabulary_alone_gives_the_same_ids(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    lowercase = tokenizer.config["do_lower_case"]
    loaded = load_tokenizer(tmp_path / "vocab.txt", lowercase=lowercase)
    strings = random_strings(200, seed=8)
    assert loaded.encode_plain(strings) == tokenizer.encode_plain(strings)


def test_tokenizer_config_decides_about_case(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config["do_lower_case"] = not config["do_lower_case"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load_tokenizer(tmp_path)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    strings = random_strings(100, seed=9)
    assert_same(loaded.encode(strings), theirs(strings, padding="longest"))


def test_special_tokens_have_berts_first_ids(tokenizer):
    assert tokenizer.vocab()[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id) == (0, 1, 2)
    assert (tokenizer.sep_id, tokenizer.mask_id) == (3, 4)
    assert tokenizer.special_ids == {0, 1, 2, 3, 4}


def test_special_tokens_in_plain_text_are_ordinary_text(tokenizer):
    ids = tokenizer.encode_plain(["a [SEP] [MASK] b [CLS]"])[0]
    assert not {tokenizer.sep_id, tokenizer.mask_id, tokenizer.cls_id} & set(ids)


def test_continuations_are_the_pieces_with_hashes(tokenizer):
    expected = [token.startswith("##") for token in tokenizer.vocab()]
    assert tokenizer.is_continuation().tolist() == expected
    assert sum(expected) > 20


def test_a_tokenizer_survives_pickling(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    strings = random_strings(50, seed=10)
    assert copy.encode_plain(strings) == tokenizer.encode_plain(strings)
    assert copy.config == tokenizer.config


def test_threads_with_different_lengths_do_not_disturb_each_other(tokenizer):
    strings = ["the quick brown fox jumps over the lazy dogs " * 4] * 8
    widths: dict[int, set[int]] = {}

    def encode(length: int) -> None:
        encoded = (tokenizer.encode(strings, max_length=length) for _ in range(50))
        widths[length] = {e["input_ids"].shape[1] for e in encoded}

    threads = [threading.Thread(target=encode, args=(n,)) for n in (5, 9, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert widths == {5: {5}, 9: {9}, 17: {17}}


def test_a_bare_vocabulary_needs_to_be_told_its_case(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="--lowercase or --cased"):
        load_tokenizer(tmp_path / "vocab.txt")


def test_a_contradicted_case_is_refused(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    with pytest.raises(UserError, match="drop --"):
        load_tokenizer(tmp_path, lowercase=not tokenizer.config["do_lower_case"])


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\nhello\n")
    with pytest.raises(UserError, match=r"\[CLS\], \[SEP\], \[MASK\] missing"):
        load_tokenizer(tmp_path, lowercase=True)


@pytest.mark.parametrize("folder", ["model", "tokenizer"])
def test_runs_and_stores_are_opened_by_the_tokenizer_within(tokenizer, tmp_path, folder):
    save_tokenizer(tokenizer, tmp_path / folder)
    assert load_tokenizer(tmp_path).vocab() == tokenizer.vocab()


def test_a_directory_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected tokenizer.json or vocab.txt, "):
        load_tokenizer(tmp_path)


def test_an_unreachable_hub_id_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no/such-model"):
        load_tokenizer("no/such-model")


@pytest.mark.parametrize("max_length", [1, 2])
def test_a_length_without_room_for_text_is_refused(tokenizer, max_length):
    with pytest.raises(UserError, match="no room for text"):
        tokenizer.encode(["a"], max_length=max_length)


@pytest.mark.parametrize(
    ("given", "message"),
    [(("a text",), "list of texts"), ((["a", "b"], ["c"]), "2 texts and 1 pairs")],
)
def test_what_is_no_list_of_texts_is_refused(tokenizer, given, message):
    with pytest.raises(UserError, match=message):
        tokenizer.encode(*given)


def test_model_max_length_truncates_by_default(tokenizer):
    limited = Tokenizer(tokenizer.backend, {**tokenizer.config, "model_max_length": 6})
    assert limited.encode(["a b c d e f g h"])["input_ids"].shape == (1, 6)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_broken_json_is_a_user_error(tokenizer, tmp_path, name):
    save_tokenizer(tokenizer, tmp_path)
    (tmp_path / name).write_text('{"model": ')
    with pytest.raises(UserError, match=f"{name}: not valid JSON"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_of_bytes_needs_no_unknown_token_and_frames_with_bos_and_eos(
    eurobert_tokenizer, tmp_path
):
    save_tokenizer(eurobert_tokenizer, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "eurobert"}')
    loaded = load_tokenizer(tmp_path)
    assert (loaded.cls_id, loaded.sep_id, loaded.mask_id, loaded.pad_id) == (0, 1, 2, 3)
    assert loaded.unk_id is None
    assert loaded.special_ids == {0, 1, 2, 3}
    assert loaded.encode(["a"], padding=False)["input_ids"][0].tolist()[::2] == [0, 1]


def test_a_missing_role_is_named_with_its_key(eurobert_tokenizer):
    config = {key: value for key, value in eurobert_tokenizer.config.items() if key != "pad_token"}
    with pytest.raises(
        UserError, match=r"'\[PAD\]' is not in .* as \"pad_token\" in tokenizer_con"
    ):
        _ = Tokenizer(eurobert_tokenizer.backend, config).pad_id


def test_texts_and_pairs_may_be_arrays(tokenizer):
    first, second = ["a", "b c"], ["d e", "f"]
    found = tokenizer.encode(np.array(first), np.array(second))
    expected = tokenizer.encode(first, second)
    np.testing.assert_array_equal(found["input_ids"], expected["input_ids"])


@pytest.mark.parametrize("padding", [True, "max", None])
def test_an_unknown_padding_is_refused(tokenizer, padding):
    with pytest.raises(UserError, match="expected 'longest', 'max_length' or False"):
        tokenizer.encode(["a"], padding=padding)


@pytest.mark.parametrize(("text", "kind"), [(["a", "b"], "list"), (None, "NoneType"), (3, "int")])
def test_what_is_no_text_is_refused_by_its_number(tokenizer, text, kind):
    with pytest.raises(UserError, match=rf"texts\[1\] is {kind}, expected a text"):
        tokenizer.encode(["a", text])
    with pytest.raises(UserError, match=rf"pairs\[1\] is {kind}, expected a text"):
        tokenizer.encode_whole(["a", "b"], ["a", text])


def test_one_row_is_decoded_at_a_time(tokenizer):
    batch = tokenizer.encode(["low lower"] * 2)["input_ids"]
    with pytest.raises(UserError, match="ids has 2 axes: give one row of a batch at a time"):
        tokenizer.decode(batch)
    assert tokenizer.decode(batch[0]) == tokenizer.decode(batch[1].tolist())
    assert tokenizer.decode([]) == ""
