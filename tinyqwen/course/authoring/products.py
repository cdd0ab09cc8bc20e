"""What a wrong count is made of: a product of sizes, or the right count and a product too many.

A count is a sum of products, of layers, heads and widths. Whoever takes another size, drops a
factor or counts something twice returns another product, and its factors tell which, whatever the
mistake is: nothing has to be listed. It is told only where no other product has that number.
"""

import math
from fractions import Fraction
from itertools import combinations, permutations

COEFFICIENTS = (1, 2, 3)  # with larger ones, and with squares, chance finds a product too often


def made_of(yours, expected, sizes, most=3, beside=True):
    """What a wrong count is, in words, or None.

    sizes: {name: number} of what may be counted; of several with one number none is told apart
    most:  how many sizes a product may have, each once
    beside: whether the right count and a product more or less is told, too
    """
    numbers = [yours, expected]
    if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
        return None
    if told := _product(yours, sizes, most):
        return f"this is {told}"
    step = yours - expected
    if beside and (told := _product(abs(step), sizes, most - 1)):
        return f"that is {abs(step):.10g} too {'many' if step > 0 else 'few'}: {told}"
    return None


def exchange_of(yours, expected, sizes):
    """Which size is a factor too many or too few, or stands in another's place, or None.

    Told only of the one size, or the one pair, that has this ratio; small ratios are chance.
    """
    numbers = [yours, expected]
    if not all(isinstance(n, (int, float)) and math.isfinite(n) and n > 0 for n in numbers):
        return None
    ratio = Fraction(yours) / Fraction(expected)
    if max(ratio.numerator, ratio.denominator) <= 4:
        return None
    found = [f"{name} is a factor too many" for name, n in sizes.items() if ratio == n]
    found += [f"the factor {name} is missing" for name, n in sizes.items() if ratio * n == 1]
    if not found:
        pairs = permutations(sizes.items(), 2)
        found = [f"{a} stands where {b} belongs" for (a, n), (b, m) in pairs if ratio * m == n]
    return found[0] if len(found) == 1 else None


def _product(number, sizes, most):
    """The one shortest product of sizes that has this number, or None."""
    if number < 2:
        return None
    for count in range(1, most + 1):
        found = [
            (coefficient, names)
            for names in combinations(sizes, count)
            for coefficient in COEFFICIENTS
            if coefficient * math.prod(sizes[name] for name in names) == number
        ]
        if len(found) == 1:
            (coefficient, names), *_ = found
            return " · ".join([str(coefficient)] * (coefficient > 1) + [*names])
        if found:
            return None
    return None
