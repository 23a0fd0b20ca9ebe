"""Precision, recall and F1 of entities in tagged sentences, by seqeval (Nakayama 2018)."""

from collections.abc import Sequence
from typing import Any

from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_scores
from seqeval.scheme import BILOU, IOBES, Entities

from jaxbert.errors import UserError, nearest

_STRICT = {"bioes": IOBES, "bilou": BILOU}
_SCHEMES = ("bio", "iob1", *_STRICT)
_NAMES = ("precision", "recall", "f1")
_NONE = (0.0, 0.0, 0.0, 0)

Tags = Sequence[Sequence[str]]


def entity_scores(
    labels: Tags, predictions: Tags, scheme: str, types: Sequence[str]
) -> dict[str, float]:
    """`precision`, `recall`, `f1` over all entities, and `f1/TYPE` and so on for each of `types`.

    `number/TYPE` is how many there are. BIO and IOB1 are read as conlleval does (seqeval's
    default), BIOES and BILOU strictly: there an entity without its end is none. 0.0 where there is
    nothing to divide by. `scheme` is bio, iob1, bioes or bilou; UserError for another.
    """
    if scheme not in _SCHEMES:
        raise UserError(f"scheme={scheme!r}: {nearest(scheme.lower(), _SCHEMES)}")
    # seqeval takes lists of lists alone, and at least one.
    wanted = [list(tags) for tags in labels] or [[]]
    found = [list(tags) for tags in predictions] or [[]]
    strict = _STRICT.get(scheme)
    scores: Any = precision_recall_fscore_support if strict is None else strict_scores
    options = {"zero_division": 0} | ({} if strict is None else {"scheme": strict})
    overall = scores(wanted, found, average="micro", **options)
    metrics = dict(zip(_NAMES, map(float, overall[:3]), strict=True))
    # seqeval gives the types that occur, sorted; what occurs nowhere has no entity to be found.
    occurring = sorted(_types(wanted, strict) | _types(found, strict))
    by_type = dict(zip(occurring, zip(*scores(wanted, found, **options), strict=True), strict=True))
    for place, name in enumerate(_NAMES):
        metrics |= {f"{name}/{kind}": float(by_type.get(kind, _NONE)[place]) for kind in types}
    return metrics | {f"number/{kind}": int(by_type.get(kind, _NONE)[-1]) for kind in types}


def _types(tags: list[list[str]], strict: Any) -> set[str]:
    if strict is not None:
        return Entities(tags, strict).unique_tags
    return {kind for kind, _, _ in get_entities(tags)}
