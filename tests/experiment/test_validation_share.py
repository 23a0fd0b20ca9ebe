"""A share of the rows held out: which they are, and what a run makes of them."""

import json
import random

import pytest
from experiment.small_runs import fine_tuning, write_labelled

from jaxbert.config import parse_config, to_values
from jaxbert.data.squad import Question
from jaxbert.data.tables import Row
from jaxbert.data.tagged import TaggedSentence
from jaxbert.errors import UserError
from jaxbert.experiment.finetune import finetune
from jaxbert.experiment.finetune_config import Finetune
from jaxbert.experiment.validation_share import divided


def rows_of(texts):
    return [Row({"text": text, "label": "x"}, "a.csv", i) for i, text in enumerate(texts, start=2)]


def texts_of(rows):
    return [row.values["text"] for row in rows]


@pytest.mark.parametrize(("number", "fraction", "expected"), [(200, 0.1, 20), (7, 0.01, 1)])
def test_a_share_is_held_out_whatever_the_order(number, fraction, expected):
    rows = rows_of([f"text {i}" for i in range(number)])
    kept, out = divided(rows, fraction, ("text",))
    assert len(out) == expected
    assert sorted(texts_of(kept + out)) == sorted(texts_of(rows))
    assert [row.line for row in kept] == sorted(row.line for row in kept)
    random.Random(0).shuffle(rows)
    _, again = divided(rows, fraction, ("text",))
    assert {*texts_of(again)} == {*texts_of(out)}


def test_equal_rows_and_questions_of_a_context_stay_together():
    rows = rows_of([f"text {i % 10}" for i in range(50)])
    kept, out = divided(rows, 0.25, ("text",))
    assert len(out) == 15  # 12.5 rows, and five of a text
    assert not {*texts_of(kept)} & {*texts_of(out)}
    questions = [Question(str(i), f"{i}?", f"context {i % 4}", (), "a") for i in range(20)]
    kept, out = divided(questions, 0.2, ("question", "context"))
    assert len(out) == 5
    assert len({question.context for question in out}) == 1
    tagged = [TaggedSentence((f"w{i % 3}",), ("O",), "a", (i,)) for i in range(9)]
    kept, out = divided(tagged, 0.3, ("text",))
    assert {sentence.words for sentence in out}.isdisjoint({sentence.words for sentence in kept})
    with pytest.raises(UserError, match="of 4 rows none would be left to train on"):
        divided(rows_of(["same"] * 4), 0.5, ("text",))


def test_a_run_is_evaluated_on_its_share_and_trained_on_the_rest(pretrained, tables, tmp_path):
    table = write_labelled(tmp_path / "all.tsv", 40, seed=5)
    values = to_values(fine_tuning(pretrained, table, table))
    values |= {"validation": None, "validation_fraction": 0.2, "num_steps": 3}
    runs = [parse_config(Finetune, values | {"seed": seed}) for seed in (1, 2)]
    for seed, config in enumerate(runs, start=1):
        fitted = finetune(config, tmp_path / str(seed), quiet=True)
        assert len(fitted.outputs[""]["row_ids"]) == 8
        assert f"{table}: 32 rows" in (tmp_path / str(seed) / "model" / "README.md").read_text()
    data, other = (json.loads((tmp_path / str(seed) / "data.json").read_text()) for seed in (1, 2))
    assert data == other


def test_candidates_for_one_text_are_held_out_together(pretrained, tables, tmp_path):
    lines = [f"the {q} cat\ttree {c}\t{int(c == q)}" for q in range(8) for c in range(4)]
    table = tmp_path / "all.tsv"
    table.write_text("\n".join(["query\tpassage\tlabel", *lines]) + "\n")
    values = to_values(fine_tuning(pretrained, table, table))
    values |= {"validation": None, "validation_fraction": 0.2, "num_steps": 1}
    columns = {"text": "query", "text_pair": "passage"}
    values |= {"task": {"columns": columns, "ranking": True}, "checkpoint": {"metric": "mrr"}}
    run = tmp_path / "run"
    fitted = finetune(parse_config(Finetune, values), run, quiet=True)
    # 6.4 rows, and four of a query.
    assert len(fitted.outputs[""]["row_ids"]) == 8
    assert f"{table}: 24 rows" in (run / "model" / "README.md").read_text()


def test_a_share_and_a_file_are_one_too_many(tables):
    values = to_values(fine_tuning("model", *tables))
    with pytest.raises(UserError, match="leave one of the two out"):
        parse_config(Finetune, values | {"validation_fraction": 0.1})
