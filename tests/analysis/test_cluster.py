"""The model of many machines, against figures of the papers and numbers worked out by hand."""

import pytest

from tinyqwen.analysis.cluster import (
    Network,
    efficiency,
    pipeline_bubble,
    ring_bytes,
    ring_seconds,
    step_seconds,
    training_days,
    zero_memory,
)


@pytest.mark.parametrize("stage, gigabytes", [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_zero_has_the_figures_of_its_paper(stage, gigabytes):
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters, 64 ranks, K = 12."""
    total = sum(zero_memory(7_500_000_000, 64, stage).values())
    assert total / 1e9 == pytest.approx(gigabytes, abs=0.05)


def test_another_stage_is_refused():
    with pytest.raises(ValueError, match="stages 0, 1, 2 and 3, not 4"):
        zero_memory(10, 2, 4)


def test_a_ring_by_hand():
    """Four ranks, 8 bytes: six messages of 2 bytes each way round."""
    assert ring_bytes(8, 4) == 12
    assert ring_seconds(8, 4, bandwidth=2.0, latency=0.5) == 6 + 3
    assert ring_seconds(8, 1, bandwidth=2.0, latency=0.5) == 0


def test_a_step_waits_for_what_does_not_travel_meanwhile():
    network = Network(bandwidth=1.0, latency=0.0)
    alone = step_seconds(100, 10, 2, 5.0, *network)
    assert alone == {"arithmetic": 10.0, "communication": 10.0}
    assert step_seconds(100, 10, 2, 5.0, *network, overlap=0.6)["communication"] == 4.0
    assert step_seconds(100, 10, 2, 5.0, *network, overlap=1.0)["communication"] == 0.0
    assert efficiency(100, 10, 2, 5.0, *network) == 0.5
    assert efficiency(100, 10, 1, 5.0, *network) == 1.0


def test_a_pipeline_of_one_stage_never_waits():
    assert pipeline_bubble(1, 5) == 0
    assert pipeline_bubble(2, 1) == 0.5
    assert pipeline_bubble(8, 10**9) < 1e-8


def test_days_of_training():
    """One day of one rank: 86,400 seconds at 6 parameters · tokens a second."""
    assert training_days(10, 86400, ranks=1, speed=60, utilization=1) == 1
    assert training_days(10, 86400, ranks=4, speed=60, utilization=0.5) == 0.5


def test_what_is_not_said_is_usual():
    """Two fifths of the peak; nothing travels while a rank computes; 2, 2 and 12 bytes."""
    assert training_days(10, 86400, 1, 60) == pytest.approx(2.5)
    assert step_seconds(100, 10, 2, 5.0, 1.0, 0.0)["communication"] == 10.0
    assert efficiency(100, 10, 2, 5.0, 1.0, 0.0, overlap=0.5) == pytest.approx(20 / (2 * 15))
    assert zero_memory(10, 5, 0) == {"weights": 20, "gradients": 20, "optimizer": 120}
    own = zero_memory(10, 5, 2, weight_bytes=4, gradient_bytes=4, optimizer_bytes=8)
    assert own == {"weights": 40, "gradients": 8, "optimizer": 16}
