"""MediaWiki dumps and WikiExtractor's files, made by hand as the real ones are."""

import bz2
import gzip
import json
import lzma
import os
import sys
import tracemalloc
from pathlib import Path

import pyarrow
import pytest

from jaxbert.data.duplicates import ExactDuplicates
from jaxbert.data.lines import no_advance
from jaxbert.data.problems import Problems
from jaxbert.data.quality import GOPHER, Quality
from jaxbert.data.sources.resolve import SourceOptions, resolve_sources
from jaxbert.errors import UserError

DATA = Path(os.environ.get("JAXBERT_DATA", Path(__file__).parents[3] / "shared" / "data"))
ARTICLES = DATA / "text_enwiki2014" / "part-00-of-08.jsonl.xz"
MARKUP = """{{Infobox Berg|Name=Brocken|Höhe={{Höhe|1141}}}}
[[Datei:Brocken.jpg|mini|Der [[Brocken]] im ''Winter'']]
'''Der Brocken''' ist mit {{Höhe|1141}} 1141&nbsp;m<ref name="h">Amt, [http://a.org Höhe]</ref>
der höchste [[Berg]] im [[Harz (Mittelgebirge)|Harz]].<!-- prüfen -->

__NOTOC__
== Lage ==
{| class="wikitable"
! Jahr !! Gäste
|-
| 1990 || viele
|}
* Ein [http://example.org Punkt] mit x < y &amp; z
[[Bild:Alt.jpg|thumb|alt]]
<gallery>A.jpg|B</gallery>

[[Kategorie:Berg]] [[:Kategorie:Harz|Harz]]
"""
TEXT = """Der Brocken ist mit  1141\u00a0m
der höchste Berg im Harz.
Lage
Ein Punkt mit x < y & z
Harz"""


def page(title, text, namespace=0, extra="", model="wikitext"):
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>1</id>{extra}"
        f"<revision><id>1</id><model>{model}</model>"
        f'<text bytes="9" xml:space="preserve">{escaped}</text></revision></page>\n'
    )


def dump(*pages):
    return (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11">\n'
        '<siteinfo><namespaces><namespace key="0" case="first-letter" />'
        '<namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace>'
        '<namespace key="1">Diskussion</namespace></namespaces></siteinfo>\n'
        + "".join(pages)
        + "</mediawiki>\n"
    )


def zstd(data):
    return pyarrow.Codec("zstd").compress(data, asbytes=True)


COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(COMPRESS.get(path.suffix, bytes)(text.encode()))
    return path


def read(spec, **options):
    problems = Problems()
    sources = resolve_sources([str(spec)], SourceOptions(**options))
    return [d for source in sources for d in source.read(problems, no_advance)], problems


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_dump_gives_the_text_of_its_articles(tmp_path, suffix):
    redirect = '<redirect title="Brocken" />'
    pages = (
        page("Brocken", MARKUP),
        page("Blocksberg", "#WEITERLEITUNG [[Brocken]]", extra=redirect),
        page("Diskussion:Brocken", "Unsinn", namespace=1),
        page("Nur Vorlagen", "{{Vorlage}}"),
        page("Daten", "{}", model="json"),
        page("Harz", "Ein Gebirge."),
    )
    documents, problems = read(write(tmp_path / f"dewiki.xml{suffix}", dump(*pages)))
    assert [(document.text, document.line) for document in documents] == [
        (TEXT, 1),
        ("Ein Gebirge.", 6),
    ]
    assert [(p.kind, p.line, p.detail) for p in problems.kept] == [
        ("empty document", 4, "Nur Vorlagen: no text")
    ]


def test_a_page_that_the_parser_fails_on_costs_that_page(tmp_path, monkeypatch):
    import mwparserfromhell

    parse = mwparserfromhell.parse

    def fails(markup):
        if "odd" in markup:
            raise mwparserfromhell.parser.ParserError("stack is not empty")
        return parse(markup)

    monkeypatch.setattr(mwparserfromhell, "parse", fails)
    documents, problems = read(write(tmp_path / "a.xml", dump(page("A", "odd"), page("B", "even"))))
    assert [document.text for document in documents] == ["even"]
    assert [(p.kind, p.line) for p in problems.kept] == [("unreadable markup", 1)]


def test_markup_of_any_depth_is_read(tmp_path):
    deep = "<div>" * 200 + "[[b|" * 200 + "{{a|" * 200 + "text"
    documents, problems = read(write(tmp_path / "a.xml", dump(page("A", deep), page("B", "two"))))
    assert documents[-1].text == "two"
    assert len(documents) + problems.counts.total() == 2


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        # Articles that are called as a hidden namespace, and the namespace itself.
        ("Eine [[Datei]] in der [[Kategorie]].", "Eine Datei in der Kategorie."),
        ("Das [[Datei|Bild]].[[Datei:a.jpg|mini]][[Kategorie:B]]", "Das Bild."),
        # Switches of any language, and what is none.
        ("__KEIN_INHALTSVERZEICHNIS__a __БЕЗ_ОГЛАВЛЕНИЯ__b", "a b"),
        ("In __init__ und __Init__ steht ein a__B.", "In __init__ und __Init__ steht ein a__B."),
        # References within what is no running text.
        ("== Titel<ref>Quelle</ref> ==\nText", "Titel\nText"),
        ("Ein [http://a.org Punkt<ref>Quelle</ref>].", "Ein Punkt."),
    ],
)
def test_what_is_text_stays_and_what_is_none_goes(tmp_path, markup, text):
    documents, _ = read(write(tmp_path / "dewiki.xml", dump(page("Titel", markup))))
    assert [document.text for document in documents] == [text]


def test_of_several_revisions_the_last_is_read(tmp_path):
    history = page("A", "old").replace(
        "</page>", "<revision><id>2</id><text>new</text></revision></page>"
    )
    documents, _ = read(write(tmp_path / "a.xml", dump(history)))
    assert [document.text for document in documents] == ["new"]


def test_bzip2_in_several_streams_is_one_dump(tmp_path):
    text = dump(page("A", "one"), page("B", "two")).encode()
    (tmp_path / "a.xml.bz2").write_bytes(bz2.compress(text[:400]) + bz2.compress(text[400:]))
    assert [document.text for document in read(tmp_path / "a.xml.bz2")[0]] == ["one", "two"]


def test_progress_adds_up_to_the_size_of_the_dump(tmp_path):
    file = write(tmp_path / "a.xml.bz2", dump(*(page(str(i), f"text {i}") for i in range(50))))
    seen: list[int] = []
    (source,) = resolve_sources([str(file)], SourceOptions())
    assert len(list(source.read(Problems(), seen.append))) == 50
    assert sum(seen) == source.size == file.stat().st_size


def test_reading_a_dump_keeps_no_page(tmp_path):

    file = write(tmp_path / "a.xml", dump(*(page(str(i), "word " * 10**5) for i in range(30))))
    (source,) = resolve_sources([str(file)], SourceOptions())
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.read(Problems(), no_advance)) == 30
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < file.stat().st_size / 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xml", dump(page("A", "text"))[:-40], r"a.xml, after page 0: not well-formed XML"),
        (
            "a.xml",
            dump(page("A", "text"), page("B", "text"))[:-40],
            r"a.xml, after page 1: not well-formed XML",
        ),
        ("a.xml", "", r"not well-formed XML, or cut off \(no element found"),
        ("a.xml", "no xml", r"after page 0: not well-formed XML"),
        ("a.xml", "<rss><item/></rss>", r"not a MediaWiki dump: its XML begins with <rss>"),
    ],
)
def test_what_is_no_whole_dump_is_refused(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / name, content))


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_cut_off_compressed_dump_is_refused(tmp_path, suffix):
    noise = os.urandom(200_000).hex()
    file = write(tmp_path / f"a.xml{suffix}", dump(page("A", "text"), page("B", noise)))
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(UserError, match=r"after page \d: the compressed file is damaged or cut"):
        read(file)


def test_a_dump_without_pages_is_reported(tmp_path):
    documents, problems = read(write(tmp_path / "a.xml", dump()))
    assert not documents
    assert problems.counts == {"empty document": 1}


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mwparserfromhell", None)
    with pytest.raises(UserError, match=r"mwparserfromhell; install jaxbert\[corpus\]"):
        read(write(tmp_path / "a.xml", dump(page("A", "text"))))


ELEMENTS = """<doc id="1" url="https://de.wikipedia.org/wiki?curid=1" title="Harz &amp; "Brocken"">
Harz &amp; "Brocken"

Ein Gebirge, x &lt; y.
Lage.
Im Norden.

</doc>
<doc id="2" revid="9" url="https://de.wikipedia.org/wiki?curid=2" title="Leer">
Leer

</doc>
stray
<doc id="3" url="u" title="Offen">
Offen
<doc id="4" url="u" title="Ohne Titel">
Erste Zeile.
</doc>
<doc id="5" url="u" title="Abgeschnitten">
Abgeschnitten
"""


@pytest.mark.parametrize("name", ["wiki_00", "wiki_00.bz2"])
def test_elements_of_wikiextractor_are_articles_without_titles(tmp_path, name):
    documents, problems = read(write(tmp_path / "AA" / name, ELEMENTS))
    assert [(document.text, document.line) for document in documents] == [
        ("Ein Gebirge, x < y.\nLage.\nIm Norden.", 1),
        ("Erste Zeile.", 16),
    ]
    assert [(problem.kind, problem.line) for problem in problems.kept] == [
        ("empty document", 9),
        ("text outside an article", 13),
        ("unfinished article", 14),
        ("unfinished article", 19),
    ]


def test_both_forms_of_wikiextractor_give_the_same_text(tmp_path):
    row = {"id": "1", "revid": "9", "url": "u", "title": "Harz"}
    text = "Ein Gebirge, x &lt; y.\nLage.\nIm Norden."
    lines = json.dumps(row | {"text": text}) + "\n" + json.dumps(row | {"text": ""}) + "\n{\n"
    write(tmp_path / "json" / "wiki_00.bz2", lines)
    write(tmp_path / "doc" / "wiki_00", ELEMENTS)
    objects, problems = read(tmp_path / "json" / "wiki_*")
    assert [d.text for d in objects] == [read(tmp_path / "doc" / "wiki_00")[0][0].text]
    assert problems.counts == {"empty document": 1, "invalid JSON": 1}


def test_a_text_of_wikiextractor_that_is_no_string_is_reported(tmp_path):
    row = {"id": "1", "url": "u", "title": "Harz"}
    lines = [json.dumps(row | {"text": text}) for text in ("Ein &lt; Gebirge.", None, 12)]
    documents, problems = read(write(tmp_path / "wiki_00", "\n".join(lines)))
    assert [document.text for document in documents] == ["Ein < Gebirge."]
    assert [(p.kind, p.line) for p in problems.kept] == [("not a string", 2), ("not a string", 3)]


@pytest.mark.parametrize("name", ["part-00000", "part-00000.gz", "a.jsonl"])
@pytest.mark.parametrize("first", [{"body": "x &lt; y"}, {"body": "x &lt; y", "id": 1, "url": "u"}])
def test_other_json_lines_without_a_suffix_are_a_table(tmp_path, name, first):
    lines = [json.dumps(first), '{"body": null}', '{"body": 12}', '{"body": "z"}', "{"]
    documents, problems = read(write(tmp_path / name, "\n".join(lines)), text_column="body")
    assert [(document.text, document.line) for document in documents] == [("x &lt; y", 1), ("z", 4)]
    assert problems.counts == {"not a string": 2, "invalid JSON": 1}


def test_a_first_line_that_is_no_object_does_not_end_the_reading(tmp_path):
    documents, problems = read(write(tmp_path / "part-00000", '{"text"\n{"text": "one"}'))
    assert [document.text for document in documents] == ["one"]
    assert problems.counts == {"invalid JSON": 1}


def test_an_empty_part_holds_nothing(tmp_path):
    for number, text in enumerate(('{"text": "one"}', "", '{"text": "two"}')):
        write(tmp_path / f"part-0000{number}", text)
    documents, _ = read(tmp_path / "part-*")
    assert [document.text for document in documents] == ["one", "two"]


def test_a_name_that_begins_like_a_home_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "~tmp.txt", "one")
    documents, _ = read("~tmp.txt")
    assert [document.text for document in documents] == ["one"]


def test_other_files_without_a_suffix_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"notes: unknown kind of source; expected .*wiki_NN"):
        read(write(tmp_path / "notes", "some text"))


@pytest.mark.skipif(not ARTICLES.is_file(), reason="the real articles are not here (JAXBERT_DATA)")
def test_real_articles_are_read_without_a_problem():
    documents, problems = read(ARTICLES)
    assert len(documents) == 5556
    assert not problems.counts
    quality, exact = Quality(GOPHER), ExactDuplicates()
    assert sum(quality(document) is not None for document in documents) < 0.01 * len(documents)
    assert all(exact(document) is None for document in documents)
