"""A text as words, where it was not split by whoever made the data."""

from tokenizers import Regex, pre_tokenizers

Place = tuple[int, int]
"""First character of a word, and the one after its last."""

# The blocks that BERT's BasicTokenizer calls Chinese: each character is a word there.
_CHINESE = (
    "[\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f]"
)
_SPLIT = pre_tokenizers.Sequence(
    [
        pre_tokenizers.BertPreTokenizer(),
        pre_tokenizers.Split(Regex(_CHINESE), "isolated"),
    ]
)


def split_words(text: str) -> tuple[Place, ...]:
    """Places of words as BERT's BasicTokenizer splits: at white space, beside every punctuation
    mark and every Chinese character (Devlin et al. 2018, tokenization.py).
    """
    return tuple(place for _, place in _SPLIT.pre_tokenize_str(text))
