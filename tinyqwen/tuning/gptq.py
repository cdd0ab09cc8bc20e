"""GPTQ: rounding a matrix column by column, while what is left makes up for the errors.

For the layer's inputs X on some text, the error of its output is ‖(W - Ŵ) X‖² = Σ_rows e H eᵀ with
the Hessian H = 2 X Xᵀ. With one weight rounded, the best change of those still free is known in
closed form; its coefficients are rows of the Cholesky factor of H⁻¹. (Frantar et al. 2022, "GPTQ:
accurate post-training quantization for generative pre-trained transformers", sections 3 and 4.)
"""

import numpy as np

from tinyqwen import nn
from tinyqwen.autograd.grad_mode import no_grad
from tinyqwen.autograd.tensor import Tensor
from tinyqwen.tuning.packing import group_scales, narrowed_scales, to_codes

DAMPING = 0.01  # of the mean diagonal, added to H so that it can be inverted
BLOCK = 128  # inputs whose errors are kept before they reach the rest of the matrix


def gptq_column(weight, i, factor, scale, zero, bits):
    """Round input i, and let the inputs after it make up for the error.

    weight (in, out): rows before i are rounded; factor (in, in) upper triangular, UᵀU = H⁻¹; scale,
    zero (out,). With e = (w_i - ŵ_i) / U_ii, every later row j becomes w_j - U_ij e  (algorithm 1).
    Returns codes (out,), the new weight, whose row i is ŵ_i, and e (out,). `weight` is not changed.

    >>> weight, factor = np.array([[0.4], [1.0]]), np.array([[1.0, 0.5], [0.0, 1.0]])
    >>> codes, new, e = gptq_column(weight, 0, factor, np.array([1.0]), np.array([2]), 2)
    >>> codes, new[:, 0], e
    (array([2], dtype=uint8), array([0. , 0.8]), array([0.4]))
    """
    codes = to_codes(weight[i], scale, zero, bits)
    rounded = scale.astype(weight.dtype) * (codes.astype(weight.dtype) - zero)
    e = (weight[i] - rounded) / factor[i, i]
    new = weight.copy()
    new[i] = rounded
    new[i + 1 :] -= np.outer(factor[i, i + 1 :], e)
    return codes, new, e


def inverse_factor(hessian, damping=DAMPING):
    """U upper triangular with UᵀU = (H + λ I)⁻¹, λ = damping · mean of H's diagonal.

    Raises ValueError if H has no inverse even so.
    """
    hessian = hessian + damping * float(np.mean(np.diag(hessian))) * np.eye(len(hessian))
    try:
        factor = np.linalg.cholesky(np.linalg.inv(hessian)).T
    except np.linalg.LinAlgError:
        factor = np.array(np.nan)
    if not np.isfinite(factor).all():
        raise ValueError("the Hessian has no inverse; calibrate with more text")
    return factor


def gptq_quantize(weight, hessian, bits, group_size, sym=False, desc_act=True):
    """Round a matrix to codes with feedback of the errors.

    weight (in, out), hessian (in, in). desc_act: the inputs that matter most, of the largest
    diagonal entries, come first, while much is left to make up for them; groups are then of inputs
    in that order. 2 bits take `narrowed_scales`, which more than halves what they cost.
    Returns codes (in, out) uint8, scales float16 and zeros (groups, out), and g_idx (in,) int32,
    the group of each input. Computed in float64.
    """
    n, out = weight.shape
    weight, hessian = weight.astype(np.float64), hessian.astype(np.float64)
    dead = np.diag(hessian) == 0  # inputs that were always 0: their weights have nothing to say
    hessian[dead, dead] = 1
    weight[dead] = 0
    order = np.argsort(-np.diag(hessian), kind="stable") if desc_act else np.arange(n)
    weight, factor = weight[order], inverse_factor(hessian[np.ix_(order, order)])

    codes = np.empty((n, out), np.uint8)
    scales = np.empty((n // group_size, out), np.float16)
    zeros = np.empty((n // group_size, out), int)
    scales_of = narrowed_scales if bits == 2 else group_scales
    block = max(group_size, BLOCK // group_size * group_size)  # whole groups
    for start in range(0, n, block):
        stop = min(start + block, n)
        inside, errors = weight[start:stop], np.empty((stop - start, out))
        own = factor[start:stop, start:stop]
        for i in range(stop - start):
            group = (start + i) // group_size
            if i % group_size == 0:
                members = inside[i : i + group_size]
                scales[group], zeros[group] = scales_of(members, bits, sym)
            codes[start + i], rest, errors[i] = gptq_column(
                inside[i:], 0, own[i:, i:], scales[group], zeros[group], bits
            )
            inside[i:] = rest
        weight[stop:] -= factor[start:stop, stop:].T @ errors

    back = np.argsort(order)
    g_idx = (np.arange(n) // group_size)[back].astype(np.int32)
    return codes[back], scales, zeros, g_idx


class _Recorder(nn.Module):
    """A linear layer that adds up 2 X Xᵀ of its inputs."""

    def __init__(self, layer):
        self.layer, self.count = layer, 0
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.hessian = np.zeros((layer.in_features,) * 2)

    def forward(self, x):
        rows = (x.data if isinstance(x, Tensor) else x).reshape(-1, self.in_features)
        self.hessian += 2 * (rows.T @ rows)
        self.count += len(rows)
        return self.layer(x)


def hessians(model, paths, calibration):
    """{path: H} of linear layers, H = 2/n X Xᵀ over the inputs that they get on a text.

    calibration: arrays of token ids (B, T).
    """
    recorders = {path: _Recorder(model.get_submodule(path)) for path in paths}
    training = model.training
    for path, recorder in recorders.items():
        model.set_submodule(path, recorder)
    model.eval()
    try:
        with no_grad():
            for ids in calibration:
                model(ids)
    finally:
        for path, recorder in recorders.items():
            model.set_submodule(path, recorder.layer)
        model.train(training)
    return {path: r.hessian / max(1, r.count) for path, r in recorders.items()}
