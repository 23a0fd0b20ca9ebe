"""Surgery from the command line, on a model directory of two layers."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import jaxbert
from jaxbert.cli import main
from jaxbert.families import preset
from jaxbert.hub.load import load_params
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head, LayerMixture
from jaxbert.nn.parts import RotaryPositions
from jaxbert.text.tokenizer import Tokenizer, save_tokenizer
from jaxbert.text.training import train_wordpiece
from jaxbert.tree import flat

TEXTS = ["the small dog saw the other small dog run", "a cat runs, the dog ran"] * 3
TOKENIZER = train_wordpiece(TEXTS, 60)
CONFIG = EncoderConfig(
    vocab_size=TOKENIZER.vocab_size,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=16,
)
WORD = "encoder/embeddings/word/embedding"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "small"
    head = Head("masked_lm")
    save_params(init_params(CONFIG, head, 0), CONFIG, head, TOKENIZER, directory)
    return directory


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def adapted(capsys, source: Path, out: Path, *words: str) -> str:
    assert main(["adapt", str(source), str(out), *words]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_everything_at_once_is_saved_shown_and_told_in_the_card(capsys, model, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("catdog\tdog\n\ndoggo\n", encoding="utf-8")
    options = ["--drop-top", "1", "--positions", "40", "--how", "copy", "--add-tokens", str(words)]
    shown = adapted(capsys, model, tmp_path / "out", *options)
    for part in ("layers │ 2 │ 1 │ kept 0", "tokens of a row │ 16 │ 40", "16 x 8 │ 40 x 8"):
        assert part in shown
    assert "16 as learnt, 24 copies" in shown
    size = CONFIG.vocab_size
    assert (
        f"vocabulary │ {size} │ {size + 2} │ {size} as learnt, 1 copied, 1 means of several"
        in shown
    )
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Made from `small` with `jaxbert adapt`" in card
    assert "- layers: 2 → 1 (kept 0)" in card

    loaded, tokenizer = load_params(tmp_path / "out"), jaxbert.load_tokenizer(tmp_path / "out")
    config = loaded.config
    assert (config.num_hidden_layers, config.max_position_embeddings) == (1, 40)
    assert config.vocab_size == tokenizer.vocab_size == size + 2
    assert tokenizer.model_max_length == 40
    ids = tokenizer.encode(["the catdog saw a doggo " * 10])["input_ids"]
    assert ids.shape == (1, 40)
    assert ids.max() == size + 1
    table = flat(loaded.params)[WORD]
    dog = TOKENIZER.backend.token_to_id("dog")
    np.testing.assert_array_equal(table[size], table[dog])
    assert jaxbert.from_pretrained(tmp_path / "out")(ids).logits.shape == (1, 40, size + 2)


def test_another_tokenizer_takes_the_place_of_the_old_one(capsys, model, tmp_path):
    other = train_wordpiece(["the dog and the doghouse, a house"] * 3, 60)
    save_tokenizer(other, tmp_path / "other")
    shown = adapted(capsys, model, tmp_path / "out", "--tokenizer", str(tmp_path / "other"))
    counts = re.search(r"(\d+) as learnt, (\d+) means of several", shown)
    assert counts
    assert int(counts[1]) + int(counts[2]) == other.vocab_size
    assert jaxbert.load_tokenizer(tmp_path / "out").vocab() == other.vocab()
    fields = json.loads((tmp_path / "out" / "config.json").read_text())
    assert fields["vocab_size"] == other.vocab_size


@pytest.mark.parametrize("words", [("--keep-layers", "1"), ("--every", "2")])
def test_layers_are_chosen_by_number_or_step(capsys, model, tmp_path, words):
    shown = adapted(capsys, model, tmp_path / "out", *words)
    assert f"layers │ 2 │ 1 │ kept {'1' if words[0] == '--keep-layers' else '0'}" in shown


@pytest.mark.parametrize(
    ("positions", "stated", "limit"),
    [(None, 512, 16), (40, 512, 40), (40, 24, 24), (None, None, 16)],
)
def test_no_tokenizer_gives_more_tokens_than_the_model_takes(
    capsys, model, tmp_path, positions, stated, limit
):
    other = Tokenizer(TOKENIZER.backend, TOKENIZER.config | {"model_max_length": stated})
    save_tokenizer(other, tmp_path / "other")
    words = ["--tokenizer", str(tmp_path / "other")]
    words += [] if positions is None else ["--positions", str(positions)]
    adapted(capsys, model, tmp_path / "out", *words)
    assert jaxbert.load_tokenizer(tmp_path / "out").model_max_length == limit


def test_the_base_of_rotary_positions_is_changed_shown_and_told_in_the_card(capsys, tmp_path):
    sizes = {name: getattr(CONFIG, name) for name in ("hidden_size", "num_attention_heads")}
    sizes |= {"num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16}
    published = preset("modernbert-base")
    config = replace(published, **sizes, vocab_size=TOKENIZER.vocab_size, pad_token_id=0)
    head = Head("masked_lm")
    save_params(init_params(config, head, 0), config, head, TOKENIZER, tmp_path / "in")
    options = ("--positions", "40", "--rope-theta", "1e6")
    shown = adapted(capsys, tmp_path / "in", tmp_path / "out", *options)
    assert "tokens of a row │ 16 │ 40" in shown
    assert "rope_theta │ 160,000 │ 1,000,000 │ local layers keep 10,000" in shown
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "- rope_theta: 160,000 → 1,000,000 (local layers keep 10,000)" in card
    rotary = RotaryPositions(rope_theta=1e6, local_rope_theta=1e4)
    longer = replace(config, rotary=rotary, max_position_embeddings=40)
    assert load_params(tmp_path / "out").config == longer


def test_a_head_of_ours_is_saved_in_our_layout(capsys, tmp_path):
    head = Head("sequence_classification", ("a", "b"), pooling="mean", mixture=LayerMixture(2))
    params = init_params(CONFIG, head, 0)
    save_params(params, CONFIG, head, TOKENIZER, tmp_path / "in", layout="orbax")
    adapted(capsys, tmp_path / "in", tmp_path / "out", "--drop-top", "1")
    loaded = load_params(tmp_path / "out")
    assert (loaded.head, loaded.config.num_hidden_layers) == (load_params(tmp_path / "in").head, 1)


def test_a_sentence_encoder_stays_one(capsys, tmp_path):
    head = Head()
    save_params(init_params(CONFIG, head, 0), CONFIG, head, TOKENIZER, tmp_path / "in")
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds
    ]
    (tmp_path / "in" / "1_Pooling").mkdir()
    for name, values in (
        ("modules.json", modules),
        ("1_Pooling/config.json", {"pooling_mode": "cls"}),
        ("sentence_bert_config.json", {"max_seq_length": 9}),
    ):
        (tmp_path / "in" / name).write_text(json.dumps(values))
    (tmp_path / "in" / "README.md").write_text("---\nlicense: mit\n---\n# In\n")
    adapted(capsys, tmp_path / "in", tmp_path / "out", "--drop-top", "1")
    assert load_params(tmp_path / "out").head == Head(pooling="cls")
    assert (tmp_path / "out" / "modules.json").is_file()
    assert "license: mit\n" in (tmp_path / "out" / "README.md").read_text()
    assert jaxbert.load_tokenizer(tmp_path / "out").model_max_length == 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to change: give at least one of --keep-layers, --drop-top"),
        (("--positions", "0"), "positions: length=0: must be at least 1"),
        (("--drop-top", "2"), "the top 2 layers cannot be dropped: the model has 2"),
        (("--keep-layers", "0,5"), "layers=[0, 5]: there is no layer 5, only 0 to 1"),
        (("--add-tokens", "absent.txt"), "absent.txt: no such file"),
        (("--drop-top", "1", "--how", "copy"), "--how: says what more --positions are"),
        (("--positions", "40", "--seed", "0"), "--seed: is of --how fresh: leave it out"),
        (("--rope-theta", "160000"), "rope_theta=160000: a bert encoder has no rotary positions"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, model, tmp_path, words, message):
    assert main(["adapt", str(model), str(tmp_path / "out"), *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog\n", "words.txt: new tokens: 'dog' is a token already"),
        (
            "new\na\tb\tc\n",
            "words.txt:2: ['a', 'b', 'c'] on one line: expected a token, or a tab and one more",
        ),
        ("new\tdgo\n", "'new' is to start as 'dgo', which is no token of the old tokenizer"),
        ("\n \n", "words.txt: empty: expected a token a line"),
    ],
)
def test_a_file_of_wrong_tokens_is_one_line(capsys, model, tmp_path, text, message):
    (tmp_path / "words.txt").write_text(text)
    words = ["--add-tokens", str(tmp_path / "words.txt")]
    assert main(["adapt", str(model), str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_directory_of_tokens_is_one_line(capsys, model, tmp_path):
    assert main(["adapt", str(model), str(tmp_path / "out"), "--add-tokens", str(tmp_path)]) == 2
    assert "a directory: expected a file with a token a line\n" in capsys.readouterr().err


def test_a_model_without_a_tokenizer_keeps_its_vocabulary(capsys, tmp_path):
    head = Head("masked_lm")
    save_params(init_params(CONFIG, head, 0), CONFIG, head, None, tmp_path / "in")
    (tmp_path / "words.txt").write_text("catdog\n")
    words = ["--add-tokens", str(tmp_path / "words.txt")]
    assert main(["adapt", str(tmp_path / "in"), str(tmp_path / "out"), *words]) == 2
    assert "has no tokenizer" in capsys.readouterr().err
    adapted(capsys, tmp_path / "in", tmp_path / "out", "--positions", "8")


@pytest.mark.parametrize(
    "words", [["--keep-layers", "0;2"], ["--drop-top", "1", "--every", "2"], ["--how", "stretch"]]
)
def test_words_that_argparse_can_judge_give_the_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["adapt", "a", "b", *words])
    assert ended.value.code == 2
    assert "usage: jaxbert adapt" in capsys.readouterr().err
