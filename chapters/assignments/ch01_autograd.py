"""Chapter 01. Autograd: what you write.

First the two helpers that every automatic differentiation needs, then five primitives. A primitive
returns two things: its value, and `vjp`, a function that takes the gradient g of the loss with
respect to the value and returns a tuple with the gradient of each array, in order, each in the
shape of its array. Write plain NumPy; replace `raise NotImplementedError` by your code.

In this file `sum` and `exp` are what you write; NumPy's are `np.sum` and `np.exp`. Where you need
`unbroadcast` in a primitive, write `ops.unbroadcast(g, shape)`: that is the library's, and it is
yours as soon as your functions are swapped in.

    pytest tests/assignments -k ch01          grades this file
"""

import numpy as np  # noqa: F401

from tinyqwen.autograd import ops  # noqa: F401


def unbroadcast(g, shape):
    """Sum g over the axes along which an array of `shape` was broadcast.

    g: the gradient of a broadcast result; shape: a tuple, what the operand had before NumPy
    stretched it. Returns an array of `shape`.

    Broadcasting copies one number to many places. Its blame is the sum of the blame of the copies.

    >>> g = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    >>> unbroadcast(g, (3,))                 # a row, copied to both rows
    array([11., 22., 33.])
    >>> unbroadcast(g, (2, 1))               # a column, copied to three columns
    array([[ 6.],
           [60.]])
    >>> unbroadcast(g, (2, 3))               # nothing was copied
    array([[ 1.,  2.,  3.],
           [10., 20., 30.]])
    """
    raise NotImplementedError


def topological_order(root, parents):
    """Order a directed acyclic graph so that every vertex comes after all of its parents.

    root: the vertex to start from (anything hashable: a string, a number, an object)
    parents: a function, vertex -> its parents (a list or a tuple; empty for a leaf; a parent may
    stand in it twice, as in e * e)
    Returns a list of all vertices that can be reached from root, each once; root is the last.

    Read backwards, it is the order in which blame is handed down: a vertex is asked for its
    parents' share only when everything that used it has reported.

    >>> graph = {"loss": ["b", "a"], "b": ["a"], "a": []}
    >>> topological_order("loss", graph.get)
    ['a', 'b', 'loss']
    """
    raise NotImplementedError


def mul(x, y):
    """x * y, elementwise; the operands broadcast.  d/dx = y, d/dy = x.

    x, y: arrays that broadcast, or one of them a Python number, which is a constant: whatever vjp
    returns for it is thrown away. Returns (out, vjp); vjp(g, in out's shape) -> (dx, dy).

    >>> out, vjp = mul(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 100.0]))
    >>> out
    array([[ 10., 200.],
           [ 30., 400.]])
    >>> dx, dy = vjp(np.array([[1.0, 1.0], [1.0, 2.0]]))
    >>> dx
    array([[ 10., 100.],
           [ 10., 200.]])
    >>> dy                                   # 1·1 + 1·3 and 1·2 + 2·4
    array([ 4., 10.])
    """
    raise NotImplementedError


def exp(x):
    """eˣ, elementwise.  Its own derivative.

    x (...). Returns (out, vjp): out (...); vjp(g (...)) -> (dx (...),).

    >>> out, vjp = exp(np.array([0.0, 1.0]))
    >>> out.round(4)
    array([1.    , 2.7183])
    >>> vjp(np.array([5.0, 10.0]))[0].round(4)
    array([ 5.    , 27.1828])
    """
    raise NotImplementedError


def sum(x, axis=None, keepdims=False):
    """Σ x over axis (None: over all; an int, negative from the end; or a tuple of ints).

    x (...). Returns (out, vjp); vjp(g, in out's shape) -> (dx (...),).
    Every entry enters its sum with slope 1, so each gets a copy of the sum's g.

    >>> out, vjp = sum(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), axis=1)
    >>> out
    array([ 6., 15.])
    >>> vjp(np.array([10.0, 20.0]))[0]
    array([[10., 10., 10.],
           [20., 20., 20.]])
    """
    raise NotImplementedError


def matmul(x, y):
    """x @ y: the product of matrices, with NumPy's rules for more axes and for fewer.

    x (..., n, k), y (..., k, m): the axes before the last two broadcast; out is (..., n, m).
    x (k,) is a row and y (k,) a column, whose extra axis is dropped from the result.
    Returns (out, vjp); vjp(g, in out's shape) -> (dx, dy), in the shapes of x and y.

        dx = g yᵀ        dy = xᵀ g

    >>> out, vjp = matmul(np.array([[1.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 4.0]]))
    >>> out
    array([[3., 8.]])
    >>> dx, dy = vjp(np.array([[1.0, 10.0]]))
    >>> dx
    array([[ 3., 40.]])
    >>> dy
    array([[ 1., 10.],
           [ 2., 20.]])
    """
    raise NotImplementedError


def getitem(x, index):
    """x[index], for every index NumPy knows: numbers, slices, arrays of integers, boolean masks.

    With x a table (vocabulary, dim) and index an array of ids, this is an embedding look-up.
    Returns (out, vjp): out = x[index]; vjp(g, in out's shape) -> (dx, in x's shape).

    What was not picked gets 0. What was picked several times gets the sum (scatter-add).

    >>> table = np.array([[0.0, 0.1], [1.0, 1.1], [2.0, 2.1]])
    >>> out, vjp = getitem(table, np.array([2, 0, 2]))
    >>> out
    array([[2. , 2.1],
           [0. , 0.1],
           [2. , 2.1]])
    >>> vjp(np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]))[0]
    array([[ 3.,  4.],
           [ 0.,  0.],
           [11., 22.]])
    """
    raise NotImplementedError


def cumsum(x, axis=-1):
    """Running sums along an axis: out_i = x_0 + … + x_i.

    For honor: no hints, no points, a star on the scoreboard.

    x (...), axis an int, negative from the end. Returns (out, vjp), out in x's shape;
    vjp(g (...)) -> (dx (...),). Which of the sums has x_i in it?

    >>> out, vjp = cumsum(np.array([[1.0, 2.0, 3.0]]))
    >>> out
    array([[1., 3., 6.]])
    >>> vjp(np.array([[1.0, 10.0, 100.0]]))[0]
    array([[111., 110., 100.]])
    """
    raise NotImplementedError
