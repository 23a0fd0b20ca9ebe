"""The small files around a vocabulary: what they declare, and what is refused."""

import json
import shutil

import pytest
from strings import random_strings

from jaxbert.errors import UserError
from jaxbert.text.tokenizer import Tokenizer, load_tokenizer, save_tokenizer
from jaxbert.text.training import train_byte_level_bpe, train_unigram, train_wordpiece

WORDS = ["quick brown", "Foxes", "<ent>"]
STRINGS = [
    "the quick brown Foxes <mask> run<mask>s <ent>the [MASK]",
    *(
        f"{a} <mask> {b}<ent>"
        for a, b in zip(*[iter(random_strings(200, seed=31))] * 2, strict=True)
    ),
]


def token(content, **flags):
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"content": content, **dict.fromkeys(names, False), **flags}


def write(directory, name, value):
    (directory / name).write_text(json.dumps(value))


@pytest.fixture
def roberta(texts, tmp_path):
    """A directory with vocab.json and merges.txt of 600 tokens."""
    save_tokenizer(train_byte_level_bpe(texts, 600), tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})
    return tmp_path


def in_the_configuration(directory):
    decoder = {
        "4": token("<mask>", lstrip=True, special=True),
        "600": token("quick brown", normalized=True),
        "601": token("Foxes", single_word=True),
        "602": token("<ent>", special=True),
    }
    config = {
        "tokenizer_class": "RobertaTokenizer",
        "added_tokens_decoder": decoder,
        "additional_special_tokens": ["<ent>"],
        "mask_token": "<mask>",
    }
    write(directory, "tokenizer_config.json", config)


def in_files_of_their_own(directory):
    special = {"mask_token": token("<mask>", lstrip=True), "additional_special_tokens": ["<ent>"]}
    del special["mask_token"]["special"]
    write(directory, "special_tokens_map.json", special)
    write(directory, "added_tokens.json", {"quick brown": 600, "Foxes": 601, "<ent>": 602})


def in_tokenizer_json(directory):
    in_the_configuration(directory)
    save_tokenizer(load_tokenizer(directory), directory)


def in_tokenizer_json_and_files(directory):
    in_tokenizer_json(directory)
    write(directory, "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})
    write(directory, "special_tokens_map.json", {"mask_token": "<mask>"})
    write(directory, "added_tokens.json", {"quick brown": 600, "Foxes": 601, "<ent>": 602})


@pytest.mark.parametrize(
    "declare",
    [in_the_configuration, in_files_of_their_own, in_tokenizer_json, in_tokenizer_json_and_files],
)
def test_added_tokens_are_found_where_any_version_of_transformers_put_them(roberta, declare):
    transformers = pytest.importorskip("transformers")
    declare(roberta)
    ours, theirs = load_tokenizer(roberta), transformers.AutoTokenizer.from_pretrained(roberta)
    assert [ours.backend.token_to_id(word) for word in WORDS] == [600, 601, 602]
    assert ours.special_ids == {0, 1, 2, 3, 4, 602}
    encoded = ours.encode(STRINGS, padding=False)
    assert [row.tolist() for row in encoded["input_ids"]] == theirs(STRINGS)["input_ids"]


def test_a_tokenizer_json_of_no_family_is_taken_as_it_is(texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = train_byte_level_bpe(texts, 700, family="modernbert")
    save_tokenizer(ours, tmp_path)
    write(tmp_path, "config.json", {"model_type": "modernbert"})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    pairs = STRINGS[::-1]
    encoded = again.encode(STRINGS, pairs, padding=False)
    assert [row.tolist() for row in encoded["input_ids"]] == theirs(STRINGS, pairs)["input_ids"]
    assert set(theirs(STRINGS)) == {"input_ids", "attention_mask"}
    assert not any(types.any() for types in encoded["token_type_ids"])
    assert (again.pad_id, again.mask_id) == (theirs.pad_token_id, theirs.mask_token_id)
    assert json.loads(again.backend.to_str()) == json.loads(ours.backend.to_str())


def test_the_word_of_transformers_5_about_its_machine_is_not_passed_on(roberta, tmp_path):
    config = {
        "tokenizer_class": "TokenizersBackend",
        "is_local": True,
        "name_or_path": "/somewhere",
        "extra_special_tokens": ["<ent>"],
    }
    save_tokenizer(load_tokenizer(roberta), roberta)
    write(roberta, "tokenizer_config.json", config)
    save_tokenizer(load_tokenizer(roberta), tmp_path / "out")
    written = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    # transformers 4 knows neither that class nor a list under that name.
    assert written == {
        "backend": "tokenizers",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<ent>"],
    }


def test_the_class_decides_which_of_two_vocabularies_counts(roberta):
    (roberta / "vocab.txt").write_text("[PAD]\n")
    assert load_tokenizer(roberta).vocab_size == 600


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("BertJapaneseTokenizer", r"vocab.json: no BertJapaneseTokenizer .*give a tokenizer.json"),
        ("DebertaV2Tokenizer", r"give tokenizer.json or spm.model"),
    ],
)
def test_a_class_that_the_files_do_not_make_is_refused(roberta, name, fault):
    write(roberta, "tokenizer_config.json", {"tokenizer_class": name})
    with pytest.raises(UserError, match=fault):
        load_tokenizer(roberta)


def test_a_missing_half_of_a_vocabulary_is_named(roberta):
    (roberta / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"merges.txt: missing"):
        load_tokenizer(roberta)


def test_merges_of_another_vocabulary_are_refused(roberta):
    with open(roberta / "merges.txt", "a") as file:
        file.write("qqqq zzzz\n")
    with pytest.raises(UserError, match=r"merges.txt: the merge of 'qqqq' and 'zzzz' needs 'qqqq'"):
        load_tokenizer(roberta)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("merges.txt", "a b c\n", r"merge 1 is 'a b c'; expected two pieces"),
        ("vocab.json", '{"a": "b"}', r"'a' has the id 'b'; expected a whole number"),
        ("tokenizer_config.json", '{"add_prefix_space": 1}', r"add_prefix_space is 1; expected"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"a": "b"}}', "added_tokens_decoder"),
        (
            "tokenizer_config.json",
            '{"padding_side": "up"}',
            'padding_side is .up.; expected "left"',
        ),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": 5}',
            "tokenizer_class is 5; expected the name",
        ),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": []}',
            "added_tokens_decoder is no table",
        ),
        (
            "tokenizer_config.json",
            '{"additional_special_tokens": 5}',
            "additional_.* is 5; expected a",
        ),
        (
            "tokenizer_config.json",
            '{"additional_special_tokens": "<a>"}',
            "additional_.* is '<a>'; expected a",
        ),
        (
            "tokenizer_config.json",
            '{"model_max_length": "512"}',
            "model_max_length is '512'; expected",
        ),
        ("tokenizer_config.json", '{"model_input_names": 5}', "model_input_names is 5; expected a"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"0": {"content": "a", "special": "x"}}}',
            "special of 'a' is 'x'; expected true or false",
        ),
        ("added_tokens.json", '{"a": "b"}', "'a' has the id 'b'; expected a number"),
        ("tokenizer_config.json", '{"pad_token": 1}', r"1 is no token; expected text"),
        ("tokenizer_config.json", '{"pad_token": {}}', r"{} is no token; expected text"),
        ("tokenizer_config.json", '{"unk_token": []}', r"\[\] is no token; expected text"),
    ],
)
def test_a_spoilt_file_is_named(roberta, name, value, fault):
    (roberta / name).write_text(value)
    with pytest.raises(UserError, match=f"{name}: (.*: )?{fault}"):
        load_tokenizer(roberta)


def test_a_cased_family_says_so(roberta):
    with pytest.raises(UserError, match="keeps case; drop --lowercase"):
        load_tokenizer(roberta, lowercase=True)
    assert load_tokenizer(roberta, lowercase=False).vocab_size == 600


@pytest.mark.parametrize("vocab", [{}, [["a"]], [["a", 0.0]]])
def test_a_damaged_vocabulary_within_tokenizer_json_is_refused(texts, tmp_path, vocab):
    save_tokenizer(train_unigram(texts, 600), tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["model"]["vocab"] = vocab
    write(tmp_path, "tokenizer.json", state)
    with pytest.raises(UserError, match=r"tokenizer.json: its vocabulary is damaged"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("vocab", [{"a": 2**40}, {"a": -1}, {"a": float("inf")}, {"\ud800": 0}])
def test_tokens_and_ids_that_no_tokenizer_has_are_refused(tmp_path, vocab):
    save_tokenizer(train_wordpiece(["the small dog saw the other"], 60), tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["model"]["vocab"] = vocab
    write(tmp_path, "tokenizer.json", state)
    with pytest.raises(UserError, match=r"tokenizer.json: its vocabulary is damaged"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("limit", [float("nan"), float("-inf"), -5, 0])
def test_a_limit_that_is_no_number_of_tokens_is_none(limit):
    tokenizer = train_wordpiece(["the small dog saw the other"], 60)
    stated = Tokenizer(tokenizer.backend, tokenizer.config | {"model_max_length": limit})
    assert stated.model_max_length is None


def test_a_vocabulary_file_can_be_named_itself(roberta, sentencepiece_models, tmp_path):
    whole = load_tokenizer(roberta)
    assert load_tokenizer(roberta / "vocab.json").vocab() == whole.vocab()
    (tmp_path / "x").mkdir()
    file = shutil.copy(sentencepiece_models["albert"], tmp_path / "x" / "spiece.model")
    assert load_tokenizer(file).config["tokenizer_class"] == "AlbertTokenizer"


def test_transformers_opens_an_export_of_files_that_it_wrote_before_4_34(roberta, tmp_path):
    transformers = pytest.importorskip("transformers")
    in_files_of_their_own(roberta)
    save_tokenizer(load_tokenizer(roberta), tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    encoded = load_tokenizer(roberta).encode(STRINGS, padding=False)
    assert [row.tolist() for row in encoded["input_ids"]] == theirs(STRINGS)["input_ids"]


@pytest.mark.parametrize("name", ["RobertaTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("where", ["tokenizer.json", "tokenizer_config.json"])
def test_texts_are_cut_and_padded_at_the_end_that_a_file_says(roberta, tmp_path, name, where):
    transformers = pytest.importorskip("transformers")
    save_tokenizer(load_tokenizer(roberta), roberta)
    config = json.loads((roberta / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": name}
    if where == "tokenizer.json":
        state = json.loads((roberta / where).read_text())
        cut = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
        pad = {"pad_to_multiple_of": None, "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"}
        pad |= {"direction": "Left", "strategy": "BatchLongest"}
        write(roberta, where, state | {"truncation": cut, "padding": pad})
    else:
        config |= {"truncation_side": "left", "padding_side": "left"}
    write(roberta, "tokenizer_config.json", config)
    ours, theirs = load_tokenizer(roberta), transformers.AutoTokenizer.from_pretrained(roberta)
    save_tokenizer(ours, tmp_path / "out")
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for pairs in (None, STRINGS[::-1]):
        encoded = ours.encode(STRINGS, pairs, max_length=9)
        for tokenizer in (theirs, exported):
            expected = tokenizer(STRINGS, pairs, max_length=9, truncation=True, padding=True)
            for key in ("input_ids", "attention_mask"):
                assert encoded[key].tolist() == expected[key]


@pytest.mark.parametrize("name", ["BertTokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (None, "it has no model"),
        ({"model": None}, "it has no model"),
        ({"normalizer": "x"}, "normalizer is 'x'; expected an object"),
        ({"normalizer": {"type": "BertNormalizer"}}, "its BertNormalizer does not say lowercase"),
        ({"added_tokens": "a"}, "added_tokens is 'a'; expected a list"),
        ({"added_tokens": [{"content": "a"}]}, "added_tokens has {'content': 'a'} without an id"),
        ({"added_tokens": [5]}, "5 is no token"),
    ],
)
def test_a_tokenizer_json_that_is_not_whole_is_named(texts, tmp_path, name, change, fault):
    save_tokenizer(train_wordpiece(texts, 1200), tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    write(tmp_path, "tokenizer.json", {} if change is None else state | change)
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": name})
    with pytest.raises(UserError, match=f"tokenizer.json: {fault}"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_json_that_the_library_does_not_know_is_named(roberta):
    save_tokenizer(load_tokenizer(roberta), roberta)
    state = json.loads((roberta / "tokenizer.json").read_text())
    write(roberta, "tokenizer.json", state | {"pre_tokenizer": {"type": "Foo"}})
    write(roberta, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    with pytest.raises(UserError, match=r"tokenizer.json: tokenizers [\d.]+\S* cannot read it"):
        load_tokenizer(roberta)


def test_null_for_a_special_token_is_the_usual_one(texts, tmp_path):
    save_tokenizer(train_wordpiece(texts, 1200), tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    write(tmp_path, "tokenizer_config.json", {"do_lower_case": True, "pad_token": None})
    assert load_tokenizer(tmp_path).pad_id == 0


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(UserError, match="no file can have that name"):
        load_tokenizer("x" * 300)


@pytest.mark.parametrize("empty", ["", {"content": "", "lstrip": False}])
def test_a_role_whose_token_is_empty_is_not_named(roberta, empty):
    config = {"tokenizer_class": "RobertaTokenizer", "cls_token": empty}
    write(roberta, "tokenizer_config.json", config)
    assert load_tokenizer(roberta).config["cls_token"] == "<s>"


def test_special_tokens_in_text_are_text_where_the_files_say_so(texts, tmp_path):
    transformers = pytest.importorskip("transformers")
    save_tokenizer(train_wordpiece(texts, 900), tmp_path)
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    write(tmp_path, file.name, {**config, "split_special_tokens": True})
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = theirs(["a [MASK] b [SEP]"])["input_ids"]
    assert theirs.mask_token_id not in expected[0]
    save_tokenizer(load_tokenizer(tmp_path), tmp_path / "again")
    for directory in (tmp_path, tmp_path / "again"):
        ours = load_tokenizer(directory).encode(["a [MASK] b [SEP]"], padding=False)
        assert [row.tolist() for row in ours["input_ids"]] == expected
    write(tmp_path, file.name, {**config, "split_special_tokens": "yes"})
    with pytest.raises(UserError, match="split_special_tokens is 'yes'; expected true or false"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_json_with_other_special_tokens_is_not_taken_for_berts(texts, tmp_path):
    save_tokenizer(train_wordpiece(texts, 900), tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    state = (tmp_path / "tokenizer.json").read_text()
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<m>"}
    for bert, other in names.items():
        state = state.replace(bert, other)
    (tmp_path / "tokenizer.json").write_text(state)
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.vocab_size == 900
    ids = tokenizer.encode(["the quick"], padding=False)["input_ids"][0]
    assert (ids[0], ids[-1]) == (2, 3)
    assert tokenizer.encode_whole(["The Quick"])[0].input_ids.tolist() == ids.tolist()
