"""One process alone: nothing is sent, and nobody is waited for."""

import jax
import numpy as np
import pytest

from jaxbert.errors import UserError
from jaxbert.parallel.processes import Agreement, Total, in_first, is_first, of_all, to_first


def test_what_the_first_process_does_is_done_here():
    assert is_first()
    assert in_first(lambda: 3) == 3
    assert of_all({"a": 1}) == [{"a": 1}]
    with pytest.raises(UserError, match="no such file"):
        in_first(refuse)


def refuse() -> None:
    raise UserError("no such file")


def test_an_agreement_of_one_is_its_answer_of_now():
    answers = iter([False, True, False])
    agreed = Agreement(lambda: next(answers))
    assert [agreed() for _ in range(3)] == [False, True, False]


def test_a_total_of_one_is_exact():
    values = np.array([2.0**53 - 1, 0.1])
    np.testing.assert_array_equal(Total()(values), values)


def test_arrays_come_to_the_host_from_all_devices():
    mesh = jax.make_mesh((8,), ("devices",))
    split = jax.NamedSharding(mesh, jax.P("devices"))
    tree = {"a": jax.device_put(np.arange(16.0, dtype=np.float32), split)}
    found = to_first(tree)
    assert isinstance(found["a"], np.ndarray)
    np.testing.assert_array_equal(found["a"], np.arange(16.0))
