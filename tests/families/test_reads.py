"""In which types the models read their parameters, by the programs that they are traced to."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr, Var
from test_families import CASES, NAMES, head_of, tiny

from jaxbert.families.family import Family
from jaxbert.nn.functional import abstract_params, make_apply
from jaxbert.nn.head import HeadKind
from jaxbert.parallel.rules import is_read_rounded
from jaxbert.tree import flat

SHAPES: dict[str, tuple[int, ...]] = {"multiple_choice": (1, 2, 8)}


def reads(family: Family, kind: HeadKind) -> dict[str, set[str]]:
    """By the path of every parameter, what is done with it; a cast by the type it is cast to."""
    config, head = tiny(family), head_of(kind)
    params = abstract_params(config, head)
    apply = make_apply(config, head, jnp.bfloat16)
    tokens = jax.ShapeDtypeStruct(SHAPES.get(kind, (2, 8)), np.int32)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def called(params: Any, tokens: Any, mask: Any, types: Any, key: Any) -> Any:
        return apply(params, tokens, mask, types, key=key)

    traced = jax.make_jaxpr(called)(params, tokens, tokens, tokens, key).jaxpr
    places = traced.invars[: len(jax.tree.leaves(params))]
    return {path: set(uses(traced, var)) for path, var in zip(flat(params), places, strict=True)}


def uses(jaxpr: Jaxpr, var: Var) -> Iterator[str]:
    """Operations that read a variable, within the programs that it is handed to as well."""
    for equation in jaxpr.eqns:
        for place, given in enumerate(equation.invars):
            if given is not var:
                continue
            inner = [p for p in map(program, equation.params.values()) if p is not None]
            if not inner:
                dtype = equation.params.get("new_dtype", "")
                yield f"{equation.primitive.name} {dtype}".strip()
            for called in inner:
                # Of functions with a gradient by hand the first program is the function's own.
                yield from uses(called, called.invars[place - len(equation.invars)])


def program(value: Any) -> Jaxpr | None:
    return (
        value.jaxpr
        if isinstance(value, ClosedJaxpr)
        else value
        if isinstance(value, Jaxpr)
        else None
    )


@pytest.mark.parametrize(("family", "kind"), CASES, ids=NAMES)
def test_parameters_that_devices_send_rounded_are_read_in_no_other_type(
    family: Family, kind: HeadKind
):
    found = reads(family, kind)
    rounded = {path: done for path, done in found.items() if is_read_rounded(path) and done}
    assert len(rounded) > 5
    others = {
        path: done for path, done in rounded.items() if done != {"convert_element_type bfloat16"}
    }
    assert not others
    # The same look at the program sees more where there is more.
    assert found["encoder/embeddings/word/embedding"] - {"convert_element_type bfloat16"}
