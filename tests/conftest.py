"""What all tests need."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works():
    """Ctrl-C is heard here and in child processes, even of a run that a shell put behind itself.

    Such a shell has the signal ignored, and what is ignored is inherited.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, signal.SIG_IGN)
