"""A process of its own for each side of a comparison, and rounds that take turns.

Two libraries in one process would share its heap and crowd each other's thread pools. So each side
lives in a worker process that is told through a pipe, in lines of JSON, what to do, and works only
while the one who asked waits. Between two rounds comes a pause in which threads that spin while
they wait for work (OpenBLAS's, OpenMP's) fall asleep.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress

PAUSE = 0.1  # seconds; OpenBLAS's threads spin for a few hundredths of one


class Worker:
    """An object in another process.

        with Worker("tinyqwen.benchmark.ours:Training", size="s") as worker:
            milliseconds = worker.ask("round", seconds=1.0)

    target: "module:Class"; it is made there with `arguments`. `ask` calls a method. What goes to
    and fro must be JSON. What fails there raises RuntimeError here, with the error's text.
    """

    def __init__(self, target, **arguments):
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        try:
            self._exchange({"target": target, "arguments": arguments})
        except BaseException:
            self.close()
            raise

    def ask(self, method, **arguments):
        """Call the object's method and wait for what it returns."""
        return self._exchange({"method": method, "arguments": arguments})

    def _exchange(self, request):
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait()
            raise RuntimeError(f"a worker process ended with status {status}; out of memory?")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"in a worker process: {answer['error']}")
        return answer["value"]

    def cpu_seconds(self):
        """Processor time the worker has used so far, all threads together."""
        return self.ask("cpu_seconds")

    def close(self):
        """End the process."""
        with suppress(BrokenPipeError):  # it is dead, and something was left to be written
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


@contextmanager
def workers(targets, **arguments):
    """{name: Worker} for {name: target}, all made with the same arguments, closed at the end."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Worker(target, **arguments))
            for name, target in targets.items()
        }


def take_turns(sides, rounds, method="round", **arguments):
    """Ask every worker in turn, `rounds` times over after one round to warm up.

    sides: {name: Worker}. Returns {name: [answers]}. Every other round goes in the reverse order,
    so that nobody always comes after the same neighbor.
    """
    answers = {name: [] for name in sides}
    for number in range(rounds + 1):
        order = list(sides) if number % 2 else list(sides)[::-1]
        for name in order:
            time.sleep(PAUSE)
            answer = sides[name].ask(method, **arguments)
            if number:
                answers[name].append(answer)
    return answers


def repeat(action, seconds, at_least=3):
    """Run action() again and again for so many seconds; returns the median milliseconds of a run.

    The first run is not counted: it wakes threads and fills caches.
    """
    times = []
    action()
    end = time.perf_counter() + seconds
    while len(times) < at_least or time.perf_counter() < end:
        start = time.perf_counter()
        action()
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def serve(requests, answers):
    """The worker's loop: read a line, do what it says, write a line."""
    served = None
    for line in requests:
        request = json.loads(line)
        try:
            if "target" in request:
                module, name = request["target"].split(":")
                served = getattr(importlib.import_module(module), name)(**request["arguments"])
                value = None
            elif request["method"] == "cpu_seconds":
                value = time.process_time()
            else:
                value = getattr(served, request["method"])(**request["arguments"])
            answer = {"value": value}
        except Exception as error:  # told to the one who asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    serve(sys.stdin, channel)
