"""By which formula a student's numbers come about: a product of known factors, or a sum of two.

A value or a gradient is made of a few factors, x and its sigmoid, g and the weights. Whoever leaves
one out, takes another or misplaces a bracket returns another formula of them. It is read off the
numbers, and true of them whatever the mistake was: nothing has to be listed.
"""

from itertools import chain, combinations_with_replacement
from math import comb

import numpy as np

from tinyqwen.course.authoring.agreement import agrees

COEFFICIENTS = {"": 1.0, "-": -1.0, "2 ": 2.0, "-2 ": -2.0, "½ ": 0.5, "-½ ": -0.5}
MOST = 5000  # products that are tried


def formula_of(yours, factors, terms=()):
    """The simplest formula that gives `yours`, as text, or None.

    factors: {name: array}; where together they have more rows than `yours`, each product is summed
             over the axes that `yours` lacks
    terms:   {name: array} of the right formula: one of them may stand beside
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
    names = [summed + name for name in names]
    found = _multiple(target, names, products) or _sums(target, names, products)
    for name, term in () if found else dict(terms).items():
        beside = target - np.broadcast_to(term, yours.shape).ravel()
        if beside.any():
            texts = _multiple(beside, names, products) or _sums(beside, names, products)
            found += [f"{text} + {name}" for text in texts]
    return min(found, key=len).replace("+ -", "- ") if found else None


def _ordinary(array):
    """True for finite numbers, neither huge nor all alike: of others many formulas are true."""
    return np.isfinite(array).all() and np.abs(array).max() < 1e4 and np.unique(array).size > 1


def _products(columns):
    """The names and values of all products of a few factors, and one divided by them."""
    above = [(name, False, column) for name, column in columns.items()]
    below = [(name, True, 1 / column) for name, column in columns.items() if column.all()]
    norms = [factor for factor in below if (factor[2] > 0).all()]  # what is divided by, most often
    seen = {}
    for factors in (above + below, above + norms, above):  # of fewer factors, longer products
        most = max(n for n in range(1, 6) if n == 1 or comb(len(factors) + n, n) <= MOST)
        several = (combinations_with_replacement(factors, n) for n in range(most + 1))
        for chosen in chain.from_iterable(several):
            over, under = ([name for name, down, _ in chosen if down == d] for d in (False, True))
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
    return [
        n + {1: "", 2: "²", 3: "³", 4: "⁴", 5: "⁵"}[names.count(n)] for n in dict.fromkeys(names)
    ]


def _multiple(target, names, products):
    """The texts of those products that give the target, times any number."""
    with np.errstate(all="ignore"):
        factors = products @ target / np.square(products).sum(1)
    found = []
    for i in np.flatnonzero(np.isfinite(factors)):
        c = float(factors[i])
        if agrees(c * products[i], target, 1e-7) and np.unique(products[i]).size > 1:
            told = {1.0: "", -1.0: "-", 0.5: "½ ", -0.5: "-½ "}.get(round(c, 6), f"{c:.5g} ")
            found.append(told + names[i])
    return found


def _sums(target, names, products):
    """The texts of what is the sum of two of the products and gives the target."""
    signed = [sign + name for sign in COEFFICIENTS for name in names]
    values = np.concatenate([c * products for c in COEFFICIENTS.values()])
    weights = np.cos(np.arange(target.size) * 1.7)  # one number stands for a column
    sums, wanted = values @ weights, target @ weights
    room = 1e-7 * (1 + abs(wanted))

    def fits(made):
        return agrees(made, target, 1e-7)

    order = np.argsort(sums)
    first, last = (np.searchsorted(sums[order], wanted - sums + step) for step in (-room, room))
    pairs = [
        (i, j)
        for i in np.flatnonzero(last > first)
        for j in order[first[i] : last[i]]
        if i < j and fits(values[i] + values[j])
    ]
    return [f"{signed[i]} + {signed[j]}" for i, j in pairs]
