"""Sentence pairs of data sets, and their rows as they are read."""

from jaxbert.data.problems import Problems
from jaxbert.data.tables import read_rows

PAIRS = [("He left.", "He went.", 1), ("One, two", 'Say "so"', 0), ("Café", "日本", 1)]


def read(spec, **options):
    problems = Problems()
    return [row.values for row in read_rows(spec, problems=problems, **options)], problems
