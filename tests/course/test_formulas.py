"""Wrong numbers are spelled as the formula by which they come about, and nothing is made up."""

import numpy as np
import pytest

from tinyqwen.course.authoring.formulas import formula_of

g, x = np.random.default_rng(1).standard_normal((2, 3, 4))
s, w = 1 / (1 + np.exp(-x)), g[0] + 2
FACTORS = {"g": g, "x": x, "s": s, "(1 - s)": 1 - s, "w": w}


@pytest.mark.parametrize(
    ("yours", "told"),
    [
        (g * s, "g · s"),
        (g * x * x / w, "g · x² / w"),
        (-g, "-g"),
        (0.5 * x, "½ x"),
        (g * s * np.pi, "3.1416 g · s"),
        (g * s - g * x * s, "g · s - g · x · s"),
        (x + 1, "1 + x"),
        (g * x * s * (1 - s) ** 2, "g · x · s · (1 - s)²"),
        ((g * x / w).sum(0), "Σ g · x / w"),
    ],
)
def test_a_formula_is_read_off_the_numbers(yours, told):
    factors = {} if told.startswith("Σ") else {"(1 - s)": 1 - s}
    found = formula_of(yours, {**FACTORS, **factors})
    assert sorted(found.replace("- ", "-").split()) == sorted(told.replace("- ", "-").split())


def test_a_term_that_is_right_may_stand_beside():
    terms = {"the first": g * s, "the second": g * x, "the third": g / w}
    made = g * s + 0.3 * g * x * x
    assert formula_of(made, FACTORS, terms) == "0.3 g · x² + the first"


@pytest.mark.parametrize("yours", [np.sin(g) * x, np.zeros((3, 4)), x[:1, :2], np.inf * x])
def test_nothing_is_told_of_other_numbers(yours):
    assert formula_of(yours, {"g": g[: len(yours), : yours.shape[1]]}) is None
