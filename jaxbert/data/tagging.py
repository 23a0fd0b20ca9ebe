"""Schemes in which tags of words say where entities are: BIO, IOB1, BIOES, BILOU.

O is a word outside of all entities, any other tag is a prefix, a hyphen and the entity's type. BIO
(IOB2): B begins an entity, I goes on. IOB1 (CoNLL-2003): I does both, B only begins an entity that
follows on one of its type. BIOES: B, I, E (the last word) and S (the only one); BILOU calls the
last two L and U.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Scheme = Literal["bio", "iob1", "bioes", "bilou", "none"]
"""none: tags are classes of words, such as parts of speech."""

OUTSIDE = "O"
_TAG = re.compile(r"[BIESLU]-.")
_BILOU = str.maketrans("LU", "ES")
_BIOES = str.maketrans("ES", "LU")


class Span(NamedTuple):
    """An entity: words from `start` to before `stop`."""

    type: str
    start: int
    stop: int


def is_tag(tag: str) -> bool:
    """Whether a tag is O, or has the prefix of one of the schemes and a type."""
    return tag == OUTSIDE or _TAG.match(tag) is not None


def parts(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag; ("O", "") for a word outside."""
    return (OUTSIDE, "") if tag == OUTSIDE else (tag[0], tag[2:])


def scheme_of_labels(labels: Iterable[str]) -> Scheme:
    """The scheme in which a model with these labels tags; one with I alone tags in IOB1."""
    found = set(labels)
    if not found - {OUTSIDE} or not all(map(is_tag, found)):
        return "none"
    prefixes = {parts(tag)[0] for tag in found}
    if prefixes & {"L", "U"}:
        return "none" if prefixes & {"E", "S"} else "bilou"
    if prefixes & {"E", "S"}:
        return "bioes"
    return "bio" if "B" in prefixes else "iob1"


def detected(sentences: Sequence[Sequence[str]]) -> Scheme:
    """The scheme of tagged sentences; BIO where they follow neither it nor IOB1.

    None but sentences without entities follow both.
    """
    scheme = scheme_of_labels({tag for tags in sentences for tag in tags})
    if scheme not in ("bio", "iob1"):
        return scheme
    for candidate in ("bio", "iob1"):
        if all(offence(tags, candidate) is None for tags in sentences):
            return candidate
    return "bio"


def offence(tags: Sequence[str], scheme: Scheme) -> tuple[int, str] | None:
    """The first word whose tag breaks the scheme, and what is wrong with it; None: none does."""
    if scheme == "none":
        return None
    if scheme == "bilou":
        found = offence(_translated(tags, _BILOU), "bioes")
        return None if found is None else (found[0], _bilou_reason(tags[found[0]], found[1]))
    allowed = {"bio": "BIO", "iob1": "BIO", "bioes": "BIOES"}[scheme]
    before = OUTSIDE, ""
    for place, tag in enumerate(tags):
        prefix, kind = parts(tag)
        if not is_tag(tag) or prefix not in allowed:
            return place, f"{tag!r} is no tag of {scheme}"
        reason = _broken(before, (prefix, kind), scheme)
        if reason is not None:
            return place, reason
        before = prefix, kind
    if scheme == "bioes" and before[0] in "BI":
        return len(tags) - 1, f"'{before[0]}-{before[1]}' ends a sentence, expected E or S in bioes"
    return None


def _broken(before: tuple[str, str], now: tuple[str, str], scheme: Scheme) -> str | None:
    (last, last_kind), (prefix, kind) = before, now
    # The type of what may be gone on with; BIOES must go on with what is open.
    open_kind = last_kind if last in "BI" else None
    if scheme == "iob1":
        if prefix != "B" or open_kind == kind:
            return None
        rule = f"where iob1 begins with 'I-{kind}'"
    elif prefix in "IE":
        if open_kind == kind:
            return None
        rule = f"expected an entity of its type before it in {scheme}"
    elif scheme == "bioes" and open_kind is not None:
        rule = "which bioes does not end without an E"
    else:
        return None
    tag, previous = "-".join(filter(None, now)), "-".join(filter(None, before))
    return f"{tag!r} follows {previous!r}, {rule}"


def _bilou_reason(tag: str, reason: str) -> str:
    return f"{tag!r} breaks bilou (with E for L and S for U: {reason})"


def spans(tags: Sequence[str]) -> list[Span]:
    """Entities as conlleval and seqeval's default mode find them in tags of any of these schemes.

    Broken tags have some too: I or E after anything but B or I of its type begins an entity.
    """
    found: list[Span] = []
    is_open, last = False, ""
    for place, tag in enumerate(_translated(tags, _BILOU)):
        prefix, kind = parts(tag)
        if prefix in "IE" and is_open and kind == last:
            found[-1] = found[-1]._replace(stop=place + 1)
        elif prefix != OUTSIDE:
            found.append(Span(kind, place, place + 1))
        is_open, last = prefix in "BI", kind
    return found


def strict_spans(tags: Sequence[str]) -> list[Span]:
    """Entities of BIOES or BILOU that are whole, as seqeval's strict mode finds them."""
    tags, found, start = _translated(tags, _BILOU), [], None
    last = ""
    for place, tag in enumerate(tags):
        prefix, kind = parts(tag)
        if prefix not in "IE" or kind != last:
            start = None
        if prefix in "BS":
            start = place
        if prefix in "ES" and start is not None:
            found.append(Span(kind, start, place + 1))
        if prefix not in "BI":
            start = None
        last = kind
    return found


def written(entities: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """Tags of a sentence of `length` words; `entities` in their order."""
    tags, last = [OUTSIDE] * length, Span("", 0, 0)
    for entity in entities:
        kind, start, stop = entity
        tags[start:stop] = [f"I-{kind}"] * (stop - start)
        follows = last.type == kind and last.stop == start
        if scheme != "iob1" or follows:
            tags[start] = f"B-{kind}"
        if scheme in ("bioes", "bilou"):
            tags[stop - 1] = f"S-{kind}" if stop - start == 1 else f"E-{kind}"
        last = entity
    return _translated(tags, _BIOES) if scheme == "bilou" else tags


def converted(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The same entities in another scheme."""
    return written(spans(tags), len(tags), scheme)


def all_tags(types: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """Every tag that a scheme has for these types: O first, then type by type."""
    prefixes = {"bio": "BI", "iob1": "BI", "bioes": "BIES", "bilou": "BILU", "none": ""}[scheme]
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in prefixes))


def continuation(tag: str) -> str:
    """The tag of what goes on in a word after its first piece.

    E-X and S-X end an entity with the whole word, so that all its pieces have them.
    """
    prefix, kind = parts(tag)
    return f"I-{kind}" if prefix == "B" else tag


def _translated(tags: Sequence[str], letters: dict[int, int]) -> list[str]:
    return [tag if tag == OUTSIDE else tag[:1].translate(letters) + tag[1:] for tag in tags]
