"""The pictures of chapters 10 and 11: what is drawn is what the optimizer and the runs did."""

import io

import numpy as np
import pytest

from tinyqwen import optim
from tinyqwen.analysis.interpret import bend_of
from tinyqwen.viz import embeddings, losses, optimization, scaling, style, training


def line(ax, label):
    return next(one for one in ax.lines if one.get_label() == label).get_ydata()


def test_adam_terms_draws_the_steps_of_adamw(rng):
    gradients, lr, betas = rng.standard_normal(30), 0.1, (0.8, 0.9)
    p = m = v = np.zeros(1)
    averages, steps = [], []
    for t, g in enumerate(gradients, 1):
        new, m, v = optim.adamw_step(p, np.array([g]), m, v, t, lr, betas, weight_decay=0.0)
        steps.append((p - new).item() / lr)
        averages.append((m[0], v[0]))
        p = new
    fig = optimization.adam_terms(gradients, *zip(*averages), betas=betas)
    np.testing.assert_allclose(line(fig.axes[2], "m̂ / (√v̂ + ε)"), steps, rtol=1e-9)
    np.testing.assert_allclose(line(fig.axes[0], "m, its average"), [a for a, _ in averages])


def test_pull_and_surprise_show_their_numbers():
    fig = losses.pull(["a", "b", "c"], np.array([0.5, 0.25, 0.25]), 1)
    assert [t.get_text() for t in fig.axes[2].texts] == ["+0.5", "-0.75", "+0.25"]
    fig = losses.surprise(["x", " y"], [1.0, 3.0])
    assert [bar.get_height() for bar in fig.axes[0].patches] == [1, 3]
    assert "mean 2.00" in [t.get_text() for t in fig.axes[0].texts]


def test_curves_keep_the_floor_in_sight():
    runs = {"one": [6.0, 3.0, 2.0], "two": [6.0, 50.0, 2.5]}
    (ax,) = training.loss_curves(runs, floor=0.3).axes
    low, high = ax.get_ylim()
    assert low < 0.3 and 7.8 <= high < 50
    first = training.loss_curves({"late": [1.0, 0.9]}, first=61).axes[0].lines[0]
    assert first.get_xdata().tolist() == [61, 62]


def test_smoothing_begins_with_the_first_value_and_knows_no_later_one(rng):
    falling = np.linspace(5.0, 1.0, 101)
    smooth = training.smoothed(list(falling), 0.8)
    assert smooth[0] == 5.0
    np.testing.assert_allclose(smooth[1], (0.8 * 5.0 + falling[1]) / 1.8)
    assert training.smoothed(list(falling[:50]), 0.8) == smooth[:50]
    noisy = list(falling + 0.3 * rng.standard_normal(101))
    assert np.std(np.diff(training.smoothed(noisy, 0.8))) < 0.3 * np.std(np.diff(noisy))
    assert training.smoothed([3.0, 9.0, 1.0], 0.0) == [3.0, 9.0, 1.0]


def test_a_bend_is_where_nine_tenths_are_done():
    points = [(1, 6.0), (15, 3.0), (30, 1.6), (45, 1.4), (60, 1.0)]
    assert bend_of(points) == 45  # 1.0 + 0.1 · 5.0 = 1.5
    (ax,) = training.by_kind({"copied": points}, floor=0.3).axes
    assert "step 45" in [text.get_text() for text in ax.texts]


def test_a_power_law_is_a_line_with_plain_numbers():
    x = np.array([1.0, 10.0, 100.0])
    fig = scaling.power_line(x, 2 / x, {"2 / x": (2.0, -1.0)}, "x", "y", {"far": (1e4, 1.0)})
    (ax,) = fig.axes
    drawn = ax.lines[0]
    np.testing.assert_allclose(drawn.get_ydata() * drawn.get_xdata(), 2.0)
    fig.canvas.draw()
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert {"1", "100", "10,000"} <= set(labels) and not any("^" in text for text in labels)


def test_notebook_pictures_have_few_colors_and_their_size():
    image = pytest.importorskip("PIL.Image")
    fig = training.loss_curves({"one": [6.0, 3.0, 2.0]})
    picture = image.open(io.BytesIO(style.png(fig)))
    assert picture.mode == "P" and picture.size == (1680, 720)


def test_a_picture_is_told_in_words_too():
    """The first line of who drew it, the axes, and the names of the lines."""
    told = style.description(training.loss_curves({"one": [6.0, 3.0], "two": [5.0, 2.0]}))
    assert told.startswith("The training losses of several runs in one picture")
    assert "step; loss (nats per token); lines: one, two." in told


def test_notebook_pictures_keep_their_colors(rng):
    image = pytest.importorskip("PIL.Image")
    vectors = rng.standard_normal((18, 8))
    fig = embeddings.similarity_maps({"one": vectors, "two": vectors[::-1]}, range(18))
    style.png(fig)
    fig.set_layout_engine("none")  # everything stays where the first drawing has put it
    few = np.asarray(image.open(io.BytesIO(style.png(fig))).convert("RGB"), int)
    plain = io.BytesIO()
    with style.style():
        fig.savefig(plain, format="png", dpi=200)
    assert np.abs(few - np.asarray(image.open(plain).convert("RGB"), int)).max() <= 10


def test_chinese_names_of_columns_stand_upright():
    with style.style():
        _, ax = style.figure()
        style.name_columns(ax, ["cat", "小猫", 3])
    labels = [(label.get_text(), label.get_rotation()) for label in ax.get_xticklabels()]
    assert labels == [("cat", 90), ("小\n猫", 0), ("3", 90)]
