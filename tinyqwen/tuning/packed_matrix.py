"""Matrices that stay in few bits and are multiplied as they are, a piece at a time.

A piece is unpacked into a buffer that stays in the caches, multiplied, and forgotten. For
one vector or a few, the codes are multiplied as integers and every group's sum gets its scale and
zero afterwards:

    y_o = Σ_g s_go Σ_{i in g} (q_io - z_go) x_i
        = Σ_g s_go (Σ_{i in g} q_io x_i  -  z_go Σ_{i in g} x_i)

which is one number in a group instead of all. For many vectors the piece is made dense first.
"""

import math
import threading

import numpy as np

from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.linear import check_ids, column_sums
from tinyqwen.functional.matvec import FEW, LARGE, alone, matvec
from tinyqwen.tuning.packing import pack_bytes, run_sizes, unpack_bytes

PIECE = 1 << 19  # weights unpacked at a time; with fewer, the calls take longer than caches save
WIDTH = 128  # outputs of a block, or as many of them as divide a layer's evenly

_buffers = threading.local()


def _buffer(name, shape, dtype):
    """A piece of memory that this thread uses again and again: fresh pages cost a third more."""
    size = math.prod(shape)
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


def packed_product(x, sums, codes, scales, zeros):
    """y = x Wᵀ for a W in few bits: codes are multiplied, scale and zero come once a group.

    x (groups, T, group_size): inputs, cut into groups; sums (groups, T): their sums; codes
    (..., groups, group_size, out); scales, zeros (..., groups, out). With W_oi = s_go (q_io - z_go)
    for the inputs i of a group g,

        y_to = Σ_g s_go (Σ_{i in g} x_ti q_io - z_go Σ_{i in g} x_ti)

    Returns (..., T, out). Sums are given, for they are the same for all outputs, and x may be
    divided by what the codes are multiplied with.

    >>> x, codes = np.array([[[1.0, 2.0]]]), np.array([[[3.0], [1.0]]])
    >>> packed_product(x, x.sum(2), codes, np.array([[0.5]]), np.array([[2]]))
    array([[-0.5]])
    """
    products = x @ codes  # (..., groups, T, out)
    products -= sums[..., None] * zeros[..., None, :]
    products *= scales[..., None, :]
    return np.add.reduce(products, axis=-3)


class _Packed:
    """What both kinds share: each multiplies, and gives pieces of its rows."""

    dtype = np.dtype(np.float32)

    def __len__(self):
        return self.shape[0]


class GroupedMatrix(_Packed):
    """A matrix (out, in) in 2, 4 or 8 bits, with a scale and a zero a group of inputs.

    codes (blocks, groups, group_size · bits / 8, width) uint8: blocks of `width` neighboring
    outputs, of which each lies in memory as one stream, in bytes as `pack_bytes` makes them;
    scales, zeros (blocks, groups, width); order (in,): the inputs in the order of the codes, or
    None where it is theirs.
    """

    def __init__(self, codes, scales, zeros, bits, order=None):
        self.codes, self.bits, self.order = codes, bits, order
        # Zeros are integers, kept as float32: NumPy casts slowly, and they are needed at each step.
        self._scales, self._zeros = (np.asarray(a, np.float32) for a in (scales, zeros))
        blocks, groups, rows, self.width = codes.shape
        self.group_size = rows * 8 // bits
        self.shape = (blocks * self.width, groups * self.group_size)

    @classmethod
    def from_codes(cls, codes, scales, zeros, bits, g_idx=None):
        """From codes (in, out) as GPTQ has them; g_idx says which group an input belongs to.

        Raises ValueError where the groups are not equally large.
        """
        (n, outputs), groups = codes.shape, len(scales)
        order = None
        if n % groups:
            raise ValueError(f"{n} inputs cannot be parted into {groups} equal groups")
        size = n // groups
        if g_idx is not None and not np.array_equal(g_idx, np.arange(n) // size):
            order = np.argsort(g_idx, kind="stable")
            if not np.array_equal(g_idx[order], np.arange(n) // size):
                raise ValueError(f"g_idx does not part {n} inputs into groups of {size}")
            codes = codes[order]
        width = math.gcd(outputs, WIDTH)

        def in_blocks(array):  # (..., out) -> (blocks, ..., width)
            parts = array.reshape(*array.shape[:-1], -1, width)
            return np.ascontiguousarray(np.moveaxis(parts, -2, 0))

        codes = in_blocks(pack_bytes(codes, bits, size))
        return cls(codes, in_blocks(scales), in_blocks(zeros), bits, order)

    @classmethod
    def of_shape(cls, shape, bits, group_size, make):
        """One whose arrays are made by make(shape, dtype): without memory, or random."""
        outputs, inputs = shape
        width = math.gcd(outputs, WIDTH)
        parts = outputs // width, inputs // group_size
        codes = make((*parts, group_size * bits // 8, width), np.uint8)
        scales, zeros = (make((*parts, width), np.float32) for _ in range(2))
        return cls(codes, scales, zeros, bits)

    @property
    def scales(self):
        """(groups, out) float32, as GPTQ has them."""
        return self._scales.transpose(1, 0, 2).reshape(-1, len(self))

    @property
    def zeros(self):
        """(groups, out) uint16, as GPTQ has them."""
        return self._zeros.transpose(1, 0, 2).reshape(-1, len(self)).astype(np.uint16)

    @property
    def nbytes(self):
        own = (self.codes, self._scales, self._zeros)
        return sum(a.nbytes for a in own) + (0 if self.order is None else self.order.nbytes)

    def __getitem__(self, piece):
        """Some of the rows, from a block's first to a block's last; ValueError for parts of one."""
        if piece.start % self.width or piece.stop % self.width:
            raise ValueError(f"rows are parted at multiples of {self.width}, not at {piece}")
        blocks = slice(piece.start // self.width, piece.stop // self.width)
        parts = (a[blocks] for a in (self.codes, self._scales, self._zeros))
        return GroupedMatrix(*parts, self.bits, self.order)

    def to_codes(self):
        """codes (in, out) uint8 and g_idx (in,), as GPTQ has them."""
        shape = (*self.codes.shape[:2], self.group_size, self.width)
        codes, scratch = np.empty((2, *shape), np.uint8)
        unpack_bytes(self.codes, self.bits, codes, scratch)
        codes //= run_sizes(self.bits, self.group_size).astype(np.uint8)[:, None]
        codes = codes.transpose(1, 2, 0, 3).reshape(self.shape[::-1])
        g_idx = np.arange(self.shape[1]) // self.group_size
        if self.order is not None:
            back = np.argsort(self.order)
            codes, g_idx = codes[back], g_idx[back]
        return codes, g_idx.astype(np.int32)

    def _pieces(self):
        """Blocks that are unpacked together."""
        step = max(1, PIECE // (self.width * self.shape[1]))
        return (slice(a, a + step) for a in range(0, len(self.codes), step))

    def _unpacked(self, blocks, dtype):
        """The codes of some blocks, not shifted, (blocks, groups, group_size, width)."""
        codes = self.codes[blocks]
        shape = (*codes.shape[:2], self.group_size, self.width)
        out, scratch = _buffer("dense", shape, dtype), _buffer("codes", shape, np.uint8)
        return unpack_bytes(codes, self.bits, out, scratch)

    def _dense(self, dtype):
        """(the outputs, their weights (in, n) with inputs in the codes' order) piece by piece."""
        sizes = run_sizes(self.bits, self.group_size)[:, None]
        for blocks in self._pieces():
            dense = self._unpacked(blocks, dtype)
            dense /= sizes
            dense -= self._zeros[blocks, :, None]
            dense *= self._scales[blocks, :, None]
            outputs = slice(blocks.start * self.width, blocks.stop * self.width)
            yield outputs, dense.reshape(len(dense), -1, self.width)

    def dense(self):
        """All of it, unpacked, (out, in) float32."""
        out = np.empty(self.shape, np.float32)
        for outputs, dense in self._dense(np.float32):
            out[outputs] = dense.swapaxes(1, 2).reshape(-1, self.shape[1])
        return out if self.order is None else out[:, np.argsort(self.order)]

    def product(self, rows):
        """rows (T, in) -> (T, out)."""
        rows = rows if self.order is None else rows[:, self.order]
        out = np.empty((len(rows), len(self)), rows.dtype)
        for outputs, dense in self._dense(rows.dtype):
            out[:, outputs].reshape(len(rows), -1, self.width)[...] = (rows @ dense).swapaxes(0, 1)
        return out

    def transposed_product(self, g):
        """g (T, out) -> g W (T, in)."""
        total = np.zeros((len(g), self.shape[1]), g.dtype)
        for outputs, dense in self._dense(g.dtype):
            for part, block in zip(np.split(g[:, outputs], len(dense), axis=1), dense):
                total += part @ block.T
        return total if self.order is None else total[:, np.argsort(self.order)]

    def multiply(self, x, out):
        """out (T, n) = x Wᵀ for a few x (T, in)."""
        x = x if self.order is None else x[:, self.order]
        x = x.reshape(len(x), -1, self.group_size).swapaxes(0, 1)  # (G, T, size)
        sums = np.add.reduce(x, axis=2)  # (G, T)
        x = x / run_sizes(self.bits, self.group_size).astype(x.dtype, copy=False)
        out = out.reshape(len(out), -1, self.width)
        for blocks in self._pieces():
            codes = self._unpacked(blocks, x.dtype)
            y = packed_product(x, sums, codes, self._scales[blocks], self._zeros[blocks])
            out[:, blocks] = y.swapaxes(0, 1)  # (n, T, width)


class Int8Table(_Packed):
    """A matrix (out, in) of int8 with a scale a row, as embeddings and output layers are kept.

    codes (out, in) int8, scales (out,) float32: W_oi = s_o q_oi, s_o = max_i |W_oi| / 127.
    """

    bits, width = 8, 1

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

    def dense(self):
        """All of it, unpacked, (out, in) float32."""
        return self.codes * self.scales[:, None]

    def _dense(self, piece, dtype):
        """The rows in `piece`, unpacked, (w, in)."""
        out = _buffer("dense", self.codes[piece].shape, dtype)
        return np.multiply(self.codes[piece], self.scales[piece, None], out=out)

    def _pieces(self):
        """Rows that are unpacked together."""
        step = max(1, PIECE // self.shape[1])
        return (slice(a, a + step) for a in range(0, len(self), step))

    def product(self, rows):
        """rows (T, in) -> (T, out)."""
        out = np.empty((len(rows), len(self)), rows.dtype)
        for piece in self._pieces():
            np.matmul(rows, self._dense(piece, rows.dtype).T, out=out[:, piece])
        return out

    def transposed_product(self, g):
        """g (T, out) -> g W (T, in)."""
        total = np.zeros((len(g), self.shape[1]), g.dtype)
        for piece in self._pieces():
            total += g[:, piece] @ self._dense(piece, g.dtype)
        return total

    def multiply(self, x, out):
        """out (T, n) = x Wᵀ for a few x (T, in)."""
        for piece in self._pieces():
            unpacked = _buffer("dense", self.codes[piece].shape, x.dtype)
            np.copyto(unpacked, self.codes[piece], casting="unsafe")
            for vector, products in zip(x, out):
                np.dot(unpacked, vector, out=products[piece])
        out *= self.scales
