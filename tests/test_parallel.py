"""Beyond one process, as far as the plain environment goes."""

import importlib
import importlib.util

import pytest


@pytest.mark.skipif(importlib.util.find_spec("petsc4py") is not None, reason="petsc4py is here")
def test_without_petsc4py_its_name_and_a_way_to_it_are_given():
    with pytest.raises(ModuleNotFoundError, match="apt-get install python3-petsc4py"):
        importlib.import_module("neuprecond.petsc")
