"""Random strings that try what tokenizers do with Unicode."""

import random
import sys

LATIN = (
    "the quick brown Fox jumps over lazy Dogs naïve Café ÀÉÎÕÜ straße Ünïcödé don't 3.14 (a+b)=c"
)
ODD = (
    *" \t\n\r.,;:!?'\"()[]{}<>@#$%^&*-_=+|~`/\\",
    *"éÉßİıŁøǅΣςσﬁ™½²①",
    *"中文字漢語日本語カタカナ한국어",
    *"नमस्तेالعربيةעברית",
    *"\u0301\u0300\u0327\u00a0\u200b\u200d\u2009\u2028\u3000\ufeff\ufffd\x00\x07\x1c\x7f\x85",
    *"😀👩‍👩‍👧🏽",
    "[SEP]",
    "[MASK]",
    "<mask>",
    " <mask> ",
    "</s>",
    "<unk>",
    "##ing",
    *"▁Ġ",
    "``",
    "''",
    "ＡＢＣ",
    "a" * 120,
)


def random_strings(count: int, seed: int) -> list[str]:
    """Strings of Latin words, of odd characters, and of anything that UTF-8 can encode."""
    rng = random.Random(seed)
    return [_random_string(rng) for _ in range(count)]


def _random_string(rng: random.Random) -> str:
    words = [rng.choice((_word, _odd, _anything))(rng) for _ in range(rng.randrange(12))]
    return rng.choice((" ", "", "  ")).join(words)


def _word(rng: random.Random) -> str:
    return rng.choice(LATIN.split())


def _odd(rng: random.Random) -> str:
    return "".join(rng.choices(ODD, k=rng.randrange(4)))


def _anything(rng: random.Random) -> str:
    code = rng.randrange(sys.maxunicode)
    return "" if 0xD800 <= code <= 0xDFFF else chr(code)
