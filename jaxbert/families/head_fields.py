"""Labels and head options as config.json writes them; the same for every family."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from jaxbert.config import parse_config
from jaxbert.errors import UserError
from jaxbert.families.fields import number
from jaxbert.nn.head import (
    COLBERT,
    LABELLED,
    DenseLayer,
    Head,
    HeadKind,
    LayerMixture,
    Pooling,
    ProblemType,
    Splade,
)

POOLING, MIXTURE, THRESHOLDS = "jaxbert_pooling", "jaxbert_mixture", "jaxbert_thresholds"
NORMALIZED, DENSE, KIND = "jaxbert_normalized", "jaxbert_dense", "jaxbert_head"
SPLADE = "jaxbert_splade"
"""Fields of ours: what transformers has no word for."""


def head_from_hf(hf: Mapping[str, Any], kind: HeadKind) -> Head:
    """The head of a kind with the labels and options that a config.json gives it."""
    pooling, mixture = hf.get(POOLING), hf.get(MIXTURE)
    if pooling is not None and pooling not in get_args(Pooling):
        raise UserError(f"{POOLING}={pooling!r}: expected one of {', '.join(get_args(Pooling))}")
    if mixture is not None:
        mixture = parse_config(LayerMixture, mixture, origin=MIXTURE)
    if kind not in LABELLED:
        is_normalized = hf.get(NORMALIZED) or False
        if not isinstance(is_normalized, bool):
            raise UserError(f"{NORMALIZED}={is_normalized!r}: expected true or false")
        given, dense = hf.get(SPLADE), hf.get(DENSE)
        splade = None if given is None else parse_config(Splade, given, origin=SPLADE)
        if dense is not None:
            dense = parse_config(DenseLayer, dense, origin=DENSE)
        elif kind == "late_interaction" and DENSE not in hf:
            dense = COLBERT
        return Head(
            kind,
            pooling=pooling,
            mixture=mixture,
            dense=dense,
            is_normalized=is_normalized,
            splade=splade,
        )
    problem_type = hf.get("problem_type")
    if problem_type is not None and problem_type not in get_args(ProblemType):
        choices = ", ".join(get_args(ProblemType))
        raise UserError(f"problem_type={problem_type!r}: expected one of {choices}, or null")
    labels, thresholds = labels_from_hf(hf), thresholds_from_hf(hf)
    if thresholds is not None and len(thresholds) != len(labels):
        raise UserError(
            f"{THRESHOLDS} has {len(thresholds)} numbers for {len(labels)} labels: they were tuned "
            "for others, so delete the field if the model was trained anew"
        )
    return Head(kind, labels, problem_type, pooling=pooling, mixture=mixture, thresholds=thresholds)


def head_to_hf(head: Head) -> dict[str, Any]:
    """`id2label`, `label2id` and the options of a head."""
    fields: dict[str, Any] = {}
    if head.labels:
        fields["id2label"] = {str(index): label for index, label in enumerate(head.labels)}
        fields["label2id"] = {label: index for index, label in enumerate(head.labels)}
    if head.problem_type is not None:
        fields["problem_type"] = head.problem_type
    if head.pooling is not None:
        fields[POOLING] = head.pooling
    if head.is_normalized:
        fields[NORMALIZED] = True
    if head.splade is not None:
        fields[SPLADE] = asdict(head.splade)
    if head.dense is not None or head.kind == "late_interaction":
        fields[DENSE] = None if head.dense is None else asdict(head.dense)
    if head.mixture is not None:
        fields[MIXTURE] = asdict(head.mixture)
    if head.thresholds is not None:
        fields[THRESHOLDS] = list(head.thresholds)
    return fields


def thresholds_from_hf(hf: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Of the labels in their order; None where the file has none."""
    given = hf.get(THRESHOLDS)
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(x, int | float) for x in given):
        raise UserError(f"{THRESHOLDS}={given!r}: expected a list of numbers, one a label")
    return tuple(map(float, given))


def labels_from_hf(hf: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels in the order of the outputs; transformers' own two where the file names none.

    As in transformers, `num_labels` goes before names that are not as many: its versions 2 wrote
    two names beside any other number.
    """
    named = hf.get("id2label")
    if named is None:
        return _generic_labels(hf.get("num_labels", 2))
    if not isinstance(named, Mapping) or not all(str(index).isdecimal() for index in named):
        raise UserError(f"id2label={named!r}: expected an object from output index to label")
    if hf.get("num_labels") not in (None, len(named)):
        return _generic_labels(hf["num_labels"])
    labels = {int(index): str(label) for index, label in named.items()}
    if sorted(labels) != list(range(len(named))):
        raise UserError(f"id2label has the indices {sorted(labels)}: expected 0, 1, 2, ...")
    return tuple(labels[index] for index in range(len(labels)))


def _generic_labels(count: Any) -> tuple[str, ...]:
    """transformers' own names."""
    return tuple(f"LABEL_{index}" for index in range(int(number("num_labels", count, whole=True))))
