"""SentencePiece's unigram tokenizers (Kudo 2018): assembled as transformers 5 does, or trained.

The families differ in what is done to the text before it is cut into pieces.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from jaxbert.text.alphabet import check_size, rare_characters
from jaxbert.text.vocabulary import Vocabulary, learned

_MARK = "▁"


def albert_backend(
    vocabulary: Vocabulary,
    unk_token: str,
    *,
    do_lower_case: bool,
    keep_accents: bool,
    add_prefix_space: bool,
) -> Tokenizer:
    """ALBERT's pipeline; each word is cut into pieces alone."""
    steps: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not keep_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if do_lower_case:
        steps.append(normalizers.Lowercase())
    if vocabulary.charsmap:
        steps.append(normalizers.Precompiled(vocabulary.charsmap))
    backend = _unigram(vocabulary, unk_token)
    backend.normalizer = normalizers.Sequence(steps)
    _cut_words(backend, "always" if add_prefix_space else "never")
    return backend


def xlm_roberta_backend(
    vocabulary: Vocabulary, unk_token: str, *, add_prefix_space: bool
) -> Tokenizer:
    """XLM-RoBERTa's pipeline; each word is cut into pieces alone."""
    backend = _unigram(vocabulary, unk_token)
    if vocabulary.charsmap:
        backend.normalizer = normalizers.Precompiled(vocabulary.charsmap)
    _cut_words(backend, "always" if add_prefix_space else "never")
    return backend


def deberta_v2_backend(
    vocabulary: Vocabulary,
    unk_token: str,
    *,
    do_lower_case: bool,
    split_by_punct: bool,
    add_prefix_space: bool,
) -> Tokenizer:
    """DeBERTa-v2's and v3's pipeline, which leaves the model file's own normalization out.

    transformers 4 applied it, so there `ﬁ` became `fi` and full-width letters became ASCII.
    """
    steps: list[Any] = [normalizers.Lowercase()] if do_lower_case else []
    steps += [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    scheme = "always" if add_prefix_space else "first"
    words = pre_tokenizers.Metaspace(replacement=_MARK, prepend_scheme=scheme)
    punctuation = [pre_tokenizers.Punctuation(behavior="isolated")] if split_by_punct else []
    backend = _unigram(vocabulary, unk_token)
    backend.normalizer = normalizers.Sequence(steps)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*punctuation, words])
    backend.decoder = decoders.Metaspace(replacement=_MARK, prepend_scheme=scheme)
    return backend


def xlm_roberta_pieces(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """fairseq's ids: its own four special tokens for the file's first three, <mask> at the end."""
    first = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    return [*first, *pieces[3:], ("<mask>", 0.0)]


def camembert_pieces(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """fairseq's ids before those of the file: its special tokens lie there twice, one unused."""
    unused = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0)]
    return [*unused, ("<unk>NOTUSED", -100.0), *pieces[1:], ("<mask>", 0.0)]


def train_pieces(
    texts: Iterable[str],
    vocab_size: int,
    backend: Tokenizer,
    special_tokens: Sequence[str],
    *,
    unk_token: str,
) -> Vocabulary:
    """Special tokens, then pieces of what `backend` makes of the texts, the likeliest first.

    Goes through `texts` twice. The trainer adds in the order of threads and of a randomly seeded
    hash table: probabilities are rounded to where that does not show, and characters too rare for
    one of their own all get the lowest.
    """
    common, rare = rare_characters(texts, backend)
    # ALBERT's normalization makes a quotation mark of two other characters.
    characters = {_MARK, '"', *common}
    check_size(vocab_size, common, len({*special_tokens, *characters}))
    # The trainer has no limit of its own: every character that it sees takes a place.
    blank = str.maketrans(dict.fromkeys(rare, " "))
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        unk_token=unk_token,
        show_progress=False,
    )
    backend.train_from_iterator((text.translate(blank) for text in texts), trainer)
    scores = {text: score for text, score in learned(backend).pieces if text not in special_tokens}
    floor = min(scores.values())
    near = floor + 1e-4 * len(characters)
    settled = [
        (text, round(floor if text in characters and score < near else score, 6))
        for text, score in scores.items()
    ]
    settled.sort(key=lambda piece: (-piece[1], piece[0]))
    first = [(token, 0.0) for token in special_tokens]
    return Vocabulary(pieces=[*first, *settled], unk_id=special_tokens.index(unk_token))


def _unigram(vocabulary: Vocabulary, unk_token: str) -> Tokenizer:
    texts = [text for text, _ in vocabulary.pieces]
    unk_id = texts.index(unk_token) if unk_token in texts else vocabulary.unk_id
    return Tokenizer(models.Unigram(list(vocabulary.pieces), unk_id=unk_id, byte_fallback=False))


def _cut_words(backend: Tokenizer, scheme: str) -> None:
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=_MARK, prepend_scheme=scheme),
        ]
    )
    backend.decoder = decoders.Metaspace(replacement=_MARK, prepend_scheme=scheme)
