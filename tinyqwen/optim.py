"""AdamW, gradient clipping, and the learning-rate schedule."""

import math
from itertools import pairwise

import numpy as np

PIECE = 1 << 15  # numbers updated at a time: eight arrays of 128 KB stay in a core's L2 cache


def adamw_step(
    parameter, gradient, m, v, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2
):
    """One update of AdamW, Adam with decoupled weight decay; returns the new (parameter, m, v).

        m ← β₁ m + (1 - β₁) g           v ← β₂ v + (1 - β₂) g²
        p ← p - lr · wd · p - lr · m̂ / (√v̂ + ε),      m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    parameter, gradient, m, v: arrays of one shape; m and v are zeros before the first update.
    step: t, 1 for the first update. betas: (β₁, β₂). weight_decay: wd. None of the arrays is
    changed. Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, algorithm 2.
    """
    beta1, beta2 = betas
    scratch = (1 - beta1) * gradient
    m = beta1 * m
    m += scratch
    np.multiply(gradient, gradient, out=scratch)
    scratch *= 1 - beta2
    v = beta2 * v
    v += scratch
    np.sqrt(v, out=scratch)
    # m̂ / (√v̂ + ε) = m / (√v + ε c) · c / (1 - β₁ᵗ), one pass less (Kingma & Ba, end of section 2).
    c = math.sqrt(1 - beta2**step)
    scratch += eps * c
    np.divide(m, scratch, out=scratch)
    scratch *= lr * c / (1 - beta1**step)
    parameter = (1 - lr * weight_decay) * parameter
    parameter -= scratch
    return parameter, m, v


class AdamW:
    """AdamW for a list of Parameters: each `step` is an `adamw_step` of all of them.

    params: Parameters, or groups as PyTorch has them: [{"params": [...], "weight_decay": 0.1}, …].
    A parameter whose gradient is None is left alone, and its t does not advance.

    The parameters are moved into one array, of which each `.data` becomes a view; so are m, v and
    the gradients (`gradient_buffers`). One pass in pieces that stay in cache then updates a million
    numbers as fast as ten thousand; and processes that share these arrays (`move_to`) can each do a
    part of it.
    """

    gradient_ready = None  # for who shares gradients with others: called with a parameter's number

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        params = list(params)
        groups = params if params and isinstance(params[0], dict) else [{"params": params}]
        self.param_groups = [
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **group}
            for group in groups
        ]
        for group in self.param_groups:
            group["params"] = list(group["params"])
        self.params = [p for group in self.param_groups for p in group["params"]]
        if not self.params:
            raise ValueError("AdamW: there are no parameters to optimize")
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("AdamW: a parameter was given twice")
        if len({p.dtype for p in self.params}) > 1:
            raise TypeError("AdamW: all parameters must have one dtype")
        ends = np.cumsum([p.size for p in self.params]).tolist()
        self._spans = list(zip([0, *ends[:-1]], ends))
        self._steps = [0] * len(self.params)
        self._m = self._v = 0
        self.move_to(np.zeros)

    def move_to(self, zeros):
        """Take new arrays: zeros(size, dtype) says where they lie, as in memory that is shared.

        What was in the old ones is copied, but for the gradients: they are empty.
        """
        dtype, size = self.params[0].dtype, self._spans[-1][1]
        own = sum(stop - start for start, stop in self._own(size))
        self._data, self._grad, m, v = (zeros(n, dtype) for n in (size, size, own, own))
        m[...], v[...] = self._m, self._v
        self._m, self._v = m, v
        self._homes = [self._view(self._data, i) for i in range(len(self.params))]
        self.gradient_buffers = [self._view(self._grad, i) for i in range(len(self.params))]
        self._move_in()

    def _own(self, size):
        """[(start, stop)] of the numbers, of `size`, whose m and v are kept here: all of them."""
        return [(0, size)]

    def _view(self, flat, i):
        start, stop = self._spans[i]
        return flat[start:stop].reshape(self.params[i].shape)

    def _move_in(self):
        """Copy into the flat array every parameter whose data was replaced since the last step."""
        for parameter, home in zip(self.params, self._homes):
            if parameter.data is not home:
                home[...] = parameter.data
                parameter.data = home

    def zero_grad(self):
        """Forget all gradients."""
        for parameter in self.params:
            parameter.grad = None

    def step(self):
        """Update every parameter that has a gradient."""
        self.update(self.due())
        self.finish()

    def clip_gradients(self, max_norm):
        """`clip_grad_norm_` of all gradients; returns their norm before it."""
        return clip_grad_norm_(self.params, max_norm)

    def finish(self):
        """What is left to do after `update`: nothing, where all numbers are updated here."""

    def due(self):
        """Count a step; returns what `update` is to do for it.

        A list of (start, stop, shift, t, lr, betas, eps, weight_decay): numbers of the flat arrays,
        by how much their moments come earlier in m and v, and the settings of their `adamw_step`.
        """
        self._move_in()
        for parameter, buffer in zip(self.params, self.gradient_buffers):
            if parameter.grad is not None and parameter.grad is not buffer:
                buffer[...] = parameter.grad
        runs = []
        for group, members in zip(self.param_groups, self._members()):
            settings = [group[name] for name in ("lr", "betas", "eps", "weight_decay")]
            runs += [(start, stop, 0, t, *settings) for start, stop, t in self._runs(members)]
        return runs

    def _members(self):
        """For each group, the range of its parameters' numbers."""
        ends = np.cumsum([len(group["params"]) for group in self.param_groups]).tolist()
        return [range(start, stop) for start, stop in pairwise([0, *ends])]

    def _runs(self, members):
        """Neighbors that have gradients and equal t, as (start, stop, t) in the flat arrays."""
        runs = []
        for i in members:
            if self.params[i].grad is None:
                continue
            self._steps[i] += 1
            start, stop = self._spans[i]
            if runs and runs[-1][1:] == [start, self._steps[i]]:
                runs[-1][1] = stop
            else:
                runs.append([start, stop, self._steps[i]])
        return runs

    def update(self, runs):
        """`adamw_step` of the numbers in `runs`, a list as `due` gives it, or a part of one."""
        for start, stop, shift, *settings in runs:
            for first in range(start, stop, PIECE):
                piece = slice(first, min(first + PIECE, stop))
                moments = slice(piece.start - shift, piece.stop - shift)
                p, m, v = old = self._data[piece], self._m[moments], self._v[moments]
                for array, new in zip(old, adamw_step(p, self._grad[piece], m, v, *settings)):
                    array[...] = new

    def state_dict(self):
        """{"m": …, "v": …, "steps": …}: copies of the moments, one array for all parameters."""
        return {"m": self._m.copy(), "v": self._v.copy(), "steps": np.array(self._steps, np.int64)}

    def load_state_dict(self, state):
        """Take over what `state_dict` of an optimizer for the same parameters gave."""
        for name, own in (("m", self._m), ("v", self._v), ("steps", np.array(self._steps))):
            if name not in state or np.shape(state[name]) != own.shape:
                raise ValueError(
                    f"AdamW: state {name!r} is missing or not of shape {own.shape}; "
                    "it was saved for other parameters"
                )
        self._m[...], self._v[...] = state["m"], state["v"]
        self._steps = [int(n) for n in state["steps"]]


def decay_groups(model, weight_decay):
    """Parameter groups in which matrices decay; vectors (biases, norm weights) do not."""
    params = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]


def clip_by_global_norm(gradients, max_norm):
    """Scale gradients together so that their joint norm is at most max_norm.

    norm = √(Σ g²) over all entries of all arrays; if it is larger than max_norm, every array is
    multiplied by max_norm / (norm + 1e-6), so the direction stays  (Pascanu et al. 2013, alg. 1).
    gradients: list of arrays of any shapes. Returns (list of arrays, norm): new arrays where they
    are scaled, the given ones where they are not; norm is a float, from before the scaling.
    """
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
    if norm > max_norm:
        scale = max_norm / (norm + 1e-6)
        return [scale * g for g in gradients], norm
    return list(gradients), norm


def clip_grad_norm_(params, max_norm):
    """`clip_by_global_norm` on the `.grad` of Parameters, in place; returns the norm before it.

    A parameter without gradient is passed over.
    """
    gradients = [p.grad for p in params if p.grad is not None]
    clipped, norm = clip_by_global_norm(gradients, max_norm)
    for gradient, new in zip(gradients, clipped):
        if new is not gradient:
            gradient[...] = new
    return norm


def cosine_with_warmup(step, learning_rate, warmup_steps, total_steps, min_ratio=0.1):
    """Learning rate of a step: up in a line, down in half a cosine (Loshchilov & Hutter 2017).

    step: 0 for the first update. The rate is learning_rate · (step + 1) / warmup_steps during
    warmup, so the first update is not zero; then, with x from 0 to 1 over the remaining steps,
    learning_rate · (min_ratio + (1 - min_ratio) (1 + cos πx) / 2).
    """
    if step < warmup_steps:
        return learning_rate * (step + 1) / warmup_steps
    x = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return learning_rate * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * x)))
