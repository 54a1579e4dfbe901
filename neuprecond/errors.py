"""What can go wrong, as classes a caller may want to catch."""

__all__ = ["NeuprecondWarning", "NotDefiniteError", "WeightsError"]


class NotDefiniteError(ValueError):
    """A is not symmetric positive definite where the method needs it to be."""


class WeightsError(ValueError):
    """A weights file is damaged, foreign, or of a format this version does not read."""


class NeuprecondWarning(UserWarning):
    """M was built, but not as asked for: the message says what happened instead and why."""
