"""The pictures of chapters 00 and 01: what they say is what the engine computes."""

import numpy as np
import pytest

import tinyqwen as tq
from tinyqwen.viz import graph, tour
from tinyqwen.viz.map import PARTS, model_map


def texts(fig):
    return [text.get_text() for ax in fig.axes for text in ax.texts]


def small_graph():
    w, x, b = (tq.Tensor(value, requires_grad=True) for value in (2.0, 3.0, -5.0))
    product = w * x
    error = product + b
    return {"w": w, "x": x, "b": b, "product": product, "error": error, "loss": error * error}


def test_graph_shows_values_and_gradients():
    names = small_graph()
    shown = texts(graph.graph(**names))
    # by hand: error 1, loss 1; d error 2, d w = 2 * 3, d x = 2 * 2
    for name, value, gradient in (("w", "2", "6"), ("x", "3", "4"), ("b", "−5", "2")):
        at = shown.index(name)
        assert shown[at + 1 : at + 3] == [value, gradient]


def test_drawing_leaves_the_tape_as_it_is():
    names = small_graph()
    graph.graph_steps(**names)
    names["loss"].backward()
    assert [names[name].grad for name in "wxb"] == [6, 4, 2]


def test_graph_has_a_panel_for_each_operation_and_one_for_the_start():
    fig = graph.graph_steps(**small_graph())
    titles = [ax.get_title(loc="left") for ax in fig.axes if ax.get_title(loc="left")]
    assert len(titles) == 4
    assert titles[0].startswith("0.") and "error hands its 2 back through +" in titles[2]


@pytest.mark.parametrize("loss", [tq.Tensor(1.0), tq.Tensor([1.0, 2.0], requires_grad=True) * 2])
def test_graph_wants_a_recorded_scalar(loss):
    with pytest.raises(ValueError, match="a scalar Tensor was expected"):
        graph.graph(loss)


def test_map_lights_the_part_wherever_it_occurs():
    fig = model_map(highlight="norm", notes={"norm": "05"})
    bold = [t.get_text() for t in fig.axes[0].texts if t.get_weight() == "bold"]
    assert bold == ["norm"] * 3
    assert texts(fig).count("05") == 1
    model_map(highlight=PARTS)
    with pytest.raises(ValueError, match="the map has no part 'head'"):
        model_map(highlight="head")


def test_families_masks():
    fig = tour.families(list("abc"), source=list("xy"), target=list("abc"))
    masks = (np.asarray(ax.images[0].get_array()) > 0 for ax in fig.axes)
    encoder, source, target, cross, decoder = masks
    assert encoder.all() and encoder.shape == (3, 3)
    assert source.all() and source.shape == (2, 2)  # the source sees the source alone
    assert cross.all() and cross.shape == (3, 2)  # cross-attention: all of the source
    for writing in (target, decoder):
        assert np.array_equal(writing, np.tri(3, dtype=bool))
