"""How fast this machine is: the subjects of `python -m tinyqwen.bench`, and how they are timed.

sizes.py      the models that are measured
worker.py     a process of its own for each side, and rounds that take turns
machine.py    what the figures were measured on
rows.py       a figure beside its peer's and its limit, and the table
ours.py       tinyqwen's side                peers.py    torch's and transformers'
limits.py     what no implementation can beat: matrix products alone, memory bandwidth
subjects.py   train, generate, load, ops, scaling: who is asked what
"""
