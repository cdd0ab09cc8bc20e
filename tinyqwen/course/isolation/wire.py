"""What grader and worker say to each other: a JSON header and the raw bytes of arrays.

    message = header length, payload length (two uint32) · header · payload
    header  = [kind, number, value, dropped]      kind: "call", "returned", "raised"

Values are None, bool, int, float and str as JSON has them, and lists [tag, …] for the rest: arrays
(["a", dtype, shape, strided]; the numbers are in the payload), NumPy scalars, complex numbers,
bytes, lists, tuples, dicts, sets, slices, ranges and dtypes. A function, or an object of any other
kind, stays where it is: a number crosses ("x"), the other side holds something that can be called
or given back ("r"), and tells when it holds it no longer (dropped).

Both sides run the same `Peer`: whoever calls serves the other's calls until the answer comes. All
lengths, depths, shapes and dtypes are checked and bounded here, for the grader reads what a hostile
program may have written. This file needs NumPy alone; in the worker there is nothing else.
"""

import json
import math
import struct
from functools import lru_cache

import numpy as np

from . import received
from .copies import apart, failure_of, is_plain

MAX_HEADER, MAX_PAYLOAD, MAX_DEPTH = 4 << 20, 64 << 20, 40
LENGTHS = struct.Struct("<II")
DTYPES = {
    np.dtype(name).name: np.dtype(name)
    for name in ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    + ["float16", "float32", "float64", "complex64", "complex128"]
}
TYPES = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes)}
TYPES |= {f"np.{name}": dtype.type for name, dtype in DTYPES.items()}
TYPE_NAMES = {kind: name for name, kind in TYPES.items()}
METHODS = ("__getitem__", "get")  # of a dict or list: cross with it, so that calls cost nothing


class WireError(Exception):
    """A value that cannot cross, or a message that is none."""


class Raised(Exception):
    """A call ended in an exception, which `failure` tells: see `failure_of`."""

    def __init__(self, failure):
        super().__init__(failure)
        self.failure = failure


class Foreign:
    """Something that lives on the other side: it can be given back, and called if it is callable.

    Its type's name is what the other side calls it.
    """

    def __init__(self, peer, number):
        self._peer, self._number = peer, number

    def __del__(self):
        self._peer.dropped.append(self._number)

    def __repr__(self):
        return f"<{type(self).__name__}>"


class ForeignFunction(Foreign):
    """A function of the other side's."""

    def __call__(self, *args, **kwargs):
        return self._peer.call(self._number, args, kwargs)


class Peer:
    """One end of the conversation.

    read(n), write(data): exactly n bytes, or all of data, or an exception
    """

    function = ForeignFunction  # what the other side's functions become

    def __init__(self, read, write):
        self._read, self._write = read, write
        self.exported, self._exports, self._calls = {}, 0, 0
        self.dropped = []

    def export(self, thing):
        """A number by which the other side can call or return `thing`, until it drops it."""
        self._exports += 1
        self.exported[self._exports] = thing
        return self._exports

    def call(self, target, args, kwargs, *more):
        """Call function `target` of the other side; serve its calls until it answers."""
        self._calls += 1
        number = self._calls
        self.send("call", number, (target, args, kwargs, *more))
        while True:
            kind, answered, value = self.receive()
            if kind == "call":
                self.answer(answered, value)
            elif answered != number:
                raise WireError("an answer to another question")
            elif kind == "returned":
                return value
            else:
                raise Raised(value)

    def answer(self, number, request):
        """Run what the other side asks for and send what came of it."""
        try:
            target, args, kwargs, *more = request
            function = self.exported[target]
        except (TypeError, ValueError, KeyError):
            raise WireError("a call of nothing") from None
        kind, value = self.run(function, args, kwargs, *more)
        try:
            self.send(kind, number, value)
        except WireError as error:
            failure = {"kind": "ValueError", "message": f"the result cannot be handed in: {error}"}
            self.send("raised", number, failure)

    def run(self, function, args, kwargs):
        """("returned", value) or ("raised", failure) of a call that the other side asks for."""
        try:
            return "returned", function(*args, **kwargs)
        except Exception as error:
            return "raised", failure_of(error, None)

    def send(self, kind, number, value):
        buffers, dropped = [], self.dropped
        self.dropped = []
        tree = self._encode(value, buffers, 0)
        try:
            header = json.dumps([kind, number, tree, dropped]).encode()
        except ValueError as error:  # an integer of thousands of digits
            raise WireError(str(error)) from None
        size = sum(map(len, buffers))
        if len(header) > MAX_HEADER or size > MAX_PAYLOAD:
            raise WireError(f"{(len(header) + size) / 2**20:.0f} MB are too much")
        self._write(b"".join((LENGTHS.pack(len(header), size), header, *buffers)))

    def receive(self):
        header_size, size = LENGTHS.unpack(self._read(LENGTHS.size))
        if header_size > MAX_HEADER or size > MAX_PAYLOAD:
            raise WireError("a message that is too long")
        header, payload = self._read(header_size), memoryview(self._read(size))
        try:
            kind, number, tree, dropped = json.loads(header)
            for gone in dropped:
                self.exported.pop(gone, None)
        except (ValueError, TypeError, RecursionError):
            raise WireError("a message that is none") from None
        if kind not in ("call", "returned", "raised"):
            raise WireError("a message of no kind")
        decoder = _Decoder(self, payload)
        return kind, number, decoder.decode(tree, 0)

    # -----------------------------------------------------------------------------------------

    def _encode(self, value, buffers, depth):
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is np.ndarray:
            return self._encode_array(value, buffers)
        if depth > MAX_DEPTH:
            raise WireError("lists in lists in lists without end")

        def inner(items):
            return [self._encode(item, buffers, depth + 1) for item in items]

        if isinstance(value, Foreign):
            return ["r", value._number]
        if isinstance(value, np.ndarray):
            return self._encode_array(np.asarray(value), buffers)
        if isinstance(value, np.generic) and value.dtype.name in DTYPES:
            buffers.append(value.tobytes())
            return ["n", value.dtype.name]
        for tag, plain in (("t", tuple), ("l", list), ("s", set), ("z", frozenset)):
            if isinstance(value, plain):
                return [tag, *inner(value)]
        if isinstance(value, dict):
            return ["d", inner(value.keys()), inner(value.values())]
        for plain in (bool, int, float, str):
            if isinstance(value, plain):
                return plain(value)
        if isinstance(value, (bytes, bytearray)):
            buffers.append(bytes(value))
            return ["b", len(value)]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is slice:
            return ["slice", *inner((value.start, value.stop, value.step))]
        if kind is range:
            return ["range", value.start, value.stop, value.step]
        if value is Ellipsis:
            return ["..."]
        if isinstance(value, np.dtype) and value.name in DTYPES:
            return ["dtype", value.name]
        if isinstance(value, type) and value in TYPE_NAMES:
            return ["type", TYPE_NAMES[value]]
        owner, name = getattr(value, "__self__", None), getattr(value, "__name__", None)
        if type(owner) in (dict, list) and name in METHODS:
            return ["m", self._encode(owner, buffers, depth + 1), name]
        name = name if callable(value) and isinstance(name, str) else kind.__name__
        return ["x", self.export(value), callable(value), str(name)[:60]]

    def _encode_array(self, array, buffers):
        if array.dtype.kind == "O":  # the shape will do: an array of numbers was expected
            return ["o", list(array.shape)]
        if array.dtype.char in "gG":
            array = array.astype(np.float64 if array.dtype.char == "g" else np.complex128)
        name = array.dtype.name  # NumPy puts it together anew each time
        if name not in DTYPES:
            return ["x", self.export(array), False, f"array of {name}"[:60]]
        buffers.append(array.astype(DTYPES[name], order="C", copy=False).tobytes())
        return ["a", name, list(array.shape), not is_plain(array)]


class _Decoder:
    """Values from a message's header and payload.  WireError for whatever is not well-formed."""

    def __init__(self, peer, payload):
        self._peer, self._payload, self._at = peer, payload, 0

    def decode(self, node, depth):
        if not isinstance(node, list):
            if isinstance(node, dict):
                raise WireError("not a value")
            return node
        try:
            return self._tagged(node[0], node[1:], depth + 1)
        except (IndexError, TypeError, ValueError, KeyError, OverflowError) as error:
            raise WireError(f"not a value: {error}") from None

    def _tagged(self, tag, rest, depth):
        if depth > MAX_DEPTH + 1:
            raise WireError("lists in lists in lists without end")
        match tag:
            case "a":
                return self._array(*rest)
            case "n":
                return self._array(rest[0], [], False)[()]
            case "t":
                return tuple([self.decode(item, depth) for item in rest])
            case "l":
                return [self.decode(item, depth) for item in rest]
            case "s" | "z":
                made = set()
                for item in rest:  # one by one: an alarm can end it where all hashes are equal
                    made.add(self.decode(item, depth))
                return made if tag == "s" else frozenset(made)
            case "d":
                keys, values = rest
                made = {}
                for key, value in zip(keys, values, strict=True):
                    made[self.decode(key, depth)] = self.decode(value, depth)
                return made
            case "b":
                return bytes(self._take(_natural(rest[0])))
            case "c":
                return complex(*map(float, rest))
            case "slice":
                return slice(*(self.decode(part, depth) for part in rest))
            case "range":  # whoever makes a list of it pays for each number
                made = range(*rest)
                _shape([len(made)], 8)
                return made
            case "...":
                return Ellipsis
            case "dtype":
                return DTYPES[rest[0]]
            case "type":
                return TYPES[rest[0]]
            case "o":
                return np.empty(_shape(rest[0], 8), object)
            case "m":
                owner, name = self.decode(rest[0], depth), rest[1]
                if type(owner) not in (dict, list) or name not in METHODS:
                    raise WireError("no method that may cross")
                return getattr(owner, name)
            case "x":
                number, is_function, name = rest
                base = self._peer.function if is_function else Foreign
                return _foreign(received.line(name, 60), base)(self._peer, _natural(number))
            case "r":
                return self._peer.exported[_natural(rest[0])]
        raise WireError("no such kind of value")

    def _array(self, name, shape, strided):
        dtype = DTYPES[name]
        shape = _shape(shape, dtype.itemsize)
        data = self._take(math.prod(shape) * dtype.itemsize)
        if dtype.kind == "b":  # any other byte would be neither True nor False
            array = np.frombuffer(data, np.uint8).reshape(shape).astype(bool)
        else:
            array = np.frombuffer(data, dtype).reshape(shape)
        return apart(array) if strided else array.copy()

    def _take(self, size):
        start, self._at = self._at, self._at + size
        if self._at > len(self._payload):
            raise WireError("a payload that is too short")
        return self._payload[start : self._at]


@lru_cache(256)
def _foreign(name, base):
    return type(name, (base,), {"__name__": name})


def _natural(number):
    if type(number) is not int or number < 0:
        raise WireError("not a count")
    return number


def _shape(shape, itemsize):
    """A shape that is no trap: (0, 10**12) has no entries, and its sum over axis 0 has too many."""
    shape = tuple(map(_natural, shape))
    if len(shape) > 32 or math.prod(max(n, 1) for n in shape) * itemsize > MAX_PAYLOAD:
        raise WireError("an array that is too large")
    return shape
