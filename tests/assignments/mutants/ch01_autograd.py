"""Wrong solutions of chapter 01, each named after its mistake."""

import math

import numpy as np

from tinyqwen.autograd import ops, reductions
from tinyqwen.autograd.ops import unbroadcast
from tinyqwen.autograd.tape import topological_order
from tinyqwen.course import mutant

mul, exp, total, matmul, getitem = (
    op.raw for op in (ops.mul, ops.exp, ops.sum, ops.matmul, ops.getitem)
)


cumsum = reductions.cumsum.raw


# ---------------------------------------------------------------------------------------------
# unbroadcast
# ---------------------------------------------------------------------------------------------


@mutant(of="unbroadcast", killed_by="test_unbroadcast_stretched", named="axes added on the left")
def unbroadcast_keepdims_only(g, shape):
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=axes, keepdims=True)


@mutant(of="unbroadcast", killed_by="test_unbroadcast_stretched", named="of length 1, is missing")
def unbroadcast_added_axes_only(g, shape):
    return g.sum(axis=tuple(range(g.ndim - len(shape))))


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_stretched",
    named="an axis of length 1 is missing",
)
def unbroadcast_loses_stretched_axes(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1))


@mutant(of="unbroadcast", killed_by="test_unbroadcast_added", named="the last axes are summed")
def unbroadcast_sums_last_axes(g, shape):
    if g.ndim > len(shape):
        g = g.sum(axis=tuple(range(len(shape), g.ndim)))
    return g if g.shape == shape else unbroadcast(g, shape)


@mutant(of="unbroadcast", killed_by="test_unbroadcast_added", named="the mean over the copies")
def unbroadcast_mean(g, shape):
    out = unbroadcast(g, shape)
    return out * (out.size / g.size) if g.size else out


@mutant(of="unbroadcast", killed_by="test_unbroadcast_added", named="one of the copies is taken")
def unbroadcast_takes_first_copy(g, shape):
    g = g[(0,) * (g.ndim - len(shape))] if g.shape[0] else g.sum(0)
    return g[tuple(slice(0, 1) if n == 1 else slice(None) for n in shape)]


@mutant(of="unbroadcast", killed_by="test_unbroadcast_added", named="only one added axis")
def unbroadcast_one_added_axis(g, shape):
    if g.ndim > len(shape):
        g = g.sum(0)
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True)


@mutant(of="unbroadcast", killed_by="test_unbroadcast_stretched", named="unbroadcast raised")
def unbroadcast_axes_shift_while_summing(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for axis, n in enumerate(shape):
        if n == 1:
            g = g.sum(axis)
    return g.reshape(shape)


@mutant(of="unbroadcast", killed_by="test_unbroadcast_manners", named="float64 comes out")
def unbroadcast_float64(g, shape):
    return unbroadcast(g.astype(np.float64), shape)


@mutant(of="unbroadcast", killed_by="test_unbroadcast_manners", named="g is changed in place")
def unbroadcast_in_place(g, shape):
    out = unbroadcast(g.copy(), shape)
    g[:1] = g.sum(0)
    return out


# ---------------------------------------------------------------------------------------------
# topological_order
# ---------------------------------------------------------------------------------------------

order_of = "topological_order"
parents_first = "test_topological_order_parents_first"


@mutant(of=order_of, killed_by=parents_first, named="this is the reverse order")
def topological_order_root_first(root, parents):
    return topological_order(root, parents)[::-1]


@mutant(of=order_of, killed_by=parents_first, named="post-order")
def topological_order_preorder(root, parents):
    order, seen, stack = [], set(), [root]
    while stack:
        vertex = stack.pop()
        if vertex not in seen:
            seen.add(vertex)
            order.append(vertex)
            stack.extend(parents(vertex))
    return order[::-1]


@mutant(of=order_of, killed_by=parents_first, named="post-order")
def topological_order_breadth_first(root, parents):
    order = [root]
    for vertex in order:
        order += [p for p in dict.fromkeys(parents(vertex)) if p not in order]
    return order[::-1]


@mutant(of=order_of, killed_by=parents_first, named="post-order")
def topological_order_marks_when_pushed(root, parents):
    order, seen, stack = [], {root}, [(root, False)]
    while stack:
        vertex, done = stack.pop()
        if done:
            order.append(vertex)
            continue
        stack.append((vertex, True))
        for parent in parents(vertex):
            if parent not in seen:
                seen.add(parent)
                stack.append((parent, False))
    return order


@mutant(of=order_of, killed_by=parents_first, named="remember which you have seen")
def topological_order_parent_used_twice(root, parents):
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        vertex, done = stack.pop()
        if done:
            order.append(vertex)
            continue
        seen.add(vertex)
        stack.append((vertex, True))
        stack += [(p, False) for p in parents(vertex) if p not in seen]  # twice in one list
    return order


@mutant(of=order_of, killed_by=parents_first, named="leaves, which have no parents")
def topological_order_without_leaves(root, parents):
    return [v for v in topological_order(root, parents) if parents(v) or v == root]


@mutant(of=order_of, killed_by=parents_first, named="not only the first")
def topological_order_first_parent_only(root, parents):
    return topological_order(root, lambda vertex: parents(vertex)[:1])


@mutant(of=order_of, killed_by=parents_first, named="before its parent")
def topological_order_by_name(root, parents):
    rest = sorted(v for v in topological_order(root, parents) if v != root)
    return [*rest, root]


@mutant(of=order_of, killed_by="test_topological_order_deep", named="called itself too often")
def topological_order_recursive(root, parents):
    order, seen = [], set()

    def visit(vertex):
        if vertex not in seen:
            seen.add(vertex)
            for parent in parents(vertex):
                visit(parent)
            order.append(vertex)

    visit(root)
    return order


@mutant(of=order_of, killed_by="test_topological_order_deep", named="time limit")
def topological_order_seen_in_a_list(root, parents):
    order, seen, stack = [], [root], [(root, iter(parents(root)))]
    while stack:
        vertex, remaining = stack[-1]
        new = next((p for p in remaining if p not in seen), None)
        if new is None:
            order.append(vertex)
            stack.pop()
        else:
            seen.append(new)
            stack.append((new, iter(parents(new))))
    return order


@mutant(
    of=order_of, killed_by="test_topological_order_many_paths", named="every path is walked anew"
)
def topological_order_walks_every_path(root, parents):
    def paths(vertex):
        return [v for parent in parents(vertex) for v in paths(parent)] + [vertex]

    return list(dict.fromkeys(paths(root)))


@mutant(of=order_of, killed_by="test_topological_order_again", named="a default argument")
def topological_order_default_set(root, parents, seen=set()):  # noqa: B006
    order = [v for v in topological_order(root, parents) if v not in seen]
    seen.update(order)
    return order


@mutant(of=order_of, killed_by="test_topological_order_again", named="post-order")
def topological_order_reversed_preorder(root, parents):
    order, seen, stack = [], set(), [root]
    while stack:
        vertex = stack.pop()
        if vertex not in seen:
            seen.add(vertex)
            order.append(vertex)
            stack += parents(vertex)
    return order[::-1]


@mutant(of=order_of, killed_by=parents_first, named="a return statement is missing")
def topological_order_no_return(root, parents):
    topological_order(root, parents)


# ---------------------------------------------------------------------------------------------
# mul
# ---------------------------------------------------------------------------------------------


@mutant(of="mul", killed_by="test_mul_vjp", named="g times itself")
def mul_operands_not_swapped(x, y):
    out, _ = mul(x, y)
    return out, lambda g: (unbroadcast(g * x, np.shape(x)), unbroadcast(g * y, np.shape(y)))


@mutant(of="mul", killed_by="test_mul_vjp", named="g is not used")
def mul_vjp_ignores_g(x, y):
    out, vjp = mul(x, y)
    return out, lambda g: vjp(np.ones_like(g))


@mutant(of="mul", killed_by="test_mul_vjp", named="g alone, the gradient of a sum")
def mul_vjp_of_add(x, y):
    return mul(x, y)[0], ops.add.raw(x, y)[1]


@mutant(of="mul", killed_by="test_mul_broadcast", named="shape")
def mul_without_unbroadcast(x, y):
    return x * y, lambda g: (g * y, g * x)


@mutant(of="mul", killed_by="test_mul_broadcast", named="shape")
def mul_only_second_unbroadcast(x, y):
    return x * y, lambda g: (g * y, unbroadcast(g * x, np.shape(y)))


@mutant(of="mul", killed_by="test_mul_broadcast", named="sum the product")
def mul_factors_summed_before(x, y):
    def fitted(a, shape):
        a = unbroadcast(a, shape[-a.ndim :] if a.ndim < len(shape) else shape) if a.ndim else a
        return np.broadcast_to(a, shape)

    def vjp(g):
        a, b = np.asarray(x), np.asarray(y)
        if a.shape == b.shape:
            return g * b, g * a
        return fitted(g, a.shape) * fitted(b, a.shape), fitted(g, b.shape) * fitted(a, b.shape)

    return x * y, vjp


@mutant(of="mul", killed_by="test_mul_number", named="'float' object has no attribute 'shape'")
def mul_needs_arrays(x, y):
    return x * y, lambda g: (unbroadcast(g * y, x.shape), unbroadcast(g * x, y.shape))


@mutant(of="mul", killed_by="test_mul_manners", named="g is changed in place")
def mul_vjp_in_place(x, y):
    def vjp(g):
        dy = unbroadcast(g * x, np.shape(y))
        g *= y
        return unbroadcast(g, np.shape(x)), dy

    return x * y, vjp


@mutant(of="mul", killed_by="test_mul_manners", named="x is changed in place")
def mul_in_place(x, y):
    out, vjp = mul(x.copy(), y)
    if out.shape == x.shape and x.ndim:
        x *= y
    return out, vjp


@mutant(of="mul", killed_by="test_mul_manners", named="float64 comes out")
def mul_float64(x, y):
    out, vjp = mul(x, y)
    return out, lambda g: tuple(d if d is None else np.float64(1) * d for d in vjp(g))


@mutant(of="mul", killed_by="test_mul_broadcast", named="g is summed first and then multiplied")
def mul_sums_g_first(x, y):
    return mul(x, y)[0], lambda g: (
        unbroadcast(g, np.shape(x)) * y,
        unbroadcast(g, np.shape(y)) * x,
    )


# ---------------------------------------------------------------------------------------------
# exp
# ---------------------------------------------------------------------------------------------


@mutant(of="exp", killed_by="test_exp_value", named="the base is e")
def exp_of_two(x):
    return np.exp2(x), exp(x)[1]


@mutant(of="exp", killed_by="test_exp_value", named="x is cut off at")
def exp_clipped(x):
    return np.exp(np.clip(x, -50, 50)), exp(x)[1]


@mutant(of="exp", killed_by="test_exp_vjp", named="the rule for powers")
def exp_power_rule(x):
    return np.exp(x), lambda g: (g * x * np.exp(x - 1),)


@mutant(of="exp", killed_by="test_exp_vjp", named="g is not used")
def exp_vjp_ignores_g(x):
    out = np.exp(x)
    return out, lambda g: (out,)


@mutant(of="exp", killed_by="test_exp_vjp", named="the slope is taken at g")
def exp_slope_at_g(x):
    return np.exp(x), lambda g: (np.exp(g),)


@mutant(of="exp", killed_by="test_exp_vjp", named="a comma is missing")
def exp_vjp_no_tuple(x):
    out = np.exp(x)
    return out, lambda g: g * out


@mutant(of="exp", killed_by="test_exp_vjp", named="NaN")
def exp_slope_by_division(x):
    out = np.exp(x)
    return out, lambda g: (g * out * out / out,)


@mutant(of="exp", killed_by="test_exp_manners", named="float64 comes out")
def exp_float64(x):
    return np.exp(x), lambda g: (g * np.exp(x.astype(np.float64)),)


@mutant(of="exp", killed_by="test_exp_manners", named="vjp overwrites something")
def exp_vjp_eats_its_value(x):
    out = np.asarray(np.exp(x))
    slope = out.copy()

    def vjp(g):
        np.multiply(slope, g, out=slope)
        return (slope.copy(),)

    return out, vjp


@mutant(of="exp", killed_by="test_exp_manners", named="x is changed in place")
def exp_in_place(x):
    out, vjp = exp(x.copy())
    if x.ndim:
        np.exp(x, out=x)
    return out, vjp


@mutant(of="exp", killed_by="test_exp_vjp", named="g is added to the slope")
def exp_vjp_adds_g(x):
    out = exp(x)[0]
    return out, lambda g: (g + out,)


# ---------------------------------------------------------------------------------------------
# sum
# ---------------------------------------------------------------------------------------------


def spread(g, x, axis, keepdims):
    return np.broadcast_to(
        np.expand_dims(g, axis) if axis is not None and not keepdims else g, x.shape
    )


@mutant(of="sum", killed_by="test_sum_value", named="axis is not used")
def sum_ignores_axis(x, axis=None, keepdims=False):
    return np.sum(x, keepdims=keepdims), total(x, axis, keepdims)[1]


@mutant(of="sum", killed_by="test_sum_value", named="NumPy's is np.sum")
def sum_calls_itself(x, axis=None, keepdims=False):
    return sum_calls_itself(x, axis=axis, keepdims=keepdims), total(x, axis, keepdims)[1]


@mutant(of="sum", killed_by="test_sum_value", named="keepdims is not used")
def sum_ignores_keepdims(x, axis=None, keepdims=False):
    return np.sum(x, axis=axis), total(x, axis, keepdims)[1]


@mutant(of="sum", killed_by="test_sum_vjp", named="put the summed axis back")
def sum_g_aligned_right(x, axis=None, keepdims=False):
    def vjp(g):
        if axis is not None and not keepdims and (len(set(x.shape)) > 1 or x.ndim > 2):
            g = np.expand_dims(g, axis)
        return (np.broadcast_to(g, x.shape),)

    return np.sum(x, axis=axis, keepdims=keepdims), vjp


@mutant(of="sum", killed_by="test_sum_vjp", named="the gradient of the mean")
def sum_vjp_of_mean(x, axis=None, keepdims=False):
    return total(x, axis, keepdims)[0], ops.mean.raw(x, axis, keepdims)[1]


@mutant(of="sum", killed_by="test_sum_vjp", named="g is not used")
def sum_vjp_of_ones(x, axis=None, keepdims=False):
    return total(x, axis, keepdims)[0], lambda g: (np.ones_like(x),)


@mutant(of="sum", killed_by="test_sum_vjp", named="sum's vjp raised")
def sum_axis_is_always_an_int(x, axis=None, keepdims=False):
    def vjp(g):
        if axis is not None and not keepdims:
            shape = list(x.shape)
            shape[axis] = 1
            g = g.reshape(shape)
        return (np.broadcast_to(g, x.shape),)

    return np.sum(x, axis=axis, keepdims=keepdims), vjp


@mutant(of="sum", killed_by="test_sum_vjp", named="sum's vjp raised")
def sum_negative_axis(x, axis=None, keepdims=False):
    def vjp(g):
        if isinstance(axis, int) and not keepdims and g.ndim:
            place = axis if axis >= 0 else axis + g.ndim  # one too few: g has lost an axis
            return (np.broadcast_to(np.expand_dims(g, place), x.shape),)
        return (spread(g, x, axis, keepdims),)

    return np.sum(x, axis=axis, keepdims=keepdims), vjp


@mutant(of="sum", killed_by="test_sum_vjp", named="g as it came")
def sum_g_not_spread(x, axis=None, keepdims=False):
    return total(x, axis, keepdims)[0], lambda g: (g,)


@mutant(of="sum", killed_by="test_sum_manners", named="float64 comes out")
def sum_float64(x, axis=None, keepdims=False):
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=np.float64), total(x, axis, keepdims)[1]


@mutant(of="sum", killed_by="test_sum_manners", named="float64 comes out")
def sum_vjp_float64(x, axis=None, keepdims=False):
    def vjp(g):
        return (np.ones(x.shape) * spread(g, x, axis, keepdims),)

    return np.sum(x, axis=axis, keepdims=keepdims), vjp


# ---------------------------------------------------------------------------------------------
# matmul
# ---------------------------------------------------------------------------------------------


@mutant(of="matmul", killed_by="test_matmul_value", named="the elementwise product")
def matmul_elementwise(x, y):
    return (x * y if x.shape == y.shape else x @ y), matmul(x, y)[1]


@mutant(of="matmul", killed_by="test_matmul_value", named="np.dot")
def matmul_dot(x, y):
    return np.dot(x, y), matmul(x, y)[1]


@mutant(of="matmul", killed_by="test_matmul_vjp", named="must one of them be transposed?")
def matmul_y_not_transposed(x, y):
    out, vjp = matmul(x, y)
    return out, lambda g: (g @ y, vjp(g)[1])


@mutant(of="matmul", killed_by="test_matmul_vjp", named="x is not transposed")
def matmul_square_x_not_transposed(x, y):
    out, vjp = matmul(x, y)
    square = x.ndim == 2 and x.shape[0] == x.shape[1] and x.shape == y.shape
    return out, lambda g: (vjp(g)[0], x @ g if square else vjp(g)[1])


@mutant(of="matmul", killed_by="test_matmul_vjp", named="dy is transposed")
def matmul_dy_transposed(x, y):
    out, vjp = matmul(x, y)
    return out, lambda g: (vjp(g)[0], np.swapaxes(vjp(g)[1], -1, -2) if y.ndim > 1 else vjp(g)[1])


@mutant(of="matmul", killed_by="test_matmul_vjp", named="in the order of the arguments")
def matmul_gradients_swapped(x, y):
    out, vjp = matmul(x, y)
    return out, lambda g: vjp(g)[::-1]


@mutant(of="matmul", killed_by="test_matmul_stacks", named="matmul's vjp raised")
def matmul_dot_t(x, y):
    out, vjp = matmul(x, y)
    return out, lambda g: (g @ y.T, x.T @ g) if x.ndim > 1 and y.ndim > 1 else vjp(g)


@mutant(of="matmul", killed_by="test_matmul_stacks", named="sum over the leading axes is missing")
def matmul_without_unbroadcast(x, y):
    out, vjp = matmul(x, y)

    def wrong(g):
        if x.ndim < 2 or y.ndim < 2:
            return vjp(g)
        return g @ np.swapaxes(y, -1, -2), np.swapaxes(x, -1, -2) @ g

    return out, wrong


@mutant(of="matmul", killed_by="test_matmul_stacks", named="gets the sum of its gradients")
def matmul_shared_matrix_gets_first(x, y):
    out, vjp = matmul(x, y)

    def wrong(g):
        dx, dy = vjp(g)
        if 2 == y.ndim < x.ndim:
            dy = x[0].T @ g[0]
        return dx, dy

    return out, wrong


@mutant(of="matmul", killed_by="test_matmul_vectors", named="matmul's vjp raised")
def matmul_needs_matrices(x, y):
    def vjp(g):
        dx = unbroadcast(g @ np.swapaxes(y, -1, -2), x.shape)
        return dx, unbroadcast(np.swapaxes(x, -1, -2) @ g, y.shape)

    return x @ y, vjp


@mutant(of="matmul", killed_by="test_matmul_manners", named="float64 comes out")
def matmul_float64(x, y):
    return np.matmul(x, y, dtype=np.float64), matmul(x, y)[1]


@mutant(of="matmul", killed_by="test_matmul_manners", named="x is changed in place")
def matmul_x_in_place(x, y):
    out, vjp = matmul(x.copy(), y)
    x *= 0.5
    return out, vjp


@mutant(of="matmul", killed_by="test_matmul_vectors", named="make it a row or a column")
def matmul_vjp_of_matrices_alone(x, y):
    return matmul(x, y)[0], lambda g: (
        unbroadcast(g @ np.swapaxes(y, -1, -2), x.shape),
        unbroadcast(np.swapaxes(x, -1, -2) @ g, y.shape),
    )


# ---------------------------------------------------------------------------------------------
# getitem
# ---------------------------------------------------------------------------------------------


def scattered(x, put):
    def vjp(g):
        dx = np.zeros_like(x)
        put(dx, g)
        return (dx,)

    return vjp


@mutant(of="getitem", killed_by="test_getitem_repeats", named="equal ids overwrite each other")
def scatter_assign_not_add(x, index):
    return x[index], scattered(x, lambda dx, g: dx.__setitem__(index, g))


@mutant(of="getitem", killed_by="test_getitem_repeats", named="equal ids overwrite each other")
def scatter_plus_equals(x, index):
    def put(dx, g):
        dx[index] += g

    return x[index], scattered(x, put)


@mutant(of="getitem", killed_by="test_getitem_repeats", named="the mean over equal ids")
def scatter_mean(x, index):
    def put(dx, g):
        count = np.zeros_like(x)
        np.add.at(dx, index, g)
        np.add.at(count, index, 1)
        dx /= np.maximum(count, 1)

    return x[index], scattered(x, put)


@mutant(of="getitem", killed_by="test_getitem_repeats", named="only the first counts")
def scatter_first_only(x, index):
    def put(dx, g):
        ids = np.asarray(index)
        if isinstance(index, tuple) or ids.dtype.kind != "i" or ids.ndim == 0:
            np.add.at(dx, index, g)
        else:
            dx[ids.reshape(-1)[::-1]] = g.reshape(ids.size, *x.shape[1:])[::-1]

    return x[index], scattered(x, put)


@mutant(of="getitem", killed_by="test_getitem_repeats", named="getitem: the gradient of x")
def scatter_negative_ids_apart(x, index):
    def put(dx, g):
        if isinstance(index, np.ndarray) and index.dtype.kind == "i" and (index < 0).any():
            for i in np.unique(index):
                dx[i] = g[index == i].sum(0)
        else:
            np.add.at(dx, index, g)

    return x[index], scattered(x, put)


@mutant(of="getitem", killed_by="test_getitem_vjp", named="g as it came")
def getitem_vjp_returns_g(x, index):
    return x[index], lambda g: (g,)


@mutant(of="getitem", killed_by="test_getitem_vjp", named="entries that must be zero are not")
def scatter_into_ones(x, index):
    out, vjp = getitem(x, index)
    return out, lambda g: (vjp(g)[0] + (vjp(g)[0] == 0),)


@mutant(of="getitem", killed_by="test_getitem_vjp", named="getitem's vjp raised")
def getitem_knows_ids_only(x, index):
    def put(dx, g):
        for i, row in zip(np.ravel(index), g.reshape(-1, x.shape[-1])):
            dx[i] += row

    return x[index], scattered(x, put)


@mutant(of="getitem", killed_by="test_getitem_manners", named="float64 comes out")
def scatter_float64(x, index):
    def vjp(g):
        dx = np.zeros(x.shape)
        np.add.at(dx, index, g)
        return (dx,)

    return x[index], vjp


@mutant(of="getitem", killed_by="test_getitem_manners", named="vjp overwrites something")
def scatter_keeps_its_zeros(x, index):
    dx = np.zeros_like(x)

    def vjp(g):
        np.add.at(dx, index, g)
        return (dx.copy(),)

    return x[index], vjp


@mutant(of="getitem", killed_by="test_getitem_manners", named="x is changed in place")
def getitem_edits_x(x, index):
    out, vjp = getitem(x.copy(), index)
    x *= 0.5
    return out, vjp


@mutant(of="getitem", killed_by="test_getitem_vjp", named="g is indexed")
def getitem_vjp_indexes_g(x, index):
    return x[index], lambda g: (g[index],)


@mutant(of="getitem", killed_by="test_getitem_vjp", named="dx begins as x")
def getitem_vjp_begins_with_x(x, index):
    def vjp(g):
        dx = x.copy()
        np.add.at(dx, index, g)
        return (dx,)

    return x[index], vjp


@mutant(of="getitem", killed_by="test_getitem_value", named="np.take knows ids alone")
def getitem_takes_rows(x, index):
    return np.take(x, index, axis=0), getitem(x, index)[1]


# ---------------------------------------------------------------------------------------------
# cumsum
# ---------------------------------------------------------------------------------------------


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="from the beginning")
def cumsum_vjp_forwards(x, axis=-1):
    return cumsum(x, axis)[0], lambda g: (np.cumsum(g, axis),)


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="in its own sum, too")
def cumsum_vjp_without_its_own(x, axis=-1):
    out, vjp = cumsum(x, axis)
    return out, lambda g: (vjp(g)[0] - g,)


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="g as it came")
def cumsum_vjp_is_g(x, axis=-1):
    return cumsum(x, axis)[0], lambda g: (g,)


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="only the sums from i on")
def cumsum_vjp_of_sum(x, axis=-1):
    out, _ = cumsum(x, axis)
    return out, lambda g: (np.broadcast_to(g.sum(axis, keepdims=True), x.shape),)


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="not turned back")
def cumsum_vjp_runs_backwards(x, axis=-1):
    return cumsum(x, axis)[0], lambda g: (np.cumsum(np.flip(g, axis), axis),)


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="axis is not used")
def cumsum_last_axis_only(x, axis=-1):
    return cumsum(x, -1)


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="on the way back, axis is not used")
def cumsum_vjp_last_axis_only(x, axis=-1):
    return cumsum(x, axis)[0], cumsum(x, -1)[1]


@mutant(of="cumsum", killed_by="test_cumsum_manners", named="float64 comes out")
def cumsum_in_float64(x, axis=-1):
    return np.cumsum(x, axis, dtype=np.float64), cumsum(x, axis)[1]


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="runs on from one row into the next")
def cumsum_of_all_rows(x, axis=-1):
    return np.cumsum(x).reshape(x.shape), cumsum(x, axis)[1]


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="by how many sums x_i is in")
def cumsum_vjp_counts(x, axis=-1):
    n = x.shape[axis]
    shape = [n if i == axis % x.ndim else 1 for i in range(x.ndim)]
    return cumsum(x, axis)[0], lambda g: (g * np.arange(n, 0, -1, dtype=g.dtype).reshape(shape),)


# ---------------------------------------------------------------------------------------------
# Written from the stubs alone, by somebody who had not seen those above
# ---------------------------------------------------------------------------------------------


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_stretched",
    named="everything is summed to one number; only copies",
)
def unbroadcast_reshape(g, shape):
    return np.broadcast_to(g.sum(), shape).copy()


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_stretched",
    named="the sum over axis 1, of length 1, is missing",
)
def unbroadcast_lead_only(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    return g


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_added",
    named="the last axes are summed; the axes added by",
)
def unbroadcast_trailing(g, shape):
    while g.ndim > len(shape):
        g = g.sum(-1)
    for i, n in enumerate(shape):
        if n == 1:
            g = g.sum(i, keepdims=True)
    return g


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_stretched",
    named="an axis of length 1 is missing",
)
def unbroadcast_no_keepdims(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for i, n in enumerate(shape):
        if n == 1:
            g = g.sum(i)
    return g


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_stretched",
    named="the largest copy is taken; their sum is wanted",
)
def unbroadcast_max(g, shape):
    while g.ndim > len(shape):
        g = g.max(0) if g.size else g.sum(0)
    for i, n in enumerate(shape):
        if n == 1:
            g = g.max(i, keepdims=True) if g.size else g.sum(i, keepdims=True)
    return g


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_added",
    named="one of the copies is taken; their sum is wanted",
)
def unbroadcast_first(g, shape):
    while g.ndim > len(shape):
        g = g[0]
    for i, n in enumerate(shape):
        if n == 1:
            g = g[tuple(slice(0, 1) if k == i else slice(None) for k in range(g.ndim))]
    return g


@mutant(
    of="unbroadcast",
    killed_by="test_unbroadcast_added",
    named="the sum over the leading axes is missing",
)
def unbroadcast_none(g, shape):
    return g


@mutant(
    of="topological_order",
    killed_by="test_topological_order_parents_first",
    named="a vertex may be listed only when all of its",
)
def topological_order_pre(root, parents):
    seen = []
    stack = [root]
    while stack:
        v = stack.pop()
        if v in seen:
            continue
        seen.append(v)
        stack += list(parents(v))
    return seen[::-1]


@mutant(
    of="topological_order",
    killed_by="test_topological_order_parents_first",
    named="a vertex may be listed only when all of its",
)
def topological_order_bfs(root, parents):
    seen = [root]
    for v in seen:
        for p in parents(v):
            if p not in seen:
                seen.append(p)
    return seen[::-1]


@mutant(
    of="topological_order",
    killed_by="test_topological_order_deep",
    named="a recursion without an end, or deeper than",
)
def topological_order_identity(root, parents):
    order, seen = [], set()

    def visit(v):
        if id(v) in seen:
            return
        seen.add(id(v))
        for p in parents(v):
            visit(p)
        order.append(v)

    visit(root)
    return order


@mutant(
    of="topological_order",
    killed_by="test_topological_order_parents_first",
    named="a vertex with several children is visited once",
)
def topological_order_no_seen(root, parents):
    order = []

    def visit(v):
        for p in parents(v):
            visit(p)
        order.append(v)

    visit(root)
    return order


@mutant(
    of="topological_order",
    killed_by="test_topological_order_parents_first",
    named="this is the reverse order: parents come first",
)
def topological_order_reversed(root, parents):
    return topological_order(root, parents)[::-1]


@mutant(
    of="topological_order",
    killed_by="test_topological_order_parents_first",
    named="root belongs in the list as well",
)
def topological_order_without_root(root, parents):
    return topological_order(root, parents)[:-1]


@mutant(
    of="topological_order",
    killed_by="test_topological_order_again",
    named="a list is asked for, in order",
)
def topological_order_set(root, parents):
    return set(topological_order(root, parents))


@mutant(
    of="topological_order",
    killed_by="test_topological_order_many_paths",
    named="`if not vertex` takes them",
)
def topological_order_truthy(root, parents):
    return [v for v in topological_order(root, parents) if v]


@mutant(of="mul", killed_by="test_mul_vjp", named="each operand gets g times itself; it should be")
def mul_swapped(x, y):
    o, v = mul(x, y)
    return o, lambda g: v(g)[::-1]


@mutant(of="mul", killed_by="test_mul_vjp", named="each operand gets g times itself; it should be")
def mul_own(x, y):
    return x * y, lambda g: (unbroadcast(g * x, np.shape(x)), unbroadcast(g * y, np.shape(y)))


@mutant(of="mul", killed_by="test_mul_broadcast", named="the sum over the leading axes is missing")
def mul_no_unbroadcast(x, y):
    return x * y, lambda g: (g * y, g * x)


@mutant(of="mul", killed_by="test_mul_vjp", named="this is g alone, the gradient of a sum")
def mul_add(x, y):
    return x * y, lambda g: (unbroadcast(g, np.shape(x)), unbroadcast(g, np.shape(y)))


@mutant(of="mul", killed_by="test_mul_vjp", named="the upstream gradient g is not used")
def mul_no_g(x, y):
    o, v = mul(x, y)
    return o, lambda g: v(np.ones_like(g))


@mutant(of="mul", killed_by="test_mul_vjp", named="a gradient is missing: there is one for each")
def mul_only_x(x, y):
    o, v = mul(x, y)
    return o, lambda g: (v(g)[0],)


@mutant(
    of="mul", killed_by="test_mul_broadcast", named="+= cannot enlarge an array by broadcasting"
)
def mul_out_in_place(x, y):
    _o, v = mul(x, y)
    x *= y
    return x, v


@mutant(of="exp", killed_by="test_exp_vjp", named="this is g * x")
def exp_no_out(x):
    return np.exp(x), lambda g: (g * x,)


@mutant(of="exp", killed_by="test_exp_vjp", named="this is g alone")
def exp_just_g(x):
    return np.exp(x), lambda g: (g,)


@mutant(of="exp", killed_by="test_exp_value", named="the base is e, not 2")
def exp_two(x):
    return 2.0**x, lambda g: (g * 2.0**x,)


@mutant(of="exp", killed_by="test_exp_value", named="this is eˣ - 1")
def exp_expm1(x):
    return np.expm1(x), lambda g: (g * np.exp(x),)


@mutant(of="exp", killed_by="test_exp_vjp", named="this is g divided by the slope")
def exp_log(x):
    return np.exp(x), lambda g: (g / np.exp(x),)


@mutant(of="exp", killed_by="test_exp_value", named="x is cut off at")
def exp_clip(x):
    return np.exp(np.clip(x, -50, 50)), exp(x)[1]


@mutant(of="sum", killed_by="test_sum_vjp", named="two shapes do not broadcast: is an axis")
def sum_no_spread(x, axis=None, keepdims=False):
    o, _ = total(x, axis, keepdims)
    return o, lambda g: (np.ones_like(x) * g,)


@mutant(of="sum", killed_by="test_sum_value", named="this is the mean")
def sum_mean(x, axis=None, keepdims=False):
    o, v = total(x, axis, keepdims)
    n = x.size / max(1, np.size(o))
    return o / n if n else o, lambda g: (v(g)[0] / n if n else v(g)[0],)


@mutant(of="sum", killed_by="test_sum_value", named="axis is not used")
def sum_all(x, axis=None, keepdims=False):
    return total(x, None, keepdims)


@mutant(
    of="sum", killed_by="test_sum_value", named="keepdims is not used: this is what its default"
)
def sum_keepdims_ignored(x, axis=None, keepdims=False):
    return total(x, axis)


@mutant(of="sum", killed_by="test_sum_value", named="axis = 0 is taken for None")
def sum_axis0_falsy(x, axis=None, keepdims=False):
    return total(x, axis or None, keepdims)


@mutant(of="sum", killed_by="test_sum_vjp", named="two shapes do not broadcast: is an axis")
def sum_int_axis_only(x, axis=None, keepdims=False):
    o, _ = total(x, axis, keepdims)
    return o, lambda g: (
        (
            np.broadcast_to(g, x.shape)
            if axis is None or keepdims
            else np.broadcast_to(
                np.expand_dims(g, axis if isinstance(axis, int) else axis[0]), x.shape
            )
        ),
    )


@mutant(of="sum", killed_by="test_sum_vjp", named="this is the upstream gradient g as it came")
def sum_g_shape(x, axis=None, keepdims=False):
    return total(x, axis, keepdims)[0], lambda g: (g,)


@mutant(of="sum", killed_by="test_sum_vjp", named="the upstream gradient g is not used")
def sum_ones(x, axis=None, keepdims=False):
    return total(x, axis, keepdims)[0], lambda g: (np.ones_like(x),)


@mutant(
    of="matmul", killed_by="test_matmul_vjp", named="two matrices do not fit: must one of them be"
)
def matmul_not_transposed(x, y):
    o, _v = matmul(x, y)
    return o, lambda g: (g @ y, x @ g)


@mutant(
    of="matmul",
    killed_by="test_matmul_stacks",
    named="two matrices do not fit: must one of them be",
)
def matmul_all_axes_transposed(x, y):
    return x @ y, lambda g: (g @ y.T, x.T @ g)


@mutant(
    of="matmul", killed_by="test_matmul_vjp", named="this is the gradient of y: gradients go in the"
)
def matmul_swapped(x, y):
    o, v = matmul(x, y)
    return o, lambda g: v(g)[::-1]


@mutant(
    of="matmul", killed_by="test_matmul_stacks", named="the sum over the leading axes is missing"
)
def matmul_not_unbroadcast(x, y):
    return x @ y, lambda g: (g @ np.swapaxes(y, -1, -2), np.swapaxes(x, -1, -2) @ g)


@mutant(of="matmul", killed_by="test_matmul_vectors", named="of two vectors, g is one number")
def matmul_outer_forgot(x, y):
    o, v = matmul(x, y)
    if x.ndim == 1 and y.ndim == 1:
        return o, lambda g: (g, g)
    return o, v


@mutant(
    of="matmul", killed_by="test_matmul_vjp", named="dy is transposed: (gᵀ x) where xᵀ g belongs"
)
def matmul_dy_order(x, y):
    o, v = matmul(x, y)

    def w(g):
        if x.ndim > 1 and y.ndim > 1:
            return v(g)[0], unbroadcast(
                np.swapaxes(np.swapaxes(x, -1, -2) @ g, -1, -2),
                np.shape(y)[:-2] + np.shape(y)[:-3:-1],
            )
        return v(g)

    return o, w


@mutant(
    of="getitem",
    killed_by="test_getitem_repeats",
    named="equal ids overwrite each other, so one counts",
)
def getitem_assign(x, i):
    def v(g):
        d = np.zeros_like(x)
        d[i] = g
        return (d,)

    return x[i], v


@mutant(
    of="getitem",
    killed_by="test_getitem_repeats",
    named="equal ids overwrite each other, so one counts",
)
def getitem_added_with_iadd(x, i):
    def v(g):
        d = np.zeros_like(x)
        d[i] += g
        return (d,)

    return x[i], v


@mutant(
    of="getitem", killed_by="test_getitem_vjp", named="this is the upstream gradient g as it came"
)
def getitem_just_g(x, i):
    return x[i], lambda g: (g,)


@mutant(of="getitem", killed_by="test_getitem_vjp", named="the upstream gradient g is not used")
def getitem_ones(x, i):
    def v(g):
        d = np.zeros_like(x)
        np.add.at(d, i, 1)
        return (d,)

    return x[i], v


@mutant(
    of="getitem",
    killed_by="test_getitem_repeats",
    named="this is the mean over equal ids; the sum is",
)
def getitem_mean(x, i):
    def v(g):
        d = np.zeros_like(x)
        n = np.zeros_like(x)
        np.add.at(d, i, g)
        np.add.at(n, i, 1)
        return (d / np.maximum(n, 1),)

    return x[i], v


@mutant(
    of="getitem",
    killed_by="test_getitem_manners",
    named="float64 comes out where float32 went in: an",
)
def getitem_in_float64(x, i):
    def v(g):
        d = np.zeros(x.shape)
        np.add.at(d, i, g)
        return (d,)

    return x[i], v


@mutant(of="getitem", killed_by="test_getitem_vjp", named="every entry is off by +0.5")
def getitem_empty(x, i):
    def v(g):
        d = np.ones_like(x)
        np.add.at(d, i, g)
        return (d - 0.5,)

    return x[i], v


# ---------------------------------------------------------------------------------------------
# What is equal and not the same, numbers beyond the largest, negative axes, 0 as a name
# ---------------------------------------------------------------------------------------------


@mutant(of=order_of, killed_by=parents_first, named="is visited once for each")
def order_by_identity(root, parents):
    order, seen = [], []

    def walk(vertex):
        seen.append(vertex)  # kept, so that no other object gets its address
        for parent in parents(vertex):
            if not any(parent is one for one in seen):
                walk(parent)
        order.append(vertex)

    walk(root)
    return order


@mutant(of=order_of, killed_by=parents_first, named="`if not vertex` takes them for nothing")
def order_without_the_falsy(root, parents):
    return [vertex for vertex in topological_order(root, parents) if vertex]


@mutant(of=order_of, killed_by="test_topological_order_again", named="in a tuple: list(…)")
def order_in_a_tuple(root, parents):
    return tuple(topological_order(root, parents))


@mutant(of="exp", killed_by="test_exp_value", named="math's functions raise")
def exp_by_math(x):
    values = [math.exp(one) for one in np.ravel(x).tolist()]
    return np.array(values, x.dtype).reshape(x.shape), exp(x)[1]


@mutant(of="exp", killed_by="test_exp_value", named="x is cut off at 709")
def exp_cut_off(x):
    return exp(np.minimum(x, 709))


@mutant(of="exp", killed_by="test_exp_vjp", named="the slope is taken at the output")
def exp_slope_at_the_output(x):
    out = np.exp(x)
    return out, lambda g: (g * np.exp(out),)


@mutant(of="sum", killed_by="test_sum_vjp", named="np.expand_dims takes all at once")
def sum_axes_put_back_one_by_one(x, axis=None, keepdims=False):
    def vjp(g):
        if not keepdims and type(axis) is tuple:
            for one in axis:
                g = np.expand_dims(g, one)
            return (g + np.zeros_like(x),)
        return total(x, axis, keepdims)[1](g)

    return np.sum(x, axis, keepdims=keepdims), vjp


@mutant(of="sum", killed_by="test_sum_vjp", named="g is multiplied by x")
def sum_times_x(x, axis=None, keepdims=False):
    out, vjp = total(x, axis, keepdims)
    return out, lambda g: (x * vjp(g)[0],)


@mutant(of="matmul", killed_by="test_matmul_manners", named="writes into an input of the forward")
def matmul_vector_reshaped_for_good(x, y):
    out = x @ y

    def vjp(g):
        dx, dy = matmul(x.reshape(-1) if out.ndim < y.ndim else x, y)[1](g)
        if x.ndim == 1 < y.ndim:
            x.shape = (1, -1)
            return dx.reshape(dx.shape), dy
        return dx.reshape(x.shape), dy

    return out, vjp


@mutant(of=order_of, killed_by=parents_first, named="root belongs in the list as well")
def order_up_to_the_root(root, parents):
    return topological_order(root, parents)[:-1]


@mutant(of="cumsum", killed_by="test_cumsum_vjp", named="g is turned round, and not summed")
def cumsum_g_turned_round(x, axis=-1):
    return np.cumsum(x, axis), lambda g: (np.flip(g, axis),)
