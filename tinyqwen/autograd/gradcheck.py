"""Numerical against analytic gradients: the referee of every VJP in the house."""

import numpy as np

from tinyqwen.autograd.grad_mode import enable_grad, no_grad
from tinyqwen.autograd.tensor import Tensor, grad


def gradcheck(fn, *inputs, eps=1e-6, rtol=1e-5, atol=1e-7, seed=0):
    """Compare every entry of fn's gradients with central differences, in float64.

    fn:     maps Tensors to a Tensor, or to a tuple of Tensors
    inputs: Tensors or arrays; floating-point ones are checked, others (ids, masks) are passed on
    The outputs are dotted with a random upstream gradient u, for a gradient of ones hides mistakes
    (softmax's is zero then), and for each entry x_i

        (L(x + eps e_i) - L(x - eps e_i)) / (2 eps)      with  L(x) = Σ u · fn(x)

    must agree with the analytic gradient within atol + rtol · its largest entry.
    Returns True, or raises AssertionError with the input, the worst index and both values.
    """
    arrays = [np.array(x.data if isinstance(x, Tensor) else x) for x in inputs]
    checked = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    for i in checked:
        arrays[i] = arrays[i].astype(np.float64)

    def outputs(tensors):
        out = fn(*tensors)
        return out if isinstance(out, tuple) else (out,)

    with enable_grad():
        tensors = [Tensor(a, requires_grad=i in checked) for i, a in enumerate(arrays)]
        outs = outputs(tensors)
        rng = np.random.default_rng(seed)
        upstream = [rng.standard_normal(out.shape) for out in outs]
        total = sum((out * u).sum() for out, u in zip(outs, upstream))
        analytic = grad(total, [tensors[i] for i in checked])

    def loss():
        with no_grad():
            return sum(
                float(np.sum(out.data * u))
                for out, u in zip(outputs(map(Tensor, arrays)), upstream)
            )

    for i, found in zip(checked, analytic):
        found = np.zeros_like(arrays[i]) if found is None else found
        expected = np.empty_like(arrays[i])
        for index in np.ndindex(arrays[i].shape):
            x = arrays[i][index]
            arrays[i][index] = x + eps
            above = loss()
            arrays[i][index] = x - eps
            expected[index] = (above - loss()) / (2 * eps)
            arrays[i][index] = x
        error = np.abs(found - expected)
        # written so that a NaN, which compares as False with everything, fails
        if error.size and not error.max() <= atol + rtol * np.abs(expected).max() < np.inf:
            worst = tuple(int(n) for n in np.unravel_index(error.argmax(), error.shape))
            raise AssertionError(
                f"gradcheck: input {i}, index {worst}: analytic {found[worst]:.9g}, "
                f"numerical {expected[worst]:.9g} (input shape {arrays[i].shape})"
            )
    return True
