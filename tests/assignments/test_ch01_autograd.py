"""Graders of chapter 01: unbroadcast, topological_order, mul, exp, sum, matmul, getitem."""

from collections.abc import Hashable

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_example,
    check_manners,
    check_value,
    check_vjp,
    likely,
    normal,
    points,
    reference,
    rng,
)
from tinyqwen.course.calls import StudentError

TITLE = "Autograd"
ASSIGNED = {
    "unbroadcast": "autograd.ops",
    "topological_order": "autograd.tape",
    "mul": "autograd.ops",
    "exp": "autograd.ops",
    "sum": "autograd.ops",
    "matmul": "autograd.ops",
    "getitem": "autograd.ops",
    "cumsum": "autograd.reductions",
}
STRETCH = ("cumsum",)

ELEMENTWISE = [(2, 5), (1,), (3, 0, 4), (), (3, 1, 7)]


# ---------------------------------------------------------------------------------------------
# unbroadcast, 5 points
# ---------------------------------------------------------------------------------------------


@points(1, "unbroadcast: the example")
def test_unbroadcast_example(submission):
    """The example in the docstring: a row, a column, and nothing to do."""
    check_example(submission.unbroadcast)


@points(1, "unbroadcast: axes added on the left")
def test_unbroadcast_added(submission):
    """A vector added to a matrix, or a single number to anything: sum over the new axes."""
    check_value(
        submission.unbroadcast,
        [
            case(normal(4, 3), (3,)),
            case(normal(3, 3), (3,)),
            case(normal(2, 5, 3), (3,)),
            case(normal(2, 5, 3), (5, 3)),
            case(normal(2, 3), ()),
            case(normal(0, 3), (3,)),
        ],
        mistakes={
            "the last axes are summed; the axes added by broadcasting are the first": (
                lambda g, shape: g.sum(tuple(range(len(shape), g.ndim)))
            ),
            "one of the copies is taken; their sum is wanted": lambda g, shape: g.reshape(
                -1, *shape
            )[0],
            "this is the mean over the copies; their sum is wanted": lambda g, shape: g.reshape(
                -1, *shape
            ).mean(0),
            "only one added axis is summed away, but there can be several": lambda g, shape: g.sum(
                0
            ),
        },
    )


@points(2, "unbroadcast: stretched axes")
def test_unbroadcast_stretched(submission):
    """Axes of length 1 that were stretched are summed and kept, alone and with added ones."""

    def stretched_only(g, shape):
        axes = tuple(i for i, n in enumerate(shape) if n == 1)
        return g.sum(axes, keepdims=True)

    check_value(
        submission.unbroadcast,
        [
            case(normal(4, 3), (4, 1)),
            case(normal(4, 3), (1, 3)),
            case(normal(2, 5, 3), (1, 5, 1)),
            case(normal(2, 5, 3), (2, 1, 3)),
            case(normal(6, 2, 5, 3), (2, 1, 3)),
            case(normal(6, 2, 5, 3), (1, 1)),
            case(normal(4, 1), (4, 1)),
            case(normal(2, 1, 3), (1, 3), label="an axis of length 1 that nobody stretched"),
            case(normal(2, 0, 3), (2, 1, 3)),
        ],
        mistakes={
            "only axes of length 1 are summed; axes added on the left must go too": stretched_only,
            "one of the copies is taken; their sum is wanted": lambda g, shape: g[
                tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)
            ],
            "the largest copy is taken; their sum is wanted": lambda g, shape: g.max(
                tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True
            ),
            "everything is summed to one number; only copies are": lambda g, shape: np.full(
                shape, g.sum()
            ),
        },
    )


@points(1, "unbroadcast: fit for the model")
def test_unbroadcast_manners(submission):
    """float32 in, float32 out; g is not changed; views work."""
    cases = [case(normal(2, 5, 3), shape) for shape in ((3,), (5, 1), (2, 1, 3), (2, 5, 3))]
    check_manners(submission.unbroadcast, cases)


# ---------------------------------------------------------------------------------------------
# topological_order, 6 points
# ---------------------------------------------------------------------------------------------

KEPT = "something is kept from one call to the next: a default argument that is a set or list?"
POST_ORDER = "a vertex may be listed only when all of its parents are: depth first, post-order"


def random_graph(size):
    """Edges go from later to earlier vertices; the names tell nothing about the order."""
    names = [f"v{n}" for n in rng().permutation(size)]
    graph = {names[0]: []}
    for n in range(1, size):
        count = int(rng().integers(0, 4))
        graph[names[n]] = [names[i] for i in rng().integers(0, n, count)]
    return names[-1], graph


class Fresh(dict):
    """A graph whose vertices are made anew each time that somebody asks for parents."""

    def __getitem__(self, vertex):
        return ["".join(list(parent)) for parent in super().__getitem__(vertex)]


def reachable(root, graph):
    seen, stack = {root}, [root]
    while stack:
        new = [parent for parent in graph[stack.pop()] if parent not in seen]
        seen.update(new)
        stack += new
    return seen


def cause(absent, root, graph):
    """Why vertices are left out."""
    if root in absent:
        return "root belongs in the list as well, as the last"
    if absent and not any(absent):
        return "0 and '' are vertices as well: `if not vertex` takes them for nothing"
    if all(not graph[v] for v in absent):
        return "leaves, which have no parents, belong in the list too"
    return "are all parents followed, and not only the first?"


def check_order(yours, root, graph, name):
    told = f"  graph     {graph}" if len(graph) < 12 else f"  graph     {name}"
    check(
        isinstance(yours, (list, tuple)),
        f"topological_order: a list was expected, not {type(yours).__name__}.\n{told}",
        "a return statement is missing" if yours is None else "a list is asked for, in order",
    )
    told += f"\n  yours     {list(yours)}" if len(yours) < 20 else ""
    stranger = next((vertex for vertex in yours if not isinstance(vertex, Hashable)), None)
    check(stranger is None, f"topological_order lists {stranger!r}, which is no vertex.\n{told}")
    place = {vertex: i for i, vertex in enumerate(yours)}
    twice = next((v for i, v in enumerate(yours) if place[v] != i), None)
    check(
        twice is None,
        f"topological_order lists {twice!r} more than once.\n{told}",
        "a vertex with several children is visited once for each: remember which you have seen",
    )
    wanted = reachable(root, graph)
    absent = wanted - place.keys()
    missing = ", ".join(sorted(map(str, absent))[:5])
    check(
        not absent, f"topological_order leaves out {missing}.\n{told}", cause(absent, root, graph)
    )
    more = sorted(map(str, place.keys() - wanted))
    check(not more, f"topological_order lists {more[:5]}, which root does not reach.\n{told}")
    if len(wanted) > 1:
        backwards = yours[0] == root and all(place[v] < place[p] for v in wanted for p in graph[v])
        check(
            not backwards,
            f"topological_order begins with root; root must be the last.\n{told}",
            "this is the reverse order: parents come first",
        )
    for vertex in yours:
        for parent in graph[vertex]:
            check(
                place[parent] < place[vertex],
                f"topological_order lists {vertex!r} before its parent {parent!r}.\n{told}",
                POST_ORDER,
            )


@points(1, "topological_order: the example")
def test_topological_order_example(submission):
    """The example in the docstring."""
    check_example(submission.topological_order)


@points(2, "topological_order: parents first")
def test_topological_order_parents_first(submission):
    """Chains, diamonds, a long and a short way to the same vertex, a parent used twice."""
    graphs = {
        "a leaf alone": ("a", {"a": []}),
        "a chain": ("c", {"c": ["b"], "b": ["a"], "a": []}),
        "a diamond": ("d", {"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}),
        "a parent used twice": ("b", {"b": ["a", "a"], "a": []}),
        "the short way first": ("d", {"d": ["a", "c"], "c": ["b"], "b": ["a"], "a": []}),
        "the long way first": ("d", {"d": ["c", "a"], "c": ["b"], "b": ["a"], "a": []}),
        "a chord": ("d", {"d": ["b", "c"], "b": ["a", "c"], "c": ["a"], "a": []}),
        "numbers for names": (7, {7: (3, 9), 3: (9,), 9: (), 8: (7,)}),
        "a vertex elsewhere": ("b", {"b": ["a"], "a": [], "z": ["b", "a"]}),
    }
    graphs["vertices that are equal, and not the same object"] = (
        "d1",
        Fresh({"d1": ["b1", "c1"], "b1": ["a1"], "c1": ["a1"], "a1": []}),
    )
    graphs["0 and an empty text for names"] = 1, {1: [0, ""], 0: [""], "": []}
    for number, (name, (root, graph)) in enumerate(graphs.items()):
        if isinstance(root, str):  # other names in each: what is kept shows in a test of its own
            graph = type(graph)(
                {v + str(number): [p + str(number) for p in graph[v]] for v in graph}
            )
            root += str(number)
        yours = submission.topological_order(root, graph.__getitem__)
        check_order(yours, root, graph, name)
    for _ in range(20):
        root, graph = random_graph(30)
        yours = submission.topological_order(root, graph.__getitem__)
        check_order(yours, root, graph, "30 vertices drawn at random")


@points(1, "topological_order: called again")
def test_topological_order_again(submission):
    """Nothing is remembered from one call to the next."""
    a, b, c = (f"{name}{rng().integers(10**9)}" for name in "abc")  # nobody has seen these
    graph = {c: [b, a], b: [a], a: []}
    yours = submission.topological_order(c, graph.__getitem__)
    intact = graph == {c: [b, a], b: [a], a: []}
    edited = f"topological_order changed what parents(…) gave it; now it is {graph}"
    check(intact, edited, "the lists that parents(…) returns are somebody else's: copy them")
    check_order(yours, c, graph, "a triangle")
    kind = type(yours).__name__
    wrong = f"topological_order returned a {kind}; a list was expected."
    check(isinstance(yours, list), wrong, f"the right vertices, in a {kind}: list(…)")
    again = submission.topological_order(c, graph.__getitem__)
    told = f"topological_order, called again: expected {yours}, yours {again}"
    check(again == yours, told, KEPT)


@points(1, "topological_order: many paths", seconds=2)
def test_topological_order_many_paths(submission):
    """40 diamonds in a row have 2⁴⁰ paths, but only 121 vertices: each is visited once."""
    graph = {0: []}
    for n in range(0, 120, 3):
        graph |= {n + 1: [n], n + 2: [n], n + 3: [n + 1, n + 2]}
    check_order(submission.topological_order(3, graph.__getitem__), 3, graph, "one diamond")
    with likely("every path is walked anew: remember which vertices have been visited"):
        yours = submission.topological_order(120, graph.__getitem__)
    check_order(yours, 120, graph, "40 diamonds in a row")


@points(1, "topological_order: 50,000 deep", seconds=3)
def test_topological_order_deep(submission):
    """A stack of your own, and a set to look vertices up in: a chain of 50,000 takes no time."""
    graph = {n: [n - 1] for n in range(1, 50_000)} | {0: []}
    yours = submission.topological_order(49_999, graph.__getitem__)
    check_order(yours, 49_999, graph, "a chain of 50,000")


# ---------------------------------------------------------------------------------------------
# mul, 6 points
# ---------------------------------------------------------------------------------------------

SAME_SHAPES = [(shape, shape) for shape in ELEMENTWISE]
BROADCAST = [
    ((4, 3), (3,)),
    ((3,), (4, 3)),
    ((2, 5, 3), (5, 1)),
    ((2, 1, 3), (5, 1)),
    ((4, 3), ()),
    ((), (2, 3)),
    ((1,), (3, 1)),
    ((0, 3), (3,)),
]


@points(1, "mul: the example")
def test_mul_example(submission):
    """The example in the docstring, a matrix times a row."""
    check_example(submission.mul)


@points(1, "mul: gradients")
def test_mul_vjp(submission):
    """Each operand's slope is the other operand, times g."""
    check_value(submission.mul, shapes=SAME_SHAPES)
    check_vjp(
        submission.mul,
        shapes=SAME_SHAPES,
        formulas={
            "x": ("g · y", lambda x, y, g: {"g": g, "x": x, "y": y}),
            "y": ("g · x", lambda x, y, g: {"g": g, "x": x, "y": y}),
        },
        mistakes={
            "each operand gets g times itself; it should be the other one, or dx and dy have "
            "changed places": lambda x, y, g: (
                g * x,
                g * y,
            ),
            "the upstream gradient g is not used": lambda x, y, g: (y, x),
            "this is g alone, the gradient of a sum": lambda x, y, g: (g, g),
        },
    )


@points(2, "mul: gradients of broadcast operands")
def test_mul_broadcast(submission):
    """Each gradient is summed back to the shape of its own operand."""

    def products_summed_before(x, y, g):
        """g is brought to the operand's shape first, then multiplied."""
        return fitted(g, x.shape) * fitted(y, x.shape), fitted(g, y.shape) * fitted(x, y.shape)

    check_value(submission.mul, shapes=BROADCAST)
    check_vjp(
        submission.mul,
        shapes=BROADCAST,
        mistakes={
            "sum the product g * (the other operand), not the factors": products_summed_before,
            "g is summed first and then multiplied: sum the product g * (the other operand)": (
                lambda x, y, g: (fitted(g, x.shape) * y, fitted(g, y.shape) * x)
            ),
            "one of the copies is taken; the sum over them is wanted": lambda x, y, g: (
                first_copy(g * y, x.shape),
                first_copy(g * x, y.shape),
            ),
            "this is the mean over the copies; their sum is wanted": lambda x, y, g: (
                fitted(g * y, x.shape) * x.size / max(g.size, 1),
                fitted(g * x, y.shape) * y.size / max(g.size, 1),
            ),
        },
    )


def fitted(g, shape):
    """An array summed, or taken as it is, to `shape`: a helper of wrong variants."""
    g = g.sum(tuple(range(g.ndim - len(shape))))
    g = g.sum(tuple(i for i, n in enumerate(shape[-g.ndim :]) if n == 1), keepdims=True)
    return np.broadcast_to(g, shape)


def first_copy(g, shape):
    g = g[(0,) * (g.ndim - len(shape))]
    return g[tuple(slice(0, n) for n in shape)]


@points(1, "mul: a number as an operand")
def test_mul_number(submission):
    """x * 2.5 and 2.5 * x: a number is a constant and has no shape of its own."""
    cases = [case(normal(2, 3), 2.5), case(-0.5, normal(3)), case(normal(4), 3)]
    check_value(submission.mul, cases)
    check_vjp(submission.mul, cases)


@points(1, "mul: fit for the model")
def test_mul_manners(submission):
    """float32 in, float32 out; no operand is changed; views work."""
    check_manners(submission.mul, [case(normal(3), 2.5)], shapes=SAME_SHAPES + BROADCAST)


# ---------------------------------------------------------------------------------------------
# exp, 4 points
# ---------------------------------------------------------------------------------------------


@points(1, "exp: the example")
def test_exp_example(submission):
    """The example in the docstring."""
    check_example(submission.exp)


@points(1, "exp: value")
def test_exp_value(submission):
    """e to the power of x, in every entry, small and large."""
    check_value(
        submission.exp,
        [
            case(np.array([-1e4, -800.0, -40.0, 0.0, 40.0, 600.0])),
            case(np.array([1.0, 800.0, 1e4]), label="e to the power of 800 is infinite"),
        ],
        shapes=ELEMENTWISE,
        mistakes={
            "the base is e, not 2": np.exp2,
            "this is eˣ - 1": np.expm1,
            **{
                f"x is cut off at {most}": lambda x, most=most: np.exp(np.clip(x, -most, most))
                for most in (20, 50, 80, 88, 100, 500, 700, 709)
            },
        },
    )


@points(1, "exp: gradient")
def test_exp_vjp(submission):
    """The slope of eˣ is eˣ, times g."""
    check_vjp(
        submission.exp,
        [case(np.array([-800.0, -40.0, 0.0, 1e-3, 40.0]))],
        shapes=ELEMENTWISE,
        formulas={"x": ("g · eˣ", lambda x, g: {"g": g, "x": x, "eˣ": np.exp(x)})},
        mistakes={
            "the rule for powers, x e^(x-1), does not hold here: the exponent is what varies": (
                lambda x, g: (g * x * np.exp(x - 1),)
            ),
            "the slope is taken at g, where it belongs at x": lambda x, g: (np.exp(g),),
            "this is g divided by the slope": lambda x, g: (g / np.exp(x),),
            "this is g * x": lambda x, g: (g * x,),
            "g is added to the slope; it is multiplied": lambda x, g: (g + np.exp(x),),
            "the upstream gradient g is not used": lambda x, g: (np.exp(x),),
            "this is g alone": lambda x, g: (g,),
        },
    )


@points(1, "exp: fit for the model")
def test_exp_manners(submission):
    """float32 in, float32 out; x and g are not changed; vjp can be called twice."""
    check_manners(submission.exp, shapes=ELEMENTWISE)


# ---------------------------------------------------------------------------------------------
# sum, 5 points
# ---------------------------------------------------------------------------------------------


def sums():
    """Cases for sum: every kind of axis, with keepdims and without."""
    return [
        case(normal(4, 3)),
        case(normal(4, 3), axis=0),
        case(normal(4, 3), axis=1),
        case(normal(3, 3), axis=1, label="square: a lost axis does not show in the shape"),
        case(normal(3, 3), axis=0),
        case(normal(4, 3), axis=-1, keepdims=True),
        case(normal(4, 3), keepdims=True),
        case(normal(2, 5, 3), axis=1),
        case(normal(2, 5, 3), axis=-2),
        case(normal(2, 5, 3), axis=(0, 2)),
        case(normal(2, 2, 2), axis=(0, -1)),
        case(normal(2, 5, 3), axis=(-1, 0)),
        case(normal(2, 3, 2, 3), axis=(-2, 1)),
        case(normal(2, 2, 2), axis=(-2, -1)),
        case(normal(2, 3, 2), axis=(2, 0)),
        case(normal(2, 5, 3), axis=(1, 2), keepdims=True),
        case(normal(0, 3), axis=0),
        case(normal(5), axis=0),
        case(normal()),
    ]


@points(1, "sum: the example")
def test_sum_example(submission):
    """The example in the docstring, the sums of two rows."""
    check_example(submission.sum)


@points(1, "sum: value")
def test_sum_value(submission):
    """axis and keepdims mean what they mean in NumPy."""
    check_value(
        submission.sum,
        sums(),
        mistakes={
            "axis is not used": lambda x, axis=None, keepdims=False: np.sum(x, keepdims=keepdims),
            "this is the mean": np.mean,
        },
    )


@points(2, "sum: gradient")
def test_sum_vjp(submission):
    """Every entry gets the g of the sum it is in."""

    def aligned_right(x, g, axis=None, keepdims=False):
        return (np.broadcast_to(g, x.shape),)

    def one_by_one(x, g, axis=None, keepdims=False):
        for one in axis if type(axis) is tuple and not keepdims else ():
            g = np.expand_dims(g, one)
        return (np.broadcast_to(g, x.shape),)

    def over_the_number_of_entries(x, g, axis=None, keepdims=False):
        if axis is not None and not keepdims:
            g = np.expand_dims(g, axis)
        return (np.broadcast_to(g, x.shape) * g.size / x.size,)

    check_vjp(
        submission.sum,
        sums(),
        mistakes={
            "g's axes are aligned wrongly: put the summed axis back with np.expand_dims": (
                aligned_right
            ),
            "this is the gradient of the mean: the sum does not divide": over_the_number_of_entries,
            "the summed axes are put back one by one; np.expand_dims takes all at once": one_by_one,
            "the upstream gradient g is not used": lambda x, g, axis=None, keepdims=False: (
                np.ones_like(x),
            ),
            "g is multiplied by x; every entry's slope is 1": (
                lambda x, g, axis=None, keepdims=False: (
                    x * np.reshape(g, np.sum(x, axis=axis, keepdims=True).shape),
                )
            ),
        },
    )


@points(1, "sum: fit for the model")
def test_sum_manners(submission):
    """float32 in, float32 out; x and g are not changed; views work."""
    check_manners(submission.sum, sums())


# ---------------------------------------------------------------------------------------------
# matmul, 8 points
# ---------------------------------------------------------------------------------------------

MATRICES = [
    ((2, 3), (3, 4)),
    ((1, 5), (5, 1)),
    ((3, 3), (3, 3)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 3)),
]
STACKS = [
    ((2, 4, 3), (2, 3, 5)),
    ((2, 3, 3), (2, 3, 3)),
    ((2, 6, 4, 3), (2, 6, 3, 5)),
    ((2, 4, 3), (3, 5)),
    ((4, 3), (2, 3, 5)),
    ((2, 1, 4, 3), (6, 3, 5)),
    ((1, 4, 3), (2, 3, 5)),
]
VECTORS = [((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 4, 3), (3,)), ((3,), (2, 3, 5))]
MATMUL_AXES = {"out": "row column", "x": "row inner", "y": "inner column"}


@points(1, "matmul: the example")
def test_matmul_example(submission):
    """The example in the docstring, a row times a matrix."""
    check_example(submission.matmul)


@points(1, "matmul: value")
def test_matmul_value(submission):
    """Rows of x times columns of y; stacks of matrices; vectors."""
    check_value(
        submission.matmul,
        shapes=MATRICES + STACKS + VECTORS,
        axes=MATMUL_AXES,
        mistakes={
            "this is the elementwise product": lambda x, y: x * y if x.shape == y.shape else None,
            "y is transposed; rows of x meet columns of y": lambda x, y: x @ np.swapaxes(y, -1, -2),
            "np.dot is another product for more than two axes; use x @ y": np.dot,
        },
    )


@points(2, "matmul: gradients")
def test_matmul_vjp(submission):
    """dx = g yᵀ and dy = xᵀ g: the other operand, transposed, on its own side."""
    check_vjp(
        submission.matmul,
        shapes=MATRICES,
        axes=MATMUL_AXES,
        mistakes={
            "y is not transposed in dx = g yᵀ": lambda x, y, g: (g @ y, None),
            "x is not transposed in dy = xᵀ g": lambda x, y, g: (None, x @ g),
            "the factors of dx = g yᵀ are in the wrong order": lambda x, y, g: (y.T @ g, None),
            "the factors of dy = xᵀ g are in the wrong order": lambda x, y, g: (None, g @ x.T),
            "dy is transposed: (gᵀ x) where xᵀ g belongs": lambda x, y, g: (None, g.T @ x),
        },
    )


@points(2, "matmul: gradients of stacks")
def test_matmul_stacks(submission):
    """Each matrix of a stack by itself; a matrix shared by the stack gets the sum."""
    check_vjp(
        submission.matmul,
        shapes=STACKS,
        axes=MATMUL_AXES,
        mistakes={
            ".T reverses all axes; np.swapaxes(y, -1, -2) transposes each matrix": lambda x, y, g: (
                g @ y.T,
                x.T @ g,
            ),
            "a matrix shared by the whole stack gets the sum of its gradients": lambda x, y, g: (
                (g @ np.swapaxes(y, -1, -2))[(0,) * (g.ndim - x.ndim)],
                (np.swapaxes(x, -1, -2) @ g)[(0,) * (g.ndim - y.ndim)],
            ),
            "this is the mean over the stack; the sum is wanted": lambda x, y, g: (
                (g @ np.swapaxes(y, -1, -2)).mean(tuple(range(g.ndim - x.ndim))),
                (np.swapaxes(x, -1, -2) @ g).mean(tuple(range(g.ndim - y.ndim))),
            ),
        },
    )


@points(1, "matmul: gradients of vectors")
def test_matmul_vectors(submission):
    """A vector on the left is a row, on the right a column, whose axis is missing from g."""
    rows = "a vector has one axis: make it a row or a column, and take that axis away at the end"
    with likely(rows, of=StudentError):
        check_vjp(
            submission.matmul,
            shapes=VECTORS,
            mistakes={
                "of two vectors, g is one number: dx = g y, dy = g x": lambda x, y, g: (
                    (g, g) if x.ndim == y.ndim == 1 else (None, None)
                ),
            },
        )


@points(1, "matmul: fit for the model")
def test_matmul_manners(submission):
    """float32 in, float32 out; no operand is changed; views work."""
    check_manners(submission.matmul, shapes=MATRICES + STACKS + VECTORS)


# ---------------------------------------------------------------------------------------------
# getitem, 6 points
# ---------------------------------------------------------------------------------------------


def picks():
    """Indices that pick every entry at most once."""
    return [
        case(normal(5, 3), 2),
        case(normal(5, 3), -1),
        case(normal(5), 3),
        case(normal(5, 3), slice(1, 4)),
        case(normal(6, 3), slice(None, None, -2)),
        case(normal(5, 3), (slice(None), 1)),
        case(normal(2, 5, 3), (..., slice(0, 2))),
        case(normal(5, 3), (slice(None), None, slice(1, 3))),
        case(normal(5, 3), np.array([True, False, False, True, True])),
        case(normal(2, 3), np.array([[True, False, True], [False, False, True]])),
        case(normal(5, 3), np.array([4, 0, 2])),
        case(normal(4, 3), slice(2, 2), label="nothing is picked"),
    ]


def repeats():
    """Indices that pick some entries several times, as the ids of a text do."""
    return [
        case(normal(4, 3), np.array([1, 1, 1, 0])),
        case(normal(7, 3), np.array([[5, 0, 5, 2, 5], [2, 5, 1, 1, 6]]), label="an embedding"),
        case(normal(4, 3), np.array([-1, 3, -4, 0]), label="-1 and 3 are the same row"),
        case(normal(4, 3), (np.array([0, 0, 2, 0]), np.array([1, 1, 2, 0]))),
        case(normal(2, 4, 3), (slice(None), np.array([1, 3, 1]))),
        case(normal(1, 2), np.zeros(9, int)),
        case(normal(4, 3), [2, 2, 1], label="a list"),
    ]


SCATTERED = {  # mistakes of its gradient that show with every index
    "g is indexed; it is what comes from there: dx is zeros, and g is added at index": (
        lambda x, index, g: (g[index],)
    ),
    "dx begins as ones; what was not picked gets 0": lambda x, index, g: (
        np.ones_like(x) + reference("getitem")(x, index)[1](g)[0],
    ),
    "dx begins as x; what was not picked gets 0": lambda x, index, g: (
        x + reference("getitem")(x, index)[1](g)[0],
    ),
}


@points(1, "getitem: the example")
def test_getitem_example(submission):
    """The example in the docstring, three look-ups in a table."""
    check_example(submission.getitem)


@points(1, "getitem: value")
def test_getitem_value(submission):
    """x[index], whatever the index is."""
    told = "np.take knows ids alone; x[index] takes every index"
    with likely(told, of=StudentError, unless=lambda: submission.getitem(normal(4, 3), [2, 0])):
        check_value(
            submission.getitem,
            picks() + repeats(),
            mistakes={
                told: lambda x, index: np.take(x, index, axis=0),
                "the ids are counted along the last axis; a row is picked along the first": (
                    lambda x, index: np.take(x, index, axis=-1)
                ),
            },
        )


@points(1, "getitem: gradient")
def test_getitem_vjp(submission):
    """Zeros of x's shape, and g where it was picked."""
    check_vjp(submission.getitem, picks(), mistakes=SCATTERED)


@points(2, "getitem: gradient of what was picked twice")
def test_getitem_repeats(submission):
    """The gradient of a row that was picked several times is a sum."""

    def last_one(x, index, g):
        dx = np.zeros_like(x)
        dx[index] = g
        return (dx,)

    def mean(x, index, g):
        dx, count = np.zeros_like(x), np.zeros_like(x)
        np.add.at(dx, index, g)
        np.add.at(count, index, 1)
        return (dx / np.maximum(count, 1),)

    def first_one(x, index, g):
        dx = np.zeros_like(x)
        if isinstance(index, tuple):
            return None
        index = np.asarray(index).reshape(-1)[::-1]
        dx[index] = g.reshape(len(index), *x.shape[1:])[::-1]
        return (dx,)

    check_vjp(
        submission.getitem,
        repeats(),
        mistakes={
            **SCATTERED,
            "equal ids overwrite each other, so one counts; np.add.at(dx, index, g) adds": last_one,
            "of equal ids only the first counts; add for each": first_one,
            "this is the mean over equal ids; the sum is wanted": mean,
        },
    )


@points(1, "getitem: fit for the model")
def test_getitem_manners(submission):
    """float32 in, float32 out; x is not changed; views work."""
    check_manners(submission.getitem, picks() + repeats())


# ---------------------------------------------------------------------------------------------
# cumsum, for honor
# ---------------------------------------------------------------------------------------------


def running():
    """Arrays with sizes of which no two are alike, and every axis."""
    for shape, axis in (((2, 5), -1), ((3, 4), 0), ((2, 3, 4), 1), ((2, 3, 4), -3), ((6,), 0)):
        yield case(normal(*shape), axis=axis)
    yield case(normal(3, 0, 2), axis=1, label="empty")
    yield case(normal(1, 1), label="one number")


@points(0, "cumsum: the example")
def test_cumsum_example(submission):
    """The example in the docstring, worked out on paper."""
    check_example(submission.cumsum)


@points(0, "cumsum: value and gradient")
def test_cumsum_vjp(submission):
    """x_i is in every sum from i on: its gradient is the sum of g from i to the end."""

    def against(running):
        return lambda x, g, axis=-1: (running(g, axis),)

    check_value(
        submission.cumsum,
        list(running()),
        mistakes={
            "the sum runs on from one row into the next; each starts anew": lambda x, axis=-1: (
                np.cumsum(x).reshape(x.shape)
            ),
            "out_i has x_i in it; here the sum ends before": lambda x, axis=-1: (
                np.cumsum(x, axis) - x
            ),
            "the sums run from the end": lambda x, axis=-1: np.flip(
                np.cumsum(np.flip(x, axis), axis), axis
            ),
        },
    )
    check_vjp(
        submission.cumsum,
        list(running()),
        mistakes={
            "g is summed from the beginning; x_i is in the sums from i on": against(np.cumsum),
            "g_i itself is left out: x_i is in its own sum, too": against(
                lambda g, axis: np.flip(np.cumsum(np.flip(g, axis), axis), axis) - g
            ),
            "all of g is summed for every entry; only the sums from i on have x_i": against(
                lambda g, axis: np.broadcast_to(g.sum(axis, keepdims=True), g.shape)
            ),
            "g is multiplied by how many sums x_i is in; each of them has a g of its own": against(
                lambda g, axis: g * np.flip(np.cumsum(np.ones_like(g), axis), axis)
            ),
            "g is turned round, and not summed: x_i is in every sum from i on": against(np.flip),
            "the sums of g are not turned back into x's order": against(
                lambda g, axis: np.cumsum(np.flip(g, axis), axis)
            ),
        },
    )


@points(0, "cumsum: fit for the model")
def test_cumsum_manners(submission):
    """float32 in, float32 out; x and g are not changed; views work."""
    check_manners(submission.cumsum, list(running()))
