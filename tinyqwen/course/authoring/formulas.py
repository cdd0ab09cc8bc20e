"""By which formula a student's numbers come about: a product of known factors, or a sum of two.

A value or a gradient is made of a few factors, x and its sigmoid, g and the weights. Whoever leaves
one out, takes another or misplaces a bracket returns another formula of them. It is read off the
numbers, and true of them whatever the mistake was: nothing has to be listed.
"""

from itertools import combinations_with_replacement

import numpy as np

from tinyqwen.course.authoring.agreement import agrees

COEFFICIENTS = {"": 1.0, "-": -1.0, "2 ": 2.0, "-2 ": -2.0, "½ ": 0.5, "-½ ": -0.5}


def formula_of(yours, factors, terms=(), most=4):
    """The simplest formula that gives `yours`, as text, or None.

    factors: {name: array}, which broadcast to `yours`
    terms:   {name: array} of the right formula, where it has three: one of them may stand beside
    most:    how many factors a product has
    """
    target = yours.ravel().astype(np.float64)
    columns = {n: np.broadcast_to(f, yours.shape).ravel() for n, f in factors.items()}
    if target.size < 3 or not _ordinary(target) or not all(map(_ordinary, columns.values())):
        return None
    names, products = _products(columns, most)
    known = {"": 0 * target} | {
        f" + {name}": np.broadcast_to(term, yours.shape).ravel()
        for name, term in dict(terms).items()
    }
    found = []
    for beside, term in known.items():
        found += [text + beside for text in _sums(target - term, names, products)]
    return min(found, key=len).replace("+ -", "- ") if found else None


def _ordinary(array):
    """True for finite numbers, neither huge nor all alike: of others many formulas are true."""
    return np.isfinite(array).all() and np.abs(array).max() < 1e4 and np.unique(array).size > 1


def _products(columns, most):
    """The names and values of all products of at most so many factors, each as simple as can be."""
    factors = {"1": None} | columns
    factors |= {f"/ {name}": 1 / column for name, column in columns.items() if column.all()}
    names, values, seen = [], [], set()
    size = len(next(iter(columns.values())))
    for count in range(most + 1):
        for chosen in combinations_with_replacement([*factors][1:], count):
            if any(name.removeprefix("/ ") in chosen for name in chosen if name[:2] == "/ "):
                continue
            value = np.prod([factors[name] for name in chosen], axis=0) * np.ones(size)
            key = tuple(np.format_float_scientific(n, 8) for n in value[:3])
            if key not in seen:
                seen.add(key)
                names.append(_spelled(chosen))
                values.append(value)
    return names, np.array(values)


def _spelled(chosen):
    over = " · ".join(_powers([n for n in chosen if n[:2] != "/ "])) or "1"
    under = _powers([n.removeprefix("/ ") for n in chosen if n[:2] == "/ "])
    return over + "".join(f" / {name}" for name in under)


def _powers(names):
    return [n + {1: "", 2: "²", 3: "³", 4: "⁴"}[names.count(n)] for n in dict.fromkeys(names)]


def _sums(target, names, products):
    """The texts of what has one or two of the products and gives the target."""
    signed = [
        (sign + name, c * p) for sign, c in COEFFICIENTS.items() for name, p in zip(names, products)
    ]
    values = np.array([value for _, value in signed])
    weights = np.cos(np.arange(target.size) * 1.7)  # one number stands for a column
    sums, wanted = values @ weights, target @ weights
    order = np.argsort(sums)
    room = 1e-7 * (1 + abs(wanted))

    def fits(made):
        return agrees(made, target, 1e-7)

    alone = [i for i in np.flatnonzero(np.abs(sums - wanted) < room) if fits(values[i])]
    if alone:
        return [signed[i][0] for i in alone]
    first, last = (np.searchsorted(sums[order], wanted - sums + step) for step in (-room, room))
    pairs = [
        (i, j)
        for i in np.flatnonzero(last > first)
        for j in order[first[i] : last[i]]
        if i < j and fits(values[i] + values[j])
    ]
    return [f"{signed[i][0]} + {signed[j][0]}" for i, j in pairs]
