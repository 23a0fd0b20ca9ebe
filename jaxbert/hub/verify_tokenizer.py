"""Checking an exported tokenizer against transformers."""

from pathlib import Path

from jaxbert.errors import UserError
from jaxbert.hub.verify import quiet
from jaxbert.text.tokenizer import Tokenizer

TEXTS = (
    "The quick brown fox didn't jump over 12.5 lazy dogs!",
    "Ça déjà coûte trop — naïve Ελλάδα, Москва; 中文 한국어 🙂",
    "  two  spaces,\ta tab,\na line ",
    "http://example.org/a_b?c=1 #tag @name",
    "",
)


def tokenizer_differences(tokenizer: Tokenizer, directory: str | Path) -> tuple[str, ...]:
    """Those of `TEXTS` whose ids differ from those of transformers' tokenizer of a directory.

    Raises UserError where transformers is missing or does not open the files.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(
            f"verifying needs transformers ({error}): pip install 'jaxbert[parity]'"
        ) from None
    with quiet(transformers):
        try:
            theirs = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{directory}: transformers does not open the tokenizer ({reason})"
            ) from None
        expected = theirs(list(TEXTS))["input_ids"]
    ours = tokenizer.encode(TEXTS, max_length=10_000, padding=False)["input_ids"]
    return tuple(
        text
        for text, row, other in zip(TEXTS, ours, expected, strict=True)
        if row.tolist() != other
    )
