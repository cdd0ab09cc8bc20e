"""Three steps of AdamW, and clipping, against PyTorch."""

import numpy as np
import pytest

from tinyqwen import nn, optim

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-13)])
def test_three_steps(dtype, tolerance, rng):
    start = [rng.standard_normal(s).astype(dtype) for s in ((40, 30), (7,), (1, 1))]
    gradients = [[rng.standard_normal(a.shape).astype(dtype) for a in start] for _ in range(3)]
    gradients[1][1] = None
    settings = {"lr": 3e-2, "betas": (0.8, 0.95), "eps": 1e-6}
    ours = [nn.Parameter(a.copy()) for a in start]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    decays = (0.3, 0.0)
    optimizers = [
        kind(
            [
                {"params": ps[:1], "weight_decay": decays[0]},
                {"params": ps[1:], "weight_decay": decays[1]},
            ],
            **settings,
        )
        for kind, ps in ((optim.AdamW, ours), (torch.optim.AdamW, theirs))
    ]
    for step in gradients:
        for p, q, g in zip(ours, theirs, step):
            p.grad = None if g is None else g.copy()
            q.grad = None if g is None else torch.tensor(g)
        norms = [optim.clip_grad_norm_(ours, 3.0), torch.nn.utils.clip_grad_norm_(theirs, 3.0)]
        assert norms[0] == pytest.approx(float(norms[1]), rel=1e-6)
        for optimizer in optimizers:
            optimizer.step()
    for p, q in zip(ours, theirs):
        expected = q.detach().numpy()
        assert np.abs(p.data - expected).max() <= tolerance * np.abs(expected).max()
