"""The package itself."""

from __future__ import annotations

from importlib.metadata import version

import pytest

import pgdbpool


def test_it_knows_its_version() -> None:
    """``__version__`` is that of the installed distribution, looked up when it is asked for."""
    assert pgdbpool.__version__ == version("pgdbpool")


def test_a_name_that_it_has_not() -> None:
    """An unknown attribute is an AttributeError that names it, as of any module."""
    with pytest.raises(AttributeError, match="'pgdbpool' has no attribute 'Connexion'"):
        pgdbpool.Connexion  # noqa: B018 (that it raises is the subject)
