"""By which formula a student's numbers come about: a product of known factors, or a sum of two.

A value or a gradient is made of a few factors, x and its sigmoid, g and the weights. Whoever leaves
one out, takes another or misplaces a bracket returns another formula of them. It is read off the
numbers, and true of them whatever the mistake was: nothing has to be listed.
"""

from itertools import combinations_with_replacement
from math import comb

import numpy as np

from tinyqwen.course.authoring.agreement import agrees

COEFFICIENTS = {"": 1.0, "-": -1.0, "2 ": 2.0, "-2 ": -2.0, "½ ": 0.5, "-½ ": -0.5}
MOST = 5000  # products that are tried


def formula_of(yours, factors, terms=()):
    """The simplest formula that gives `yours`, as text, or None.

    factors: {name: array}; where together they have more rows than `yours`, each product is summed
             over the axes that `yours` lacks
    terms:   {name: array} of the right formula, where it has three: one of them may stand beside
    """
    target = yours.ravel().astype(np.float64)
    shape = np.broadcast_shapes(yours.shape, *(np.shape(f) for f in factors.values()))
    columns = {name: np.broadcast_to(f, shape).ravel() for name, f in factors.items()}
    columns = {name: column for name, column in columns.items() if _ordinary(column)}
    if target.size < 3 or not _ordinary(target) or not columns:
        return None
    if shape[len(shape) - yours.ndim :] != yours.shape:
        return None
    names, products = _products(columns)
    summed = "Σ " if len(shape) > yours.ndim else ""
    products = products.reshape(len(names), -1, target.size).sum(1)
    found = _sums(target, [summed + name for name in names], products)
    for name, term in dict(terms).items():
        beside = target - np.broadcast_to(term, yours.shape).ravel()
        found += [f"{text} + {name}" for text in _sums(beside, names, products)]
    return min(found, key=len).replace("+ -", "- ") if found else None


def _ordinary(array):
    """True for finite numbers, neither huge nor all alike: of others many formulas are true."""
    return np.isfinite(array).all() and np.abs(array).max() < 1e4 and np.unique(array).size > 1


def _products(columns):
    """The names and values of all products of a few factors, and one divided by them."""
    factors = [(name, False, column) for name, column in columns.items()]
    factors += [(name, True, 1 / column) for name, column in columns.items() if column.all()]
    most = max(n for n in range(1, 5) if n == 1 or comb(len(factors) + n, n) <= MOST)
    seen = {}
    for count in range(most + 1):
        for chosen in combinations_with_replacement(factors, count):
            over, under = ([name for name, below, _ in chosen if below == b] for b in (False, True))
            if set(over) & set(under):
                continue
            value = np.ones(len(factors[0][2]))
            for *_, column in chosen:
                value = value * column
            key = f"{value @ np.cos(np.arange(value.size)):.9e}"
            seen.setdefault(key, (_spelled(over, under), value))
    return [name for name, _ in seen.values()], np.array([value for _, value in seen.values()])


def _spelled(over, under):
    return (" · ".join(_powers(over)) or "1") + "".join(f" / {name}" for name in _powers(under))


def _powers(names):
    return [n + {1: "", 2: "²", 3: "³", 4: "⁴"}[names.count(n)] for n in dict.fromkeys(names)]


def _sums(target, names, products):
    """The texts of what has one or two of the products and gives the target."""
    signed = [sign + name for sign in COEFFICIENTS for name in names]
    values = np.concatenate([c * products for c in COEFFICIENTS.values()])
    weights = np.cos(np.arange(target.size) * 1.7)  # one number stands for a column
    sums, wanted = values @ weights, target @ weights
    room = 1e-7 * (1 + abs(wanted))

    def fits(made):
        return agrees(made, target, 1e-7)

    alone = [i for i in np.flatnonzero(np.abs(sums - wanted) < room) if fits(values[i])]
    if alone:
        return [signed[i] for i in alone]
    order = np.argsort(sums)
    first, last = (np.searchsorted(sums[order], wanted - sums + step) for step in (-room, room))
    pairs = [
        (i, j)
        for i in np.flatnonzero(last > first)
        for j in order[first[i] : last[i]]
        if i < j and fits(values[i] + values[j])
    ]
    return [f"{signed[i]} + {signed[j]}" for i, j in pairs]
