import pytest

from jaxbert.errors import UserError
from jaxbert.experiment.lock import sole_trainer


def test_a_second_trainer_is_refused_until_the_first_has_ended(tmp_path):
    refused = pytest.raises(UserError, match="another process is training in this run")
    with sole_trainer(tmp_path), refused, sole_trainer(tmp_path):
        pass
    with sole_trainer(tmp_path):
        pass
