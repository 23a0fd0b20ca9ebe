"""The tags of sentences as a model's labels: checked, in its scheme, numbered."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxbert.data.tagged import TaggedSentence
from jaxbert.data.tagging import (
    OUTSIDE,
    Scheme,
    all_tags,
    converted,
    detected,
    is_tag,
    offence,
    parts,
    scheme_of_labels,
)
from jaxbert.errors import UserError, nearest

Given = Scheme | Literal["auto"]
Broken = Literal["error", "repair"]


def label_names(
    sentences: Sequence[TaggedSentence], given: Given, broken: Broken, target: Scheme | None
) -> tuple[str, ...]:
    """The labels that training needs: of every type of entity all tags, or the classes there are.

    `target` is the scheme to train in; None: that of the data, BIO for IOB1.
    """
    tags, scheme = scheme_and_tags(sentences, (), given, broken)
    found = {tag for sentence in tags for tag in sentence}
    if scheme == "none":
        is_numbered = all(name.isdecimal() for name in found)
        return tuple(sorted(found, key=lambda name: (int(name) if is_numbered else 0, name)))
    types = sorted({parts(tag)[1] for tag in found - {OUTSIDE}})
    return all_tags(types, target or ("bio" if scheme == "iob1" else scheme))


def tag_indices(
    sentences: Sequence[TaggedSentence], labels: Sequence[str], given: Given, broken: Broken
) -> np.ndarray:
    """int32 [words]: the index in `labels` of every word's tag, in the scheme of the labels."""
    tags, scheme = scheme_and_tags(sentences, labels, given, broken)
    target = scheme_of_labels(labels)
    if "none" not in (scheme, target) and (scheme != target or broken == "repair"):
        tags = [converted(sentence, target) for sentence in tags]
    index = {name: number for number, name in enumerate(labels)}
    found = []
    for sentence, names in zip(sentences, tags, strict=True):
        for word, name in enumerate(names):
            if name not in index:
                raise UserError(
                    f"{sentence.where(word)}: label {name!r} is none of the model's: "
                    f"{nearest(name, list(labels))}; correct or remove the sentence, or name all "
                    "labels in task.labels"
                )
            found.append(index[name])
    return np.array(found, np.int32)


def scheme_and_tags(
    sentences: Sequence[TaggedSentence], labels: Sequence[str], given: Given, broken: Broken
) -> tuple[list[list[str]], Scheme]:
    """Names of all tags, and the scheme that they are in; UserError where they break it."""
    tags = [_names(sentence, labels) for sentence in sentences]
    scheme = detected(tags) if given == "auto" else given
    for sentence, names in zip(sentences, tags, strict=True):
        found = offence(names, scheme)
        if found is None or (broken == "repair" and all(map(is_tag, names))):
            continue
        raise UserError(
            f"{sentence.where(found[0])}: {found[1]}; correct it, or set task.broken_tags=repair "
            "to read it as conlleval does (or task.scheme to what the file is tagged in)"
        )
    return tags, scheme


def _names(sentence: TaggedSentence, labels: Sequence[str]) -> list[str]:
    assert sentence.tags is not None
    names = []
    for word, tag in enumerate(sentence.tags):
        if isinstance(tag, str):
            names.append(tag)
        elif tag >= 0 and (not labels or str(tag) in labels):
            names.append(str(tag))
        elif 0 <= tag < len(labels):
            names.append(labels[tag])
        else:
            last = f" to {len(labels) - 1}" if labels else " on"
            raise UserError(
                f"{sentence.where(word)}: tag {tag}, expected the number of a label, from 0{last}; "
                "correct or remove the sentence"
            )
    return names
