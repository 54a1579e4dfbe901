"""Training of packaged and own models: ``python -m neuprecond.training NAME``."""
