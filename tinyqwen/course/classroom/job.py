"""One student's grading, a job of the class, in a process of its own.

    python -m tinyqwen.course.classroom.job '{"path": …, "seeds": {"ch04": …}, …}'

prints a JSON object for each chapter as it is done: chapter, results, fences (what stood around the
worker), restarts (how often a worker was lost), loaded (false if a worker could not load the file,
which may be the machine's doing). `grading` starts it, and reads that.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys

from tinyqwen.course.allowance import Allowance, limit_memory
from tinyqwen.course.isolation import kernel
from tinyqwen.course.registry import chapter
from tinyqwen.course.runner import graders_of, result_of


def grade(path, seeds, most, **worker):
    """Grade a submission chapter by chapter; yields what stands above.

    seeds: {chapter: seed};  most: seconds that no test may exceed;  worker: settings of `Worker`
    """
    allowance = Allowance(seeds)
    for key, seed in seeds.items():
        one, results = chapter(key), []
        submission = allowance.load(one, path, **worker)
        try:
            for test in graders_of(one):
                result = allowance.run(test, submission, result_of(test, key), seed, most)
                results.append({**dataclasses.asdict(result), "picture": None})
        finally:
            submission.close()
        yield {
            "chapter": key,
            "results": results,
            "fences": submission.fences,
            "restarts": submission.restarts,
            "loaded": submission.loaded,
        }


def main():
    request = json.loads(sys.argv[1])
    with contextlib.suppress(OSError):  # on Linux it ends with the class, however that ends
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != request.pop("class", os.getppid()):
        return  # it has ended already
    limit_memory()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints, a grader or a library, does not print among the results
    for done in grade(**request):
        print(json.dumps(done), file=out, flush=True)


if __name__ == "__main__":
    main()
