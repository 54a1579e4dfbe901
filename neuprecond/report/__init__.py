"""The map: families of matrices × sizes × preconditioners, measured, judged by rules and drawn."""

from neuprecond.report.bench import (
    BENCH_FAMILIES,
    Bench,
    bench_tables,
    claims,
    make_bench,
    read_bench,
    write_bench,
)
from neuprecond.report.counts import BenchmarkError, Counts, Run
from neuprecond.report.families import MAP_FAMILIES, SIZES
from neuprecond.report.mapping import draw_map, draw_speed, make_map, make_study
from neuprecond.report.verdict import cells

__all__ = [
    "BENCH_FAMILIES",
    "MAP_FAMILIES",
    "SIZES",
    "Bench",
    "BenchmarkError",
    "Counts",
    "Run",
    "bench_tables",
    "cells",
    "claims",
    "draw_map",
    "draw_speed",
    "make_bench",
    "make_map",
    "make_study",
    "read_bench",
    "write_bench",
]
