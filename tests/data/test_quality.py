"""Every rule of quality at its limit, and Gopher's values on texts made to break one each."""

import sys

import pytest

from jaxbert.data.lines import no_advance
from jaxbert.data.problems import Problems
from jaxbert.data.quality import GOPHER, Quality, QualityConfig
from jaxbert.data.sources.document import Document
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.errors import UserError

PROSE = "\n".join(f"Line {i} of a text says that nothing is wrong with it." for i in range(12))


def judge(text, config=None, **limits):
    return Quality(config or QualityConfig(**limits))(Document(text, "t.txt", 1))


def test_without_limits_everything_is_kept():
    assert [judge(text) for text in ("", "#", "...\n...", PROSE)] == [None] * 4


@pytest.mark.parametrize(
    ("limits", "good", "bad", "reason"),
    [
        ({"min_characters": 3}, "abc", "ab", "too short"),
        ({"max_characters": 3}, "abc", "abcd", "too long"),
        ({"min_words": 2}, "a b", "ab", "too short"),
        ({"max_words": 2}, "a b", "a b c", "too long"),
        ({"min_mean_word_length": 2}, "a bcd", "a bc", "short words"),
        ({"max_mean_word_length": 2}, "a bcd", "a bcde", "long words"),
        ({"max_symbols_per_word": 0.5}, "# a", "## a", "many symbols"),
        ({"max_symbols_per_word": 0.5}, "a... b", "a... b…", "many symbols"),
        ({"min_alphabetic_word_share": 0.5}, "1 a2", "1 2 a", "few words with letters"),
        ({"max_bullet_line_share": 0.5}, "- a\nb", "• a\n* b\nc", "mostly bullet points"),
        ({"max_ellipsis_line_share": 0.5}, "a...\nb", "a…\nb... \nc", "many lines cut off"),
        ({"max_duplicate_line_share": 0.5}, "a\na\n\n\n", "a\na\na\nb\na", "duplicate lines"),
        ({"max_duplicate_character_share": 0.4}, "aa\naa", "aaaa\naaaa", "duplicate lines"),
    ],
)
def test_a_limit_is_kept_at_its_value_and_broken_beyond(limits, good, bad, reason):
    assert judge(good, **limits) is None
    assert judge(bad, **limits) == reason


@pytest.mark.parametrize(
    ("scripts", "text", "kept"),
    [
        (("Latin",), "plain ascii 123 !?", True),
        (("Latin",), "naïve Straße, čeština", True),
        (("Latin",), "слово and слово", False),
        (("Cyrillic",), "слово слово слово and", True),
        (("Cyrillic",), "only words", False),
        (("Han", "Hiragana", "Katakana"), "東京タワーへようこそ", True),
        (("Han",), "ようこそ東京", False),
        (("Katakana",), "サーバー", True),
        (("Arabic",), "كـــتـــاب", True),
        (("Latin",), "123 456", False),
    ],
)
def test_scripts_are_told_by_their_letters(scripts, text, kept):
    reason = judge(text, scripts=scripts, min_script_share=0.6)
    assert reason == (None if kept else "other script")


def test_gopher_keeps_prose():
    assert judge(PROSE, GOPHER) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("word " * 49, "too short"),
        ("word " * 100_001, "too long"),
        ("a bc " * 50, "short words"),
        ("abcdefghijk " * 50, "long words"),
        ("#tag word words " * 20, "many symbols"),
        ("100 200 300 words " * 20, "few words with letters"),
        (
            "\n".join(f"- item {i} among several others of a list of many" for i in range(20)),
            "mostly bullet points",
        ),
        (
            "\n".join(
                f"a line {i} that is so very long that nobody should ever read it..."
                for i in range(20)
            ),
            "many lines",
        ),
        ("The same line of text.\n" * 20, "duplicate lines"),
    ],
)
def test_gopher_drops_what_each_rule_was_made_for(text, reason):
    found = judge(text, GOPHER)
    assert found is not None
    assert found.startswith(reason)


def test_lines_of_a_text_file_count_though_they_are_joined(tmp_path):
    (tmp_path / "a.txt").write_text("same\nsame\nsame\n\none\ntwo\n")
    (source,) = resolve_sources([str(tmp_path / "a.txt")], SourceOptions())
    quality = Quality(QualityConfig(max_duplicate_line_share=0.5))
    documents = list(source.read(Problems(), no_advance))
    assert [document.text for document in documents] == ["same same same", "one two"]
    assert [quality(document) for document in documents] == ["duplicate lines", None]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_duplicate_line_share": 30}, "max_duplicate_line_share is 30; expected a share"),
        ({"min_words": 5, "max_words": 4}, "min_words is 5, above max_words, 4"),
        ({"scripts": ("Latin",)}, "scripts and min_script_share need each other"),
        ({"min_script_share": 0.5}, "scripts and min_script_share need each other"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits, message):
    with pytest.raises(UserError, match=message):
        QualityConfig(**limits)


def test_an_unknown_script_is_refused():
    with pytest.raises(UserError, match="no script 'English'; expected one of Unicode's: Latin"):
        judge("a", scripts=("English",), min_script_share=0.5)


def test_scripts_without_the_package_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "regex", None)
    with pytest.raises(UserError, match=r"install jaxbert\[corpus\]"):
        judge("a", scripts=("Latin",), min_script_share=0.5)
