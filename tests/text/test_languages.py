from itertools import product
from string import ascii_lowercase

import pytest
import sentencex

from jaxbert.errors import UserError
from jaxbert.text.languages import LANGUAGES, check_language


@pytest.mark.parametrize("code", ["en", "de", "ja", "zh", "vi", "sv", "pt-br", "be-tarask"])
def test_languages_are_taken(code):
    check_language(code)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("eng", "did you mean en?"),
        ("DE", "did you mean de?"),
        ("pt_PT", "did you mean pt?"),
        ("zhx", "did you mean zh?"),
        ("german", "such as en, de or zh"),
        ("xx", "such as en, de or zh"),
        ("", "such as en, de or zh"),
    ],
)
def test_what_is_no_language_is_refused_with_the_nearest(code, hint):
    with pytest.raises(UserError, match=f"^--language {code}: no language code; ") as refused:
        check_language(code)
    assert str(refused.value).endswith(hint)


def test_every_code_that_has_rules_is_a_language():
    text = "Mr. Smith met Dr. Jones at St. Mary No. 5 on Jan. 7, e.g. Prof. Li, Gen. Lee etc. Done."
    english = sentencex.segment("en", text)
    codes = ("".join(letters) for n in (2, 3) for letters in product(ascii_lowercase, repeat=n))
    ruled = {code for code in codes if sentencex.segment(code, text) != english}
    assert len(ruled) > 100
    assert ruled <= LANGUAGES
