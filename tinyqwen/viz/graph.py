"""The tape, drawn: values flow to the right, gradients back to the left."""

from tinyqwen.autograd.tape import topological_order
from tinyqwen.autograd.tensor import Tensor
from tinyqwen.viz.style import BLUE, GRAY, RED, figure, style

_SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "matmul": "@", "neg": "−"}
_WIDTH, _HEIGHT = 0.66, 0.62


def graph(loss, **names):
    """The recorded graph of a scalar `loss`, with every value, and every gradient below it.

    names: the tensors of the computation by name, scalars: w=w, b=b, prediction=p …  What has no
           name is drawn without its value, which the tape does not keep.
    The tape is read and left as it is, so that `loss.backward()` still works.
    Returns a Figure.
    """
    tape = _Tape(loss, names)
    with style():
        fig, ax = figure(size=(1.5 * tape.depth + 1.2, 0.9 * (tape.height + tape.above) + 0.3))
        *_, (_, gradients, _) = tape.steps()
        _draw(ax, tape, (None, gradients, []))
    return fig


def graph_steps(loss, **names):
    """The backward pass, a panel a step: which operation hands its blame to its parents.

    Arguments as for `graph`. Returns a Figure.
    """
    tape = _Tape(loss, names)
    steps = list(tape.steps())
    rows = (len(steps) + 1) // 2
    with style():
        size = (10, rows * (0.62 * (tape.height + tape.above) + 0.25))
        fig, axes = figure(rows, 2, size=size, squeeze=False)
        for ax in axes.flat[len(steps) :]:
            ax.axis("off")
        for number, (ax, step) in enumerate(zip(axes.flat, steps)):
            _draw(ax, tape, step, small=True)
            ax.set_title(f"{number}.  {_told(tape, step)}", fontsize=10)
    return fig


def _told(tape, step):
    active, gradients, _ = step
    if active is None:
        return f"the loss starts with gradient {_number(gradients[tape.root])}"
    share = _number(gradients[active])
    return f"{tape.name(active)} hands its {share} back through {tape.sign(active)}"


class _Tape:
    """Vertices (a node of the tape, or a leaf tensor), their parents, names, values and places."""

    def __init__(self, loss, names):
        if not isinstance(loss, Tensor) or loss.size != 1 or loss._node is None:
            raise ValueError(
                "graph: a scalar Tensor was expected that was computed from others which have "
                "requires_grad=True"
            )
        self.root = loss._node
        self.order = topological_order(self.root, self.parents)
        self.label = {_vertex(tensor): name for name, tensor in names.items()}
        self.value = {_vertex(tensor): tensor.item() for tensor in names.values()}
        self.value[self.root] = loss.item()
        self.place = self._places()
        self.depth = 1 + max(x for x, _ in self.place.values())
        over = any(abs(self.place[p][0] - self.place[v][0]) > 1 for v, p in self._edges())
        self.above = 0.95 if over else 0.5  # room for arrows that pass over boxes
        self.height = 1 + max(y for _, y in self.place.values())

    def parents(self, vertex):
        """Of a vertex: what its inputs came from; nothing for a leaf."""
        if isinstance(vertex, Tensor):
            return []
        return [p[0] if type(p) is tuple else p for p in vertex.parents if p is not None]

    def _edges(self):
        return [(vertex, parent) for vertex in self.order for parent in self.parents(vertex)]

    def name(self, vertex):
        return self.label.get(vertex, "" if isinstance(vertex, Tensor) else vertex.name)

    def sign(self, vertex):
        return _SIGNS.get(vertex.name, vertex.name)

    def steps(self):
        """(the operation that just ran backwards, all gradients so far, what it handed to whom)."""
        gradients = {self.root: 1.0}
        yield None, dict(gradients), []
        for node in reversed(self.order):
            if isinstance(node, Tensor):
                continue
            blames = node.vjp(node.dtypes[0].type(gradients[node]))
            handed = []
            for parent, blame in zip(node.parents, blames):
                if parent is not None:
                    vertex = parent[0] if type(parent) is tuple else parent
                    gradients[vertex] = gradients.get(vertex, 0.0) + float(blame)
                    handed.append((vertex, float(blame)))
            yield node, dict(gradients), handed

    def _places(self):
        """Column: one before the first that uses it. Row: leaves apart, the others by parents."""
        column = {self.root: 0}
        for vertex in reversed(self.order):
            for parent in self.parents(vertex):
                column[parent] = min(column.get(parent, 0), column[vertex] - 1)
        first = min(column.values())
        row, taken = {}, {}
        for vertex in sorted(self.order, key=lambda v: column[v]):
            rows = [row[p] for p in self.parents(vertex) if p in row]
            wanted = sum(rows) / len(rows) if rows else 0
            used = taken.setdefault(column[vertex], [])
            while any(abs(wanted - y) < 1 for y in used):
                wanted += 0.5
            used.append(wanted)
            row[vertex] = wanted
        return {v: (column[v] - first, row[v]) for v in self.order}


def _vertex(tensor):
    return tensor if tensor._node is None else tensor._node


def _number(value):
    return f"{value:.4g}".replace("-", "−")


def _draw(ax, tape, step, small=False):
    active, gradients, handed = step
    size = 8.5 if small else 10
    for vertex in tape.order:
        parents = tape.parents(vertex) if vertex is not active else []
        for n, parent in enumerate(parents):
            _arrow(ax, tape.place[parent], tape.place[vertex], GRAY, _bend(n, parents))
    for n, (parent, blame) in enumerate(handed):
        bend = _bend(n, [p for p, _ in handed])
        (x0, y0), (x1, y1) = tape.place[parent], tape.place[active]
        _arrow(ax, (x1, y1), (x0, y0), RED, -bend, heavy=True)
        over = abs(x1 - x0) > 1 and y0 == y1
        level = 0.17 if y0 == y1 and not bend else 0  # above the arrow, not on it
        ax.text(
            (x0 + x1) / 2,
            (y0 + y1) / 2 - (0.3 + 0.15 * abs(x1 - x0) if over else 1.3 * bend + level),
            _number(blame),
            ha="center",
            va="center",
            fontsize=size,
            color=RED,
            weight="bold",
            bbox=dict(facecolor="white", edgecolor="none", pad=0.8),
            zorder=5,
        )
    for vertex in tape.order:
        _box(ax, tape, vertex, gradients.get(vertex), vertex is active, size)
    ax.set(xlim=(-0.5, tape.depth - 0.5), ylim=(tape.height - 0.5, -tape.above))
    ax.axis("off")


def _bend(n, parents):
    """How much the n-th of several arrows is bent: only if two join the same boxes."""
    return 0.25 * (n - (len(parents) - 1) / 2) if len(set(parents)) < len(parents) else 0.0


def _box(ax, tape, vertex, gradient, active, size):
    from matplotlib.patches import FancyBboxPatch

    x, y = tape.place[vertex]
    leaf = isinstance(vertex, Tensor)
    ax.add_patch(
        FancyBboxPatch(
            (x - _WIDTH / 2, y - _HEIGHT / 2),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor="#FCE9B8" if active else "#E8F1F8" if leaf else "white",
            edgecolor="black" if active else GRAY,
            zorder=3,
        )
    )
    title = tape.name(vertex) + ("" if leaf else f"  ({tape.sign(vertex)})")
    value = _number(tape.value[vertex]) if vertex in tape.value else ""
    blame = "" if gradient is None else _number(gradient)
    lines = ((title, "black", -0.18), (value, BLUE, 0.02), (blame, RED, 0.21))
    for text, color, offset in lines:
        ax.text(
            x,
            y + offset,
            text,
            ha="center",
            va="center",
            fontsize=size,
            color=color,
            weight="bold" if color == RED else "normal",
            zorder=4,
        )


def _arrow(ax, start, end, color, bend=0.0, heavy=False):
    (x0, y0), (x1, y1) = start, end
    if abs(x1 - x0) > 1 and y0 == y1:  # over the boxes in between
        tail, tip = (x0, y0 - _HEIGHT / 2), (x1, y1 - _HEIGHT / 2)
        bend = 0.3 if x1 < x0 else -0.3
    else:
        side = _WIDTH / 2 if x1 > x0 else -_WIDTH / 2
        tail, tip = (x0 + side, y0 + bend * 0.4), (x1 - side, y1 + bend * 0.4)
    ax.annotate(
        "",
        tip,
        tail,
        arrowprops=dict(
            arrowstyle="-|>",
            color=color,
            linewidth=1.8 if heavy else 0.9,
            mutation_scale=11 if heavy else 8,
            shrinkA=0,
            shrinkB=0,
            connectionstyle=f"arc3,rad={bend}",
        ),
        zorder=2 if heavy else 1,
    )
