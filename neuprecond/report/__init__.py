"""The map: families of matrices × sizes × preconditioners, measured, judged by rules and drawn."""

from neuprecond.report.counts import BenchmarkError, Counts, Run
from neuprecond.report.families import MAP_FAMILIES, SIZES
from neuprecond.report.mapping import draw_map, make_map, make_study
from neuprecond.report.verdict import cells

__all__ = [
    "MAP_FAMILIES",
    "SIZES",
    "BenchmarkError",
    "Counts",
    "Run",
    "cells",
    "draw_map",
    "make_map",
    "make_study",
]
