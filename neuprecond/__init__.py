"""Learned sparse approximate inverses as preconditioners for SciPy's Krylov solvers."""
