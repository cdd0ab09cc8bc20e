"""A gradient that is a sum of terms: which is missing, has a wrong sign, or is out of proportion.

Most VJPs are a few terms, one for each path on which an input acts. Whoever forgets a path, or
gives it another sign or factor, returns another combination of the same terms. Its coefficients say
which, whatever the mistake is: nothing has to be listed.
"""

import numpy as np

from tinyqwen.course.authoring.agreement import agrees


def misweighted(yours, terms, meaning=lambda ratio: ""):
    """What is wrong with `yours` as a combination of terms that should each count once, or None.

    terms: {name: array}, of which the right answer is the sum; None if `yours` is no combination
    meaning: ratio -> ": that is …", or ""
    """
    arrays = [np.broadcast_to(term, yours.shape).ravel() for term in terms.values()]
    columns = np.stack(arrays, axis=1).astype(np.float64)
    if not np.isfinite(columns).all() or not np.isfinite(yours).all():
        return None
    weights, _, rank, _ = np.linalg.lstsq(columns, yours.ravel().astype(np.float64), rcond=1e-9)
    if rank < len(terms) or yours.size < 2 * len(terms):
        return None  # with so few numbers every combination would fit
    if not agrees(columns @ weights, yours.ravel().astype(np.float64), 1e-5):
        return None
    wrong = [(name, w) for name, w in zip(terms, weights) if abs(w - 1) > 1e-5]
    return " and ".join(_told(name, w, meaning) for name, w in wrong) or None


def _told(name, weight, meaning):
    if abs(weight) < 1e-6:
        return f"{name} is missing"
    if abs(weight + 1) < 1e-5:
        return f"{name} has the wrong sign"
    return f"{name} is {weight:.6g} times what it should be{meaning(weight)}"
