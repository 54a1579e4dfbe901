"""What can go wrong, as classes a caller may want to catch."""

__all__ = ["NeuprecondWarning", "NotDefiniteError", "WeightsError"]


class NotDefiniteError(ValueError):
    """A is not symmetric positive definite where the method needs it to be.

    Parameters
    ----------
    fact : str
        What was needed and what came.
    advice : str
        What to do; left out where a caller has just done it.
    """

    def __init__(self, fact: str, advice: str = "") -> None:
        super().__init__(fact, advice)
        self.fact, self.advice = fact, advice

    def __str__(self) -> str:
        return f"{self.fact} {self.advice}".rstrip()


class WeightsError(ValueError):
    """A weights file is damaged, foreign, or of a format this version does not read."""


class NeuprecondWarning(UserWarning):
    """M was built, but not as asked for: the message says what happened instead and why."""
