"""Student code in a process of its own, which exchanges only values with the grader.

    grader ── outside.Worker ──┬── inside.supervise ── inside.serve (the student's file)
                               └── pipes: calls and answers, in the format of `wire`

`wire` is the format and the conversation; it and `inside` and `fences` run in the worker and import
nothing of tinyqwen. In the worker's memory are NumPy, these three files and the student's code: no
test, no expected value, no result file. The grader takes every byte from there for hostile.

What stands between a student's code and the machine, each a line of its own (see `fences`):
resource limits; Landlock (files, signals, network) and seccomp (system calls) on Linux; audit hooks
inside Python everywhere; and the supervisor, which counts processes and memory, and kills all
descendants of the worker when it ends, or when the grader does.
"""
