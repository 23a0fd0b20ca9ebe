"""Tagged sentences as a model reads them, and the way back from its tokens to words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxbert.data.masking import IGNORED
from jaxbert.data.tagged import TaggedSentence
from jaxbert.data.tagging import (
    OUTSIDE,
    Scheme,
    Span,
    continuation,
    parts,
    spans,
    strict_spans,
)
from jaxbert.data.word_windows import WordWindows
from jaxbert.errors import UserError
from jaxbert.metrics.classification import accuracy
from jaxbert.metrics.entities import entity_scores
from jaxbert.tasks.finetuning import Rows
from jaxbert.tasks.tables import Table, class_table, mistakes


@dataclass(frozen=True)
class TaggedWords:
    """Examples of `TokenClassification`; every word counts once, in however many windows.

    A word's tag is that of its first piece. One without any piece is outside of all entities, or
    where there is no such label, of the class that is most frequent in its sentence.
    """

    labels: tuple[str, ...]
    sentences: Sequence[TaggedSentence]
    windows: WordWindows
    tags: np.ndarray | None
    """int32 [words]"""
    scheme: Scheme
    """Of the labels; none: they are classes, and there are no entities."""
    labels_all_pieces: bool = False

    @cached_property
    def features(self) -> Mapping[str, Any]:
        """Tokens, and the label of each that counts."""
        features = {
            "input_ids": self.windows.input_ids,
            "token_type_ids": self.windows.token_type_ids,
        }
        return features if self.tags is None else features | {"labels": self._token_labels()}

    def _token_labels(self) -> list[np.ndarray]:
        assert self.tags is not None
        words = np.concatenate(self.windows.words)
        # An index of -1 is looked up, and its label dropped.
        tags = np.append(self.tags, 0)
        labels = np.where(words < 0, IGNORED, tags[words])
        goes_on = (words >= 0) & (words == np.roll(words, 1))
        # A word counts in one window alone, so that the token before is of the same one.
        rest = self._continuations[tags[words]] if self.labels_all_pieces else IGNORED
        labels = np.where(goes_on, rest, labels).astype(np.int32)
        return np.split(labels, np.cumsum([len(row) for row in self.windows.words])[:-1])

    @cached_property
    def _continuations(self) -> np.ndarray:
        """[labels] The label of a word's later pieces."""
        if self.scheme == "none":
            return np.arange(len(self.labels))
        wanted = [continuation(label) for label in self.labels]
        lacking = sorted(set(wanted) - set(self.labels))
        if lacking:
            raise UserError(
                f"task.labels lacks {lacking[0]!r}, which label_pieces=all gives the later pieces "
                "of a word; add it, or set task.label_pieces=first"
            )
        return np.array([self.labels.index(label) for label in wanted])

    @property
    def notes(self) -> tuple[str, ...]:
        """How many sentences are read in windows, and how many words a model cannot see."""
        windows = np.bincount(self.windows.sentences, minlength=len(self.sentences))
        longer, silent = int((windows > 1).sum()), int((self.windows.places[:, 0] < 0).sum())
        found = []
        if longer:
            found.append(
                f"training: {longer:,} of {len(self.sentences):,} sentences are longer than a row: "
                "read in windows, every word counts once"
            )
        if silent:
            found.append(
                f"training: {silent:,} of {len(self.windows.places):,} words have no piece in this "
                "vocabulary (control characters alone, or nothing): they teach nothing"
            )
        return tuple(found)

    def metrics(self, means: dict[str, float], rows: Rows) -> dict[str, float]:
        """Loss of tokens, accuracy of words, and precision, recall and F1 of entities."""
        assert self.tags is not None
        predicted, _, whole = self._of_words(rows)
        chosen = np.repeat(whole, np.diff(self.windows.firsts))
        metrics = means | {"accuracy": accuracy(self.tags[chosen], predicted[chosen])}
        if self.scheme == "none":
            return metrics
        numbers = np.flatnonzero(whole)
        labels, found = self._names(self.tags, numbers), self._names(predicted, numbers)
        types = sorted({parts(label)[1] for label in self.labels} - {""})
        return metrics | entity_scores(labels, found, self.scheme, types)

    def predictions(self, rows: Rows) -> Iterator[dict[str, Any]]:
        """`words`, `tags`, and of entities type, first word, the word after the last, text, score.

        The score is the mean of the probabilities of an entity's tags. Where the words were split
        from a text, entities have their first character and the one after the last too.
        """
        predicted, probabilities, _ = self._of_words(rows)
        names = self._names(predicted, range(len(self.sentences)))
        for number, (sentence, tags) in enumerate(zip(self.sentences, names, strict=True)):
            found: dict[str, Any] = {"words": list(sentence.words), "tags": tags}
            if self.scheme != "none":
                scores = probabilities[slice(*self.windows.firsts[number : number + 2])]
                found["entities"] = [_entity(sentence, span, scores) for span in self._spans(tags)]
            yield found

    def tables(self, rows: Rows) -> tuple[Table, ...]:
        """Tags of words, and the wrong ones that the model is surest of."""
        assert self.tags is not None
        predicted, probabilities, whole = self._of_words(rows)
        chosen = np.repeat(whole, np.diff(self.windows.firsts))
        wrong = np.flatnonzero(chosen & (predicted != self.tags))
        surest = wrong[np.argsort(-probabilities[wrong], kind="stable")].tolist()
        columns = ("row", "word", "expected", "predicted", "probability")
        return (
            class_table(self.tags[chosen], predicted[chosen], self.labels),
            mistakes(columns, (self._mistake(w, predicted, probabilities) for w in surest)),
        )

    def _mistake(
        self, word: int, predicted: np.ndarray, probabilities: np.ndarray
    ) -> tuple[str, str, str, str, float]:
        assert self.tags is not None
        number = int(np.searchsorted(self.windows.firsts, word, side="right")) - 1
        sentence, place = self.sentences[number], word - int(self.windows.firsts[number])
        names = (self.labels[tags[word]] for tags in (self.tags, predicted))
        return (
            *(sentence.where(place), sentence.words[place]),
            *names,
            float(probabilities[word]),
        )

    def _spans(self, tags: Sequence[str]) -> list[Span]:
        return strict_spans(tags) if self.scheme in ("bioes", "bilou") else spans(tags)

    def _names(self, tags: np.ndarray, sentences: Sequence[int] | np.ndarray) -> list[list[str]]:
        firsts = self.windows.firsts
        return [
            [self.labels[tag] for tag in tags[firsts[number] : firsts[number + 1]]]
            for number in sentences
        ]

    def _of_words(self, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tags [words], their probabilities, and which sentences have the rows of all windows."""
        windows, row_ids = self.windows, rows["row_ids"]
        starts = np.full(len(windows.sentences), -1)
        lengths = np.array([len(tags) for tags in rows["tags"]], np.int64)
        starts[row_ids] = np.cumsum(lengths) - lengths
        size = len(self.sentences)
        seen = np.bincount(windows.sentences[row_ids], minlength=size)
        whole = seen == np.bincount(windows.sentences, minlength=size)
        example, token = windows.places.T
        said = (example >= 0) & (starts[example] >= 0)
        source = starts[example[said]] + token[said]
        tags = np.full(len(windows.places), -1)
        tags[said] = np.concatenate([np.zeros(0, np.int32), *rows["tags"]])[source]
        probabilities = np.zeros(len(windows.places))
        probabilities[said] = np.concatenate([np.zeros(0), *rows["probabilities"]])[source]
        return self._filled(tags), probabilities, whole

    def _filled(self, tags: np.ndarray) -> np.ndarray:
        silent = np.flatnonzero(self.windows.places[:, 0] < 0)
        if OUTSIDE in self.labels:
            tags[silent] = self.labels.index(OUTSIDE)
            return tags
        firsts = self.windows.firsts
        for number in np.unique(np.searchsorted(firsts, silent, side="right") - 1):
            of_sentence = tags[firsts[number] : firsts[number + 1]]
            counts = np.bincount(of_sentence[of_sentence >= 0], minlength=len(self.labels))
            of_sentence[of_sentence < 0] = counts.argmax()
        return tags


def _entity(sentence: TaggedSentence, span: Span, scores: np.ndarray) -> dict[str, Any]:
    kind, start, stop = span
    found = {"type": kind, "start": start, "end": stop}
    text = " ".join(sentence.words[start:stop])
    if sentence.text is not None:
        first, last = sentence.places[start][0], sentence.places[stop - 1][1]
        found |= {"start_character": first, "end_character": last}
        text = sentence.text[first:last]
    return found | {"text": text, "score": float(scores[start:stop].mean())}
