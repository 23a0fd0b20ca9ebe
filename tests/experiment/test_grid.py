"""The words of a sweep, their values, and the names of its directories."""

import re
from itertools import product

import pytest

from jaxbert.errors import UserError
from jaxbert.experiment.grid import axes_of, combinations, name_of, short_keys, split_values


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("a=1e-5,2e-5", (1e-5, 2e-5)),
        ("a=null,true, 3", (None, True, 3)),
        ("a=[768,256],[64]", ([768, 256], [64])),
        ("a={b: 1, c: [2,3]},null", ({"b": 1, "c": [2, 3]}, None)),
        ("a='x,y',z", ("x,y", "z")),
        ("a=\"it's, [\",it's,b", ("it's, [", "it's", "b")),
        ("a=['x]',\"y,\"],'16',16", (["x]", "y,"], "16", 16)),
        ("a=hf:glue/rte:train,gs://b/c.csv", ("hf:glue/rte:train", "gs://b/c.csv")),
        ("a=rows[1,2].tsv,b=c", ("rows[1,2].tsv", "b=c")),
        ("a=''", ("",)),
    ],
)
def test_values_are_read_as_overrides_are(word, values):
    [axis] = axes_of([word])
    assert axis.key == "a"
    assert axis.values == values
    assert [type(value) for value in axis.values] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("words", "overrides", "message"),
    [
        (["batch_size"], [], "--sweep batch_size: expected key=value,value,"),
        (["=1,2"], [], "expected key=value"),
        (["a=1,,2"], [], "--sweep a=1,,2: a value is missing"),
        (["a="], [], "a value is missing"),
        (["a=[1,2"], [], r"--sweep a=\[1,2: a bracket or a quote is not closed"),
        (["a='1,2"], [], "a bracket or a quote is not closed"),
        (["a=1e-5,2e-5,0.00001"], [], "0.00001 is given twice"),
        (["a=1", "b=1", "a=2"], [], "--sweep: a is given twice"),
        (["a.b=1", "a_b=1", "a={b: 2}"], [], "--sweep: a.b is a part of a"),
        (["a=1,2"], ["b=1", "a=3"], "--sweep a: a= is given too, which the sweep would replace"),
        (["a={b: 1},null"], ["a.b=3"], "--sweep a: a.b= is given too"),
        (["checkpoint.metric=f1,loss"], [], "it says which run is the best"),
    ],
)
def test_words_that_mean_no_grid_are_refused(words, overrides, message):
    with pytest.raises(UserError, match=message):
        axes_of(words, overrides)


def test_a_key_in_a_section_that_is_given_for_all_can_be_swept():
    assert axes_of(["optimizer.b2=0.98,0.999"], ["optimizer={kind: lamb}", "opt=1"])


def test_the_grid_is_every_combination():
    found = [*combinations(axes_of(["a=1,2,3", "b=x,y"]))]
    assert found == [{"a": a, "b": b} for a, b in product("123", "xy")]
    assert [*combinations(())] == [{}]


def test_names_are_readable_and_the_same_in_any_order_of_the_keys():
    values = {"optimizer.learning_rate": 1e-5, "batch_size": 16, "lora": None}
    name = "batch_size=16,learning_rate=1e-05,lora=null"
    assert name_of(values) == name_of(dict(reversed(values.items()))) == name
    assert name_of({"model": "bert-base-uncased", "packing": True}) == (
        "model=bert-base-uncased,packing=true"
    )
    assert name_of({}) == ""
    assert short_keys(["a.x", "b.x", "b.y"]) == {"a.x": "a.x", "b.x": "b.x", "b.y": "y"}
    assert name_of({"a.x": 1, "b.x": 2, "b.y": 3}) == "a.x=1,b.x=2,y=3"


def test_names_are_safe_and_other_values_have_others():
    values = [
        *(
            "bert",
            "Bert",
            "bert/large",
            "bert-large",
            "bert large",
            "..",
            "",
            "-",
            "/",
            "~",
            "a\nb",
        ),
        *(16, "16", 16.5, "16.5", None, "null", True, "true", [1, 2], "1-2", "[1, 2]", [12]),
        *({"kind": "a"}, {"kind": "b"}, "ä", "ö", "x" * 60, "x" * 61, "-x", "x-", "=", "1e5", 1e5),
    ]
    names = [name_of({"key": value}) for value in values]
    assert len({name.lower() for name in names}) == len(values)
    assert all(re.fullmatch(r"key=[A-Za-z0-9._+-]+", name) for name in names)
    many = [{f"a_long_name_of_a_key_{n}": "x" * 40 for n in range(9)} for _ in range(2)]
    many[1]["a_long_name_of_a_key_8"] = "y"
    names = [*map(name_of, many)]
    assert names[0] != names[1]
    assert max(map(len, names)) < 230


def test_spaces_around_values_are_nothing():
    assert split_values(" 1 , [2, 3] ", "a") == ("1", "[2, 3]")
