"""Matrices that stay in few bits and are multiplied as they are, a piece at a time.

A piece is unpacked into a buffer that stays in a second-level cache, multiplied, and forgotten. For
one vector or a few, the codes are multiplied as integers and every group's sum gets its scale and
zero afterwards:

    y_o = Σ_g s_go Σ_{i in g} (q_io - z_go) x_i
        = Σ_g s_go (Σ_{i in g} q_io x_i) - s_go z_go Σ_{i in g} x_i

which is one number in a group instead of all. For many vectors the piece is made dense first.
"""

import threading

import numpy as np

from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.linear import check_ids, column_sums
from tinyqwen.functional.matvec import FEW, LARGE, alone, matvec
from tinyqwen.tuning.packing import pack_bytes, unpack_bytes

PIECE = 1 << 18  # weights unpacked at a time
WIDTH = 1024  # outputs of a piece
ROWS = 64  # of an Int8Table, unpacked at a time

_buffers = threading.local()


def _buffer(name, shape, dtype):
    """A piece of memory that this thread uses again and again: fresh pages cost a third more."""
    size = int(np.prod(shape))
    whole = getattr(_buffers, name, None)
    if whole is None or whole.size < size or whole.dtype != dtype:
        whole = np.empty(max(size, PIECE), dtype)
        setattr(_buffers, name, whole)
    return whole[:size].reshape(shape)


@primitive
def packed_linear(x, weight, bias=None):
    """y = x Wᵀ + b for a W in few bits, which is frozen: x and b get gradients.

    x (..., in_features); weight: a GroupedMatrix or an Int8Table (out_features, in_features);
    bias (out_features,) or None. dx = g W, db = Σ_rows g.
    """
    rows = x.reshape(-1, x.shape[-1])
    if rows.shape[1] != weight.shape[1]:
        raise ValueError(
            f"packed_linear: x has {rows.shape[1]} features in its last axis, "
            f"weight {weight.shape} takes {weight.shape[1]}"
        )
    if len(rows) > FEW:
        out = weight.product(rows)
    elif 4 * weight.shape[0] * weight.shape[1] >= LARGE:  # as much work as for that many floats
        out = matvec(weight, rows)
    else:
        out = alone(weight, rows)
    if bias is not None:
        out += bias

    def vjp(g):
        g = g.reshape(-1, g.shape[-1])
        dx = weight.transposed_product(g).reshape(x.shape)
        return (dx, None) if bias is None else (dx, None, column_sums(g))

    return out.reshape(x.shape[:-1] + out.shape[1:]), vjp


@primitive
def packed_embedding(ids, weight):
    """W[ids] of an Int8Table, which is frozen.  ids (...) integers -> (..., in)."""
    check_ids(ids, len(weight))
    return weight.rows(np.asarray(ids)), lambda g: ()


class _Packed:
    """What the kinds share; each has `shape`, `nbytes`, `dense`, `multiply`, and can be sliced."""

    dtype = np.dtype(np.float32)

    def __len__(self):
        return self.shape[0]

    def _pieces(self):
        step = max(1, PIECE // self.shape[1])
        return (slice(a, min(a + step, len(self))) for a in range(0, len(self), step))

    def product(self, rows):
        """rows (T, in) -> (T, out)."""
        out = np.empty((len(rows), len(self)), rows.dtype)
        for piece in self._pieces():
            np.matmul(rows, self.dense(piece, rows.dtype).T, out=out[:, piece])
        return out

    def transposed_product(self, g):
        """g (T, out) -> g W (T, in)."""
        total = np.zeros((len(g), self.shape[1]), g.dtype)
        for piece in self._pieces():
            total += g[:, piece] @ self.dense(piece, g.dtype)
        return total


class GroupedMatrix(_Packed):
    """A matrix (out, in) in 2, 4 or 8 bits, with a scale and a zero a group of inputs.

    codes (groups, group_size · bits / 8, out) uint8, as `pack_bytes` makes them; scales, zeros
    (groups, out); order (in,): the inputs in the order of the codes, or None where it is theirs.
    """

    def __init__(self, codes, scales, zeros, bits, order=None):
        self.codes, self.bits, self.order = codes, bits, order
        self.scales = scales.astype(np.float32)
        self.zeros = zeros.astype(np.uint16)
        self.group_size = codes.shape[1] * 8 // bits
        self.shape = (codes.shape[2], codes.shape[0] * self.group_size)

    @classmethod
    def from_codes(cls, codes, scales, zeros, bits, g_idx=None):
        """From codes (in, out) as GPTQ has them; g_idx says which group an input belongs to.

        Raises ValueError where the groups are not equally large.
        """
        n, groups = len(codes), len(scales)
        order = None
        if n % groups:
            raise ValueError(f"{n} inputs cannot be parted into {groups} equal groups")
        size = n // groups
        if g_idx is not None and not np.array_equal(g_idx, np.arange(n) // size):
            order = np.argsort(g_idx, kind="stable")
            if not np.array_equal(g_idx[order], np.arange(n) // size):
                raise ValueError(f"g_idx does not part {n} inputs into groups of {size}")
            codes = codes[order]
        return cls(pack_bytes(codes, bits, size), scales, zeros, bits, order)

    @property
    def nbytes(self):
        own = (self.codes, self.scales, self.zeros)
        return sum(a.nbytes for a in own) + (0 if self.order is None else self.order.nbytes)

    def __getitem__(self, piece):
        part = object.__new__(GroupedMatrix)
        part.__dict__ = {**self.__dict__, "codes": self.codes[:, :, piece]}
        part.scales, part.zeros = self.scales[:, piece], self.zeros[:, piece]
        part.shape = (part.codes.shape[2], self.shape[1])
        return part

    def to_codes(self):
        """codes (in, out) uint8 and g_idx (in,), as GPTQ has them."""
        codes = unpack_bytes(self.codes, self.bits).reshape(self.shape[::-1])
        g_idx = np.arange(self.shape[1]) // self.group_size
        if self.order is not None:
            back = np.argsort(self.order)
            codes, g_idx = codes[back], g_idx[back]
        return codes, g_idx.astype(np.int32)

    def dense(self, piece, dtype=np.float32):
        """The rows in `piece`, unpacked, (w, in)."""
        codes = self.codes[:, :, piece]
        groups, rows, width = codes.shape
        out = _buffer("dense", (groups, rows * 8 // self.bits, width), dtype)
        unpack_bytes(codes, self.bits, out, _buffer("codes", codes.shape, np.uint8))
        out -= self.zeros[:, None, piece]
        out *= self.scales[:, None, piece]
        out = out.reshape(-1, width)
        return (out if self.order is None else out[np.argsort(self.order)]).T

    def multiply(self, x, out):
        """out (T, n) = x Wᵀ for a few x (T, in)."""
        x = x if self.order is None else x[:, self.order]
        groups, _, n = self.codes.shape
        x = np.ascontiguousarray(x.reshape(len(x), groups, -1).transpose(1, 0, 2))  # (G, T, size)
        sums = x.sum(2)  # (G, T)
        width = min(n, WIDTH)
        some = max(1, PIECE // (self.group_size * width))
        for a in range(0, n, width):
            columns = slice(a, min(a + width, n))
            total = -(sums.T @ (self.scales[:, columns] * self.zeros[:, columns]))
            for first in range(0, groups, some):
                part = slice(first, first + some)
                codes = self.codes[part, :, columns]
                shape = (len(codes), self.group_size, codes.shape[2])
                unpacked = _buffer("dense", shape, x.dtype)
                unpack_bytes(codes, self.bits, unpacked, _buffer("codes", codes.shape, np.uint8))
                products = np.matmul(x[part], unpacked)  # (g, T, width)
                products *= self.scales[part, None, columns]
                total += products.sum(0)
            out[:, columns] = total


class Int8Table(_Packed):
    """A matrix (out, in) of int8 with a scale a row, as embeddings and output layers are kept.

    codes (out, in) int8, scales (out,) float32: W_oi = s_o q_oi, s_o = max_i |W_oi| / 127.
    """

    bits = 8

    def __init__(self, codes, scales):
        self.codes, self.scales = codes, scales

    shape = property(lambda self: self.codes.shape)
    nbytes = property(lambda self: self.codes.nbytes + self.scales.nbytes)

    @classmethod
    def from_dense(cls, weight):
        """Round every row to the nearest 127ths of its largest entry."""
        table = cls(np.empty(weight.shape, np.int8), np.empty(len(weight), np.float32))
        table.fill(slice(None), weight)
        return table

    def fill(self, piece, weight):
        """Set some rows."""
        largest = np.abs(weight).max(1, initial=0)
        scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        self.scales[piece] = scales
        self.codes[piece] = np.rint(weight / scales[:, None])

    def __getitem__(self, piece):
        return Int8Table(self.codes[piece], self.scales[piece])

    def rows(self, ids):
        """The rows `ids`, of any shape (...) -> (..., in) float32."""
        return self.codes[ids] * self.scales[ids][..., None]

    def dense(self, piece, dtype=np.float32):
        """The rows in `piece`, unpacked, (w, in)."""
        out = _buffer("dense", self.codes[piece].shape, dtype)
        return np.multiply(self.codes[piece], self.scales[piece, None], out=out)

    def multiply(self, x, out):
        """out (T, n) = x Wᵀ for a few x (T, in)."""
        for a in range(0, len(self), ROWS):
            codes = self.codes[a : a + ROWS]
            unpacked = _buffer("dense", codes.shape, x.dtype)
            np.copyto(unpacked, codes, casting="unsafe")
            np.vecdot(unpacked[:, None], x, out=out[:, a : a + ROWS].T)
        out *= self.scales
