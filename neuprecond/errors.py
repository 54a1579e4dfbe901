"""What can go wrong, as classes a caller may want to catch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuprecond.krylov import SolveRecord

__all__ = ["Interrupted", "NeuprecondWarning", "NotDefiniteError", "WeightsError"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a solve; what there is of the solution is kept.

    Attributes
    ----------
    record : SolveRecord
        With x so far, its true residual, iterations, history and the status "interrupted".
    """

    def __init__(self, record: "SolveRecord") -> None:
        super().__init__(record)
        self.record = record

    def __str__(self) -> str:
        return (
            f"interrupted after {self.record.iterations} iterations at a true residual of "
            f"{self.record.residual:.1e}; .record.x is x so far."
        )


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
