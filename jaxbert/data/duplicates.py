"""Documents that have been there before: exactly, or nearly.

Both filters keep the first of equal documents; what they answer depends on the order of the calls
alone.
"""

from jaxbert.data.digests import DigestSet, text_digest
from jaxbert.data.sources.document import Document


class ExactDuplicates:
    """A filter for documents that equal an earlier one but for white space and Unicode form.

    It holds a `DigestSet`: 12 to 24 bytes a kept document.
    """

    def __init__(self) -> None:
        self._digests = DigestSet()

    def __call__(self, document: Document) -> str | None:
        """Why the document is to be dropped, or None."""
        return None if self.add(text_digest(document.text)) else "exact duplicate"

    def add(self, digest: int) -> bool:
        """Remember a `text_digest`; whether it was new."""
        return self._digests.add(digest)


class NearDuplicates:
    """Tells by their `Bands` the documents that are nearly an earlier one which was kept.

    It holds a `DigestSet` of all bands: with the default configuration 170 to 340 bytes a kept
    document. Nothing confirms a pair that meets in a band, so the curve of the banding is the
    filter's: a pair of similarity s is found with probability 1 - (1 - s^rows)^bands (Leskovec,
    Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).
    """

    def __init__(self) -> None:
        self._digests = DigestSet()

    def add(self, bands: tuple[int, ...]) -> bool:
        """Remember the bands of a text; False where it is near to an earlier one."""
        if any(digest in self._digests for digest in bands):
            return False
        for digest in bands:
            self._digests.add(digest)
        return True
