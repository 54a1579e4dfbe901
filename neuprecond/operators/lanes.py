"""Rows of `LANES` columns as one vector of the processor, which the compiler does not find itself.

Numba leaves the vectoriser of straight-line code off, and sums in an array are stored and loaded
again at each entry. So these functions say what they mean in the compiler's own terms: a product
with eight columns takes a third of the time.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LANES", "NOTHING", "dense_row", "get", "more", "put", "scatter_row", "sparse_row"]

# Columns that go through a cycle together: as many as registers hold.
LANES = 8
#: A row of zeros.
NOTHING = (0.0,) * LANES
_ROW = types.UniTuple(types.float64, LANES)
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
# The array's own alignment: a vector may start anywhere in it.
_ALIGNED = 8
_FAST = ("contract",)


def _lane(c: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), c)


def _vector(builder: ir.IRBuilder, row: ir.Value) -> ir.Value:
    """A row as a vector."""
    vector = ir.Constant(_VECTOR, ir.Undefined)
    for c in range(LANES):
        vector = builder.insert_element(vector, builder.extract_value(row, c), _lane(c))
    return vector


def _row(builder: ir.IRBuilder, vector: ir.Value) -> ir.Value:
    """A vector as a row, which is what other functions pass on."""
    row = ir.Constant(ir.ArrayType(ir.DoubleType(), LANES), ir.Undefined)
    for c in range(LANES):
        row = builder.insert_value(row, builder.extract_element(vector, _lane(c)), c)
    return row


def _everywhere(builder: ir.IRBuilder, number: ir.Value) -> ir.Value:
    """A vector of one number."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    first = builder.insert_element(undefined, number, _lane(0))
    return builder.shuffle_vector(first, undefined, mask)


def _added(builder: ir.IRBuilder, a: ir.Value, v: ir.Value, b: ir.Value) -> ir.Value:
    """The vector a + v b, of a number v."""
    return builder.fadd(a, builder.fmul(_everywhere(builder, v), b, flags=_FAST), flags=_FAST)


class _Rows:
    """The rows of an array of LANES columns, contiguous or some columns of another."""

    def __init__(
        self, context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value
    ) -> None:
        whole = context.make_array(kind)(context, builder, array)
        self._builder, self._data = builder, whole.data
        self._bytes = None if kind.layout == "C" else builder.extract_value(whole.strides, 0)

    def _place(self, i: ir.Value) -> ir.Value:
        builder, to = self._builder, _VECTOR.as_pointer()
        if self._bytes is None:
            first = builder.mul(i, ir.Constant(i.type, LANES))
            return builder.bitcast(builder.gep(self._data, [first]), to)
        start = builder.bitcast(self._data, ir.IntType(8).as_pointer())
        return builder.bitcast(builder.gep(start, [builder.mul(i, self._bytes)]), to)

    def load(self, i: ir.Value) -> ir.Value:
        return self._builder.load(self._place(i), align=_ALIGNED)

    def store(self, vector: ir.Value, i: ir.Value) -> None:
        self._builder.store(vector, self._place(i), align=_ALIGNED)


def _entries(
    context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any
) -> tuple[ir.Value, ir.Value, _Rows]:
    """Where values and columns of a sparse matrix are, and the rows it is multiplied with."""
    kinds = signature.args
    values, indices = (
        context.make_array(kinds[k])(context, builder, arguments[k]).data for k in (0, 1)
    )
    return values, indices, _Rows(context, builder, kinds[5], arguments[5])


def _column(builder: ir.IRBuilder, indices: ir.Value, k: ir.Value) -> ir.Value:
    """Entry k of an array of unsigned indices, as wide as a pointer."""
    column = builder.load(builder.gep(indices, [k]))
    return column if column.type == k.type else builder.zext(column, k.type)


@intrinsic
def get(typing: Any, X: types.Array, i: types.Integer) -> tuple[Any, Callable[..., ir.Value]]:
    """Give row i of X, of shape (n, LANES)."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        X = _Rows(context, builder, signature.args[0], arguments[0])
        return _row(builder, X.load(arguments[1]))

    return _ROW(X, types.intp), generate


@intrinsic
def put(
    typing: Any, X: types.Array, i: types.Integer, row: types.UniTuple
) -> tuple[Any, Callable[..., ir.Value]]:
    """Set row i of X, of shape (n, LANES)."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        X = _Rows(context, builder, signature.args[0], arguments[0])
        X.store(_vector(builder, arguments[2]), arguments[1])
        return context.get_dummy_value()

    return types.void(X, types.intp, _ROW), generate


@intrinsic
def more(
    typing: Any, a: types.UniTuple, v: types.Float, b: types.UniTuple
) -> tuple[Any, Callable[..., ir.Value]]:
    """Give the row a + v b."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        a, v, b = arguments
        return _row(builder, _added(builder, _vector(builder, a), v, _vector(builder, b)))

    return _ROW(_ROW, types.float64, _ROW), generate


@intrinsic
def sparse_row(
    typing: Any,
    values: types.Array,
    indices: types.Array,
    start: types.Integer,
    stop: types.Integer,
    sign: types.Float,
    X: types.Array,
    a: types.UniTuple,
) -> tuple[Any, Callable[..., ir.Value]]:
    """Give a + sign times the product of a row, entries start to stop, with X of (n, LANES)."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        values, indices, X = _entries(context, builder, signature, arguments)
        total = cgutils.alloca_once_value(builder, _vector(builder, arguments[6]))
        with cgutils.for_range(builder, arguments[3], start=arguments[2]) as loop:
            k = loop.index
            v = builder.fmul(arguments[4], builder.load(builder.gep(values, [k])), flags=_FAST)
            row = X.load(_column(builder, indices, k))
            builder.store(_added(builder, builder.load(total), v, row), total)
        return _row(builder, builder.load(total))

    arguments = (values, indices, types.intp, types.intp, types.float64, X, _ROW)
    return _ROW(*arguments), generate


@intrinsic
def dense_row(
    typing: Any, C: types.Array, i: types.Integer, X: types.Array
) -> tuple[Any, Callable[..., ir.Value]]:
    """Give the product of row i of a dense square C with X, of shape (n, LANES)."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        C = context.make_array(signature.args[0])(context, builder, arguments[0])
        columns = builder.extract_value(C.shape, 1)
        X = _Rows(context, builder, signature.args[2], arguments[2])
        total = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES))
        with cgutils.for_range(builder, columns) as loop:
            place = cgutils.get_item_pointer(
                context, builder, signature.args[0], C, [arguments[1], loop.index]
            )
            v, row = builder.load(place), X.load(loop.index)
            builder.store(_added(builder, builder.load(total), v, row), total)
        return _row(builder, builder.load(total))

    return _ROW(C, types.intp, X), generate


@intrinsic
def scatter_row(
    typing: Any,
    values: types.Array,
    indices: types.Array,
    start: types.Integer,
    stop: types.Integer,
    a: types.UniTuple,
    Y: types.Array,
) -> tuple[Any, Callable[..., ir.Value]]:
    """Add to Y, of shape (n, LANES), what a row, entries start to stop, hands down of a."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        values, indices, Y = _entries(context, builder, signature, arguments)
        row = _vector(builder, arguments[4])
        with cgutils.for_range(builder, arguments[3], start=arguments[2]) as loop:
            k = loop.index
            v = builder.load(builder.gep(values, [k]))
            to = _column(builder, indices, k)
            Y.store(_added(builder, Y.load(to), v, row), to)
        return context.get_dummy_value()

    return types.void(values, indices, types.intp, types.intp, _ROW, Y), generate
