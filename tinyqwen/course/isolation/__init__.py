"""Student code in a process of its own, which exchanges only values with the grader.

    grader ── outside.Worker ──┬── inside.supervise ── inside.serve (the student's file)
                               └── pipes: calls and answers, in the format of `wire`

`wire` is the format and the conversation. In the worker this folder is a package of its own: in its
memory are NumPy, these files and the student's code, nothing else of tinyqwen, no test, no expected
value, no result file. The grader takes every byte from there for hostile.

What stands between a student's code and the machine, each a line of its own (see `fences`):
resource limits; Landlock (files, signals, network) and seccomp (system calls) on Linux; audit hooks
inside Python everywhere; and the supervisor, which counts processes, threads (on Linux) and memory,
and kills all descendants of the worker when it ends, or when the grader does.
"""
