"""One student's grading, a job of the class, in a process of its own.

    python -m tinyqwen.course.classroom.job '{"path": …, "seed": …, "chapters": [...], …}'

prints a JSON object for each chapter as it is done: chapter, results, fences (what stood around the
worker), restarts (how often a worker was lost). `grading` starts it, and reads that.
"""

import dataclasses
import json
import os
import sys

from tinyqwen.course.authoring.mutants import graders_of
from tinyqwen.course.isolation import fences
from tinyqwen.course.registry import chapter
from tinyqwen.course.runner import result_of, run
from tinyqwen.course.submission import submitted

OWN_MEMORY = 8 << 30  # bytes of address space that grading takes at the most


def grade(path, seed, chapters, most, **worker):
    """Grade a submission chapter by chapter; yields what stands above.

    most: seconds that no test may exceed;  worker: settings of `Worker`
    """
    for key in chapters:
        one = chapter(key)
        submission = submitted(one, path, isolated=True, **worker)
        results = []
        try:
            for test in graders_of(one):
                result = run(test, submission, result_of(test, key), seed, most)
                results.append({**dataclasses.asdict(result), "picture": None})
        finally:
            submission.close()
        yield {
            "chapter": key,
            "results": results,
            "fences": submission.fences,
            "restarts": submission.restarts,
        }


def main():
    request = json.loads(sys.argv[1])
    fences.limit("RLIMIT_AS", OWN_MEMORY)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints, a grader or a library, does not print among the results
    for done in grade(**request):
        print(json.dumps(done), file=out, flush=True)


if __name__ == "__main__":
    main()
