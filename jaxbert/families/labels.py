"""Labels and head options as config.json writes them; the same for every family."""

from collections.abc import Mapping
from typing import Any, get_args

from jaxbert.errors import UserError
from jaxbert.families.values import number
from jaxbert.nn.config import Head, HeadKind, ProblemType


def head_from_hf(hf: Mapping[str, Any], kind: HeadKind) -> Head:
    """The head of a kind with the labels and options that a config.json gives it."""
    if kind != "sequence_classification":
        return Head(kind)
    problem_type = hf.get("problem_type")
    if problem_type is not None and problem_type not in get_args(ProblemType):
        choices = ", ".join(get_args(ProblemType))
        raise UserError(f"problem_type={problem_type!r}: expected one of {choices}, or null")
    rate = hf.get("classifier_dropout")
    if rate is not None:
        rate = number("classifier_dropout", rate, whole=False)
    return Head(kind, labels_from_hf(hf), problem_type, rate)


def head_to_hf(head: Head) -> dict[str, Any]:
    """`id2label`, `label2id` and the options of a classifier; nothing for the other heads."""
    if head.kind != "sequence_classification":
        return {}
    fields: dict[str, Any] = {
        "id2label": {str(index): label for index, label in enumerate(head.labels)},
        "label2id": {label: index for index, label in enumerate(head.labels)},
    }
    if head.problem_type is not None:
        fields["problem_type"] = head.problem_type
    return fields


def labels_from_hf(hf: Mapping[str, Any]) -> tuple[str, ...]:
    """Labels in the order of the outputs; transformers' own two where the file names none."""
    named = hf.get("id2label")
    if named is None:
        count = int(number("num_labels", hf.get("num_labels", 2), whole=True))
        return tuple(f"LABEL_{index}" for index in range(count))
    if not isinstance(named, Mapping) or not all(str(index).isdecimal() for index in named):
        raise UserError(f"id2label={named!r}: expected an object from output index to label")
    labels = {int(index): str(label) for index, label in named.items()}
    if sorted(labels) != list(range(len(named))):
        raise UserError(f"id2label has the indices {sorted(labels)}: expected 0, 1, 2, ...")
    return tuple(labels[index] for index in range(len(labels)))
