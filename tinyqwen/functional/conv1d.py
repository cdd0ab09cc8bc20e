"""GPT-2's linear layer."""

from tinyqwen.autograd.tensor import primitive
from tinyqwen.functional.linear import linear


@primitive
def conv1d(x, weight, bias):
    """y = x W + b with weight (in_features, out_features): GPT-2's linear layer.

    x (..., in_features), bias (out_features,). It is `linear` with the weight turned round, which
    costs nothing: a transposed view.
    """
    out, linear_vjp = linear.raw(x, weight.T, bias)

    def vjp(g):
        dx, dweight, dbias = linear_vjp(g)
        return dx, dweight.T, dbias

    return out, vjp
