import errno
import fcntl

import pytest

from jaxbert.errors import UserError
from jaxbert.experiment.lock import sole_trainer


def test_a_second_trainer_is_refused_until_the_first_has_ended(tmp_path):
    refused = pytest.raises(UserError, match="another process is training in this run")
    with sole_trainer(tmp_path), refused, sole_trainer(tmp_path):
        pass
    with sole_trainer(tmp_path):
        pass


def test_where_a_file_system_has_no_locks_training_goes_on_and_says_so(
    tmp_path, monkeypatch, caplog
):
    def without(handle, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    with sole_trainer(tmp_path):
        assert "its file system has no locks" in caplog.text
