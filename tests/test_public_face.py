import jaxbert


def test_every_public_name_is_there():
    for name in jaxbert.__all__:
        assert getattr(jaxbert, name).__name__ == name
    assert set(jaxbert.__all__) < set(dir(jaxbert))
