"""Approximate inverses as SciPy LinearOperators, made of sparse factors; no torch."""
