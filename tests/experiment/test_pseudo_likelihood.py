"""What a masked LM says of texts and of minimal pairs, beside a plain loop over PyTorch's model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from jaxbert.cli import main
from jaxbert.errors import UserError
from jaxbert.experiment import pseudo_likelihood
from jaxbert.experiment.inference import Ready, ready
from jaxbert.experiment.minimal_pairs import PairColumns, evaluate_minimal_pairs
from jaxbert.experiment.pseudo_likelihood import text_scorer
from jaxbert.hub.save import save_params
from jaxbert.nn.config import EncoderConfig
from jaxbert.nn.functional import init_params
from jaxbert.nn.head import Head
from jaxbert.text.tokenizer import load_tokenizer

TOKENS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] . , ! the a of old quiet cat garden house river her see like "
    "same un ##s ##er ##happi ##est ##ly"
)
TEXTS = [
    "The unhappiest cats see the river.",
    "the",
    "",
    "A quiet gardener [MASK] the old house, unhappily!",
    "zzz \u00e6\u00e6 the cat",
]
PAIRS = [
    ("The old cat sees the river.", "The old cats sees the river."),
    ("A gardener likes the house.", "A gardener like the house."),
    ("The gardener of cats sees her house.", "The gardeners of cats sees her house."),
    ("The same.", "The same."),
    ("unhappily", "the cat sees the old gardener"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked LM of large random weights, so that texts are unlike."""
    path, head = tmp_path_factory.mktemp("masked_lm") / "model", Head("masked_lm")
    vocabulary = path.with_name("vocab.txt")
    vocabulary.write_text("\n".join(TOKENS.split()))
    tokenizer = load_tokenizer(vocabulary, lowercase=True)
    encoder = EncoderConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=40,
        initializer_range=0.7,
    )
    save_params(init_params(encoder, head, 0), encoder, head, tokenizer, path)
    return path


@pytest.fixture(scope="module")
def model(directory: Path) -> Ready:
    return ready(directory, batch_size=4)


class Reference:
    """One text, one token, one forward pass in float64 at a time."""

    def __init__(self, directory: Path):
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
        self.model = transformers.BertForMaskedLM.from_pretrained(directory).double().eval()

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def log_probability(self, ids: list[int], place: int, hidden: list[int]) -> float:
        copy = [self.tokenizer.mask_token_id if i in hidden else t for i, t in enumerate(ids)]
        with torch.no_grad():
            logits = self.model(torch.tensor([copy])).logits[0, place]
        return torch.log_softmax(logits, -1)[ids[place]].item()

    def scores(self, text: str, *, rest_of_word: bool = False) -> list[float]:
        ids = self.ids(text)
        tokens = self.tokenizer.convert_ids_to_tokens(ids)
        scores = []
        for place, token in enumerate(tokens):
            if token in ("[CLS]", "[SEP]", "[MASK]"):
                continue
            hidden = [place]
            while rest_of_word and tokens[hidden[-1] + 1].startswith("##"):
                hidden.append(hidden[-1] + 1)
            scores.append(self.log_probability(ids, place, hidden))
        return scores


@pytest.fixture(scope="module")
def reference(directory: Path) -> Reference:
    return Reference(directory)


@pytest.mark.parametrize("masked", ["token", "rest_of_word"])
def test_texts_are_scored_as_by_one_pass_a_token(model: Ready, reference: Reference, masked: str):
    found = list(text_scorer(model, masked=masked)(TEXTS))
    assert [each["text"] for each in found] == TEXTS
    for each in found:
        expected = reference.scores(each["text"], rest_of_word=masked == "rest_of_word")
        scores = [token["log_probability"] for token in each["tokens"]]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
        assert each["pseudo_log_likelihood"] == pytest.approx(sum(expected), abs=5e-4)
        assert each["tokens_cut_off"] == 0
    words = [token["token"] for token in found[0]["tokens"]]
    assert words == reference.tokenizer.tokenize(TEXTS[0])
    assert any(word.startswith("##") for word in words)
    assert [each["token"] for each in found[4]["tokens"]].count("[UNK]") >= 1
    assert found[2] == {
        "text": "",
        "pseudo_log_likelihood": 0.0,
        "tokens": [],
        "tokens_cut_off": 0,
    }


def test_what_the_rest_of_a_word_hides_matters(reference: Reference):
    alone, rest = (reference.scores(TEXTS[0], rest_of_word=each) for each in (False, True))
    assert max(abs(a - b) for a, b in zip(alone, rest, strict=True)) > 0.1


def test_long_texts_are_cut_and_what_is_cut_off_is_counted(model: Ready, reference: Reference):
    [found] = text_scorer(model, max_seq_length=6)(["the old cat sees the old cat"])
    assert len(found["tokens"]) == 4
    assert found["tokens_cut_off"] == len(reference.ids("the old cat sees the old cat")) - 6


def test_how_many_copies_are_made_at_once_changes_nothing(
    model: Ready, monkeypatch: pytest.MonkeyPatch
):
    whole = list(text_scorer(model)(TEXTS))
    monkeypatch.setattr(pseudo_likelihood, "_TOKENS_AT_ONCE", 50)
    for one, other in zip(whole, text_scorer(model)(TEXTS), strict=True):
        assert one["pseudo_log_likelihood"] == pytest.approx(other["pseudo_log_likelihood"])


def written(path: Path) -> str:
    lines = [
        {"sentence_good": good, "sentence_bad": bad, "UID": "short" if number < 2 else "rest"}
        for number, (good, bad) in enumerate(PAIRS)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def test_of_a_pair_the_likelier_text_counts(model: Ready, reference: Reference, tmp_path: Path):
    found = evaluate_minimal_pairs(
        model, written(tmp_path / "pairs.jsonl"), PairColumns(group="UID")
    )
    right = [sum(reference.scores(a)) > sum(reference.scores(b)) for a, b in PAIRS]
    assert 0 < sum(right) < len(right)
    assert found == {
        "accuracy": sum(right) / 5,
        "equal": 1,
        "rows": 5,
        "accuracy_short": sum(right[:2]) / 2,
        "accuracy_rest": sum(right[2:]) / 3,
    }


def test_of_a_pair_shared_tokens_alone_may_be_scored(
    model: Ready, reference: Reference, tmp_path: Path
):
    """CrowS-Pairs: both texts are given, and the tokens in which they differ are not scored."""
    pairs = [("the old cat sees her house", "the quiet cat sees a house"), PAIRS[4]]
    file = tmp_path / "pairs.csv"
    rows = [f"{b},{a}" for a, b in pairs]
    file.write_text("\n".join(["less,more", *rows]) + "\n")
    columns = PairColumns("more", "less")
    found = evaluate_minimal_pairs(model, str(file), columns, scored="shared")

    def shared(text: str, without: set[int]) -> float:
        ids = reference.ids(text)
        places = [i for i in range(1, len(ids) - 1) if i not in without]
        return sum(reference.log_probability(ids, i, [i]) for i in places)

    # With [CLS] and the s of "sees" these are tokens 2 and 6.
    assert len(reference.ids(pairs[0][0])) == len(reference.ids(pairs[0][1])) == 9
    margin = shared(pairs[0][0], {2, 6}) - shared(pairs[0][1], {2, 6})
    # The second pair has nothing in common.
    assert found == {"accuracy": (margin > 0) / 2, "equal": 1, "rows": 2}


def test_a_pair_that_does_not_fit_is_named(model: Ready, tmp_path: Path):
    file = tmp_path / "pairs.csv"
    file.write_text(f"sentence_good,sentence_bad\na,b\n{'cat ' * 50},c\n")
    with pytest.raises(UserError, match=r"pairs.csv:3: 52 tokens, and .* takes at most 40"):
        evaluate_minimal_pairs(model, str(file))


def test_the_verbs_score(directory: Path, reference: Reference, tmp_path: Path, capsys):
    texts, out = tmp_path / "texts.txt", tmp_path / "scores.jsonl"
    texts.write_text("the old cat\n")
    words = ["predict", str(directory), "--data", str(texts), "--pseudo-log-likelihood"]
    assert main([*words, "--masked", "rest_of_word", "--out", str(out)]) == 0
    expected = sum(reference.scores("the old cat", rest_of_word=True))
    assert json.loads(out.read_text())["pseudo_log_likelihood"] == pytest.approx(expected, abs=1e-3)
    words = ["evaluate", str(directory), "--minimal-pairs", "--data"]
    words = [*words, written(tmp_path / "pairs.jsonl"), "--out", str(tmp_path / "figures.json")]
    assert main(words) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["rows"] == 5
    capsys.readouterr()
    for word, why in (("--label-column=x", "texts alone"), ("--stride=2", "read whole")):
        assert main([*words, word]) == 2
        assert why in capsys.readouterr().err
    assert main(["evaluate", str(directory), "--data", "store", "--masked", "token"]) == 2
    assert "--masked: of --minimal-pairs alone" in capsys.readouterr().err
    assert main(["predict", str(directory), "--data", str(texts), "--masked", "token"]) == 2
    assert "--masked: of --pseudo-log-likelihood alone" in capsys.readouterr().err
