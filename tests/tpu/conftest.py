import pytest
from fake_cloud import Cloud


@pytest.fixture
def cloud(tmp_path):
    return Cloud(tmp_path)
