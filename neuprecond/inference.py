"""`LevelNetwork` in compiled loops over NumPy arrays: what runs at setup, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from neuprecond.features import LevelFeatures, aligned
from neuprecond.multilevel import Values
from neuprecond.rows import OPTIONS as ROWS
from neuprecond.rows import unsigned

__all__ = ["level_network"]

# Rows that go through the layers of a round together: they stay in the first cache.
BLOCK = 128
# What torch's LayerNorm adds to a variance.
EPS = np.float32(1e-5)
ZERO, ONE = np.float32(0.0), np.float32(1.0)

OPTIONS: dict[str, Any] = {**ROWS, "fastmath": {"contract", "nsz"}}
# Sums over the width of one state may be taken in any order.
REDUCE: dict[str, Any] = {**OPTIONS, "fastmath": {"contract", "nsz", "reassoc"}}


def level_network(weights: Mapping[str, np.ndarray]) -> Values:
    """Make the network a function of a level's features.

    Parameters
    ----------
    weights : mapping of str to ndarray
        ``LevelNetwork.state_dict()`` as NumPy arrays; width and number of rounds are read from it.

    Returns
    -------
    callable
        ``values(features) -> (smoother, entry)``, float32: what torch computes, up to rounding.
        Safe to call from several threads at once; raises ValueError where the features are not as
        many as the network was made for.

    Raises
    ------
    ValueError
        If an array is missing, has another shape than the rest asks for, or is not finite.
    """
    width, rounds = _sizes(weights)

    def linear(name: str) -> np.ndarray:
        # Inputs × outputs: the loops run over outputs, which lie side by side.
        return np.ascontiguousarray(weights[f"{name}.weight"].T, dtype=np.float32)

    def bias(name: str) -> np.ndarray:
        return np.ascontiguousarray(weights[f"{name}.bias"], dtype=np.float32)

    layers = []
    for k in range(rounds):
        gather, name = linear(f"rounds.{k}.gather"), f"rounds.{k}"
        following = f"rounds.{k + 1}.send" if k + 1 < rounds else "entry_root"
        layers.append(
            _Round(
                own=np.hstack([linear(f"{name}.receive"), gather[:width]]),
                own_bias=np.concatenate([bias(f"{name}.receive"), bias(f"{name}.gather")]),
                edge=linear(f"{name}.edge"),
                gather=np.ascontiguousarray(gather[width:]),
                update=linear(f"{name}.update_state"),
                update_bias=bias(f"{name}.update_state"),
                following=linear(following),
            )
        )
    encode, encode_bias = linear("encode"), bias("encode")
    send_first = linear("rounds.0.send" if rounds else "entry_root")
    smoother_hidden, smoother_hidden_bias = linear("smoother_hidden"), bias("smoother_hidden")
    smoother_out, smoother_out_bias = linear("smoother_out")[:, 0], bias("smoother_out")
    entry_row, entry_row_bias = linear("entry_row"), bias("entry_row")
    entry_head = (linear("entry_own"), linear("entry_mix"), bias("entry_mix"))
    entry_out, entry_out_bias = linear("entry_out")[:, 0].copy(), bias("entry_out")
    lanes = (None,) * width
    edge_inputs = (None,) * (layers[0].edge.shape[0] if rounds else 0)
    entry_inputs = (None,) * entry_head[0].shape[0]

    asked = {"nodes": len(encode), "entries": len(entry_inputs)}
    if rounds:
        asked["edges"] = len(edge_inputs)

    def values(features: LevelFeatures) -> tuple[np.ndarray, np.ndarray]:
        for field, inputs in asked.items():
            given = getattr(features, field).shape[1]
            # The compiled loops would read past the end of a row.
            if given != inputs:
                raise ValueError(f"the network needs {inputs} numbers in {field!r}, got {given}.")
        indptr, cols = unsigned(features.indptr), unsigned(features.cols)
        entry_ends = unsigned(features.entry_rows), unsigned(features.entry_roots)
        h = features.nodes @ encode
        h += encode_bias
        np.maximum(h, ZERO, out=h)
        send, spare = (aligned(len(h), width, np.float32) for _ in range(2))
        np.matmul(h, send_first, out=send)
        for layer in layers:
            _round(
                lanes, edge_inputs, indptr, cols, features.edges, *layer.arrays, h, send, spare
            )  # fmt: skip
            send, spare = spare, send
        entry = np.empty(len(features.entries), dtype=np.float32)
        np.matmul(h, entry_row, out=spare)
        spare += entry_row_bias
        _entries(
            lanes, entry_inputs, *entry_ends, features.entries, *entry_head, entry_out, spare, send,
            entry,
        )  # fmt: skip
        entry += entry_out_bias
        hidden = np.matmul(h, smoother_hidden, out=spare)
        hidden += smoother_hidden_bias
        np.maximum(hidden, ZERO, out=hidden)
        return hidden @ smoother_out + smoother_out_bias, entry

    return values


@dataclass(frozen=True)
class _Round:
    """Weights of a round, maps that take the same input side by side.

    ``own`` gives a row's part of its messages and of the update; ``gather`` takes the mean and the
    maximum of its messages; ``following`` makes what the row sends in the next round.
    """

    own: np.ndarray
    own_bias: np.ndarray
    edge: np.ndarray
    gather: np.ndarray
    update: np.ndarray
    update_bias: np.ndarray
    following: np.ndarray

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return tuple(vars(self).values())


def _sizes(weights: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Width and number of rounds, after a check of every shape."""
    if "encode.bias" not in weights:
        raise ValueError("weights must hold 'encode.bias'; are they those of a LevelNetwork?")
    width = len(weights["encode.bias"])
    rounds = len({name.split(".")[1] for name in weights if name.startswith("rounds.")})

    def inputs(name: str) -> int:
        # How many features there are is up to the kind of model.
        array = weights.get(f"{name}.weight")
        return array.shape[1] if array is not None and array.ndim == 2 else 0

    shapes = {
        "encode": (width, inputs("encode")),
        "smoother_hidden": (width, width),
        "smoother_out": (1, width),
        "entry_row": (width, width),
        "entry_root": (width, width),
        "entry_own": (width, inputs("entry_own")),
        "entry_mix": (width, width),
        "entry_out": (1, width),
    }
    for k in range(rounds):
        shapes[f"rounds.{k}.receive"] = (width, width)
        shapes[f"rounds.{k}.send"] = (width, width)
        shapes[f"rounds.{k}.edge"] = (width, inputs("rounds.0.edge"))
        shapes[f"rounds.{k}.gather"] = (width, 3 * width)
        shapes[f"rounds.{k}.update_state"] = (width, width)
    unbiased = ("send", "edge", "entry_root", "entry_own")
    for name, shape in shapes.items():
        wanted: dict[str, tuple[int, ...]] = {f"{name}.weight": shape}
        if not name.endswith(unbiased):
            wanted[f"{name}.bias"] = shape[:1]
        for key, size in wanted.items():
            if key not in weights:
                raise ValueError(f"weights must hold {key!r}.")
            if weights[key].shape != size:
                raise ValueError(f"{key!r} must have shape {size}, got {weights[key].shape}.")
            if not np.isfinite(weights[key]).all():
                raise ValueError(f"{key!r} must be finite.")
    return width, rounds


# Sizes that the compiler must know travel as tuples of None, whose length is part of their type:
# loops of a known length over arrays on the stack become a handful of vector registers.


@intrinsic
def _stack(context, lanes):  # type: ignore[no-untyped-def]
    """Pointer to ``len(lanes)`` float32 in the caller's frame, which no array can overlap."""
    row = ir.ArrayType(ir.FloatType(), len(lanes))

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        with builder.goto_entry_block():
            pointer = builder.alloca(row)
            pointer.align = 64
        return builder.bitcast(pointer, ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(lanes), generate


@numba.njit(**REDUCE, inline="always")
def _normalise(lanes, x, h, i):  # type: ignore[no-untyped-def]
    """Row i of h becomes x with mean 0 and variance 1."""
    width = len(lanes)
    mean, variance = ZERO, ZERO
    for c in range(width):
        mean += x[c]
    mean /= np.float32(width)
    for c in range(width):
        variance += (x[c] - mean) * (x[c] - mean)
    scale = ONE / np.sqrt(variance / np.float32(width) + EPS)
    for c in range(width):
        h[i, c] = (x[c] - mean) * scale


@numba.njit(**OPTIONS)
def _round(  # type: ignore[no-untyped-def]
    lanes, inputs, indptr, cols, edges,
    own, own_bias, edge, gather, update, update_bias, following, h, send, sent,
):  # fmt: skip
    """One round: h is overwritten, ``send`` read by neighbours, ``sent`` for the next round."""
    n, width = len(h), len(lanes)
    receive, total = carray(_stack(lanes), (width,)), carray(_stack(lanes), (width,))
    largest, state = carray(_stack(lanes), (width,)), carray(_stack(lanes), (width,))
    owns = np.empty((BLOCK, 2 * width), dtype=np.float32)
    gathered = np.empty((BLOCK, 2 * width), dtype=np.float32)
    hidden = np.empty((BLOCK, width), dtype=np.float32)
    change = np.empty((BLOCK, width), dtype=np.float32)
    for first in range(0, n, BLOCK):
        last = min(first + BLOCK, n)
        rows = last - first
        np.dot(h[first:last], own, owns[:rows])
        for r in range(rows):
            start, stop = indptr[first + r], indptr[first + r + 1]
            for c in range(width):
                receive[c] = owns[r, c] + own_bias[c]
                total[c] = ZERO
                # Messages are not negative: zero is the maximum of none of them.
                largest[c] = ZERO
            for e in range(start, stop):
                j = cols[e]
                for c in range(width):
                    message = receive[c] + send[j, c]
                    for f in range(len(inputs)):
                        message += edges[e, f] * edge[f, c]
                    message = max(message, ZERO)
                    total[c] += message
                    largest[c] = max(largest[c], message)
            share = ONE / np.float32(max(stop - start, 1))
            for c in range(width):
                gathered[r, c] = total[c] * share
                gathered[r, width + c] = largest[c]
        np.dot(gathered[:rows], gather, hidden[:rows])
        for r in range(rows):
            for c in range(width):
                x = hidden[r, c] + owns[r, width + c] + own_bias[width + c]
                hidden[r, c] = max(x, ZERO)
        np.dot(hidden[:rows], update, change[:rows])
        for r in range(rows):
            for c in range(width):
                state[c] = h[first + r, c] + change[r, c] + update_bias[c]
            _normalise(lanes, state, h, first + r)
        np.dot(h[first:last], following, sent[first:last])


@numba.njit(**REDUCE)
def _entries(lanes, inputs, rows, roots, entries, own, mix, mix_bias, out, row, root, result):  # type: ignore[no-untyped-def]
    """Fill in the output of P0's entries; ``row`` and ``root`` are the parts of their two ends."""
    width = len(lanes)
    hidden = np.empty((BLOCK, width), dtype=np.float32)
    mixed = np.empty((BLOCK, width), dtype=np.float32)
    for first in range(0, len(rows), BLOCK):
        count = min(BLOCK, len(rows) - first)
        for k in range(count):
            i, j = rows[first + k], roots[first + k]
            for c in range(width):
                x = row[i, c] + root[j, c]
                for f in range(len(inputs)):
                    x += entries[first + k, f] * own[f, c]
                hidden[k, c] = max(x, ZERO)
        np.dot(hidden[:count], mix, mixed[:count])
        for k in range(count):
            x = ZERO
            for c in range(width):
                x += out[c] * max(mixed[k, c] + mix_bias[c], ZERO)
            result[first + k] = x
