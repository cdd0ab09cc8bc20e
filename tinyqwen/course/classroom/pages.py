"""The reports on a class as web pages: one for each student, one for the teacher."""

import sys

from tinyqwen.course.registry import chapters
from tinyqwen.course.scoreboard import by_chapter, count, total

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; padding: 0 1em }
body, h1, h2, p, pre, details { max-width: 60em }
.class { max-width: none; overflow-x: auto }
.class .small { min-width: 24em; overflow-wrap: anywhere }
table { border-collapse: collapse; margin: 1em 0 }
th, td { text-align: left; padding: .2em 1em .2em 0; vertical-align: top }
tr { border-bottom: 1px solid #ddd }
.n { text-align: right }
pre { background: #f6f6f6; padding: .6em; white-space: pre-wrap; font-size: 14px; margin: .3em 0 }
.passed { color: #007a5a }
.failed, .error { color: #b34a00 }
.todo, .waiting { color: #666 }
.small { color: #555; font-size: 14px }
"""

WORDS = {
    "passed": "✓ passed",
    "failed": "✗ not yet",
    "error": "✗ grader broke",
    "todo": "· to do",
    "waiting": "· not run",
}

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{{ title }}</title>
<style>{{ style|safe }}</style><h1>{{ title }}</h1>
"""

STUDENT = """<p><b>{{ earned }} of {{ possible }} points.</b>
{% for note in notes %}<br><span class="failed">{{ note }}</span>{% endfor %}</p>
<table>{% for key, group, points in chapters %}<tr>
<td><a href="#{{ key }}">{{ key[2:] }} {{ titles[key] }}</a></td>
<td class="n">{{ points[0] }}/{{ points[1] }}</td></tr>{% endfor %}</table>
{% for key, group, points in chapters %}
<h2 id="{{ key }}">{{ key[2:] }} {{ titles[key] }}: {{ points[0] }} of {{ points[1] }}</h2>
<table>{% for r in group if r.status not in ("passed", "todo") %}<tr>
<td class="{{ r.status }}">{{ words[r.status] }}</td>
<td class="n">{{ r.earned }}/{{ r.possible }}</td>
<td>{{ r.title }}
<pre>{{ r.text }}</pre>
<span class="small">This test looks at: {{ r.looks_for }}</span></td>
</tr>{% endfor %}</table>
{% set rest = group|selectattr("status", "in", ("passed", "todo"))|list %}
{% if rest %}<details{% if rest|length == group|length %} open{% endif %}>
<summary>{{ counts(rest) }}</summary>
<table>{% for r in rest %}<tr>
<td class="{{ r.status }}">{{ words[r.status] }}</td>
<td class="n">{{ r.earned }}/{{ r.possible }}</td><td>{{ r.title }}</td>
</tr>{% endfor %}</table></details>{% endif %}
{% if key in seeds %}<p class="small">The same tests with the same inputs:
<code>pytest {{ files[key] }} --submission=FOLDER --isolated
--grading-seed {{ seeds[key] }}</code></p>{% endif %}
{% endfor %}
"""

CLASS = """<p>{{ graded|length }} of {{ students }} students graded; seed of the class
{{ seed }}; chapters {{ keys|join(", ") }}.</p>
<div class="class"><table><tr><th>student</th><th class="n">points</th>
{% for key in keys %}<th class="n">{{ key[2:] }}</th>{% endfor %}
<th class="n">seconds</th><th>to look at</th></tr>
{% for s, points, by, notes in graded %}<tr>
<td><a href="{{ s.slug|urlencode }}.html">{{ s.name }}</a></td>
<td class="n"><b>{{ points[0] }}</b>/{{ points[1] }}</td>
{% for key in keys %}<td class="n">{{ by[key][0] if key in by else "" }}</td>{% endfor %}
<td class="n">{{ "%.1f"|format(s.seconds) }}</td>
<td class="small">{% for note in notes %}{{ note }}<br>{% endfor %}</td>
</tr>{% endfor %}</table></div>
<h2>What stood between the submissions and this machine</h2>
<table>{% for name, does in fences %}<tr>
<td>{{ name }}</td><td>{{ does }}</td>
</tr>{% endfor %}</table>
{% for sentence in warnings %}<p class="failed">{{ sentence }}</p>{% endfor %}
<p class="small">Each student's inputs follow from the seed of the class, the student's name and
what was handed in.
Tests that could be passed without the right answer count only beside one of the same function
that could not.</p>
"""

MISSING = {
    "limits": "There are no resource limits here.",
    "landlock": "The kernel does not keep student code from reading what you can read: Landlock is "
    "missing, and a hook inside Python stands alone. For code by strangers use a container.",
    "seccomp": "The kernel does not keep student code from starting processes or sending signals "
    "(seccomp is missing): the hook inside Python and the supervisor's counting do.",
}


def student_page(student, results) -> str:
    """What a student sees: the failures first.  results: as they count"""
    earned, possible = total(results)
    return _rendered(
        STUDENT,
        title=student.name,
        earned=earned,
        possible=possible,
        notes=student.notes,
        seeds=student.seeds,
        files={key: f"tests/assignments/{one.graders.name}" for key, one in chapters().items()},
        chapters=[(k, group, total(group)) for k, group in by_chapter(results).items()],
        counts=lambda rest: f"{count(rest, 'passed')} passed, {count(rest, 'todo')} to do",
    )


def class_page(done, students, one_class) -> str:
    """What the teacher sees.

    done: [(student, results as they count)];  students: how many there are in all
    """
    graded, fences = [], {}
    for student, results in done:
        points = {key: total(group) for key, group in by_chapter(results).items()}
        graded.append((student, total(results), points, to_look_at(student)))
        fences |= student.fences
    return _rendered(
        CLASS,
        title="Gradebook",
        students=students,
        graded=graded,
        seed=one_class["seed"],
        keys=one_class["chapters"],
        fences=fences.items(),
        warnings=unbound(fences),
    )


def unbound(fences) -> list[str]:
    """What this platform does not enforce, in sentences.  fences: as a worker reports them."""
    sentences = [MISSING[n] for n, does in fences.items() if n in MISSING and does[:3] == "no:"]
    if fences and sys.platform == "darwin":
        sentences.append(
            "macOS sets no limit on memory: the supervisor looks four times a second, and a "
            "process can take more for that long."
        )
    return sentences


def to_look_at(student) -> list[str]:
    """What a teacher should know of a student beside the points, in sentences."""
    notes, results = student.notes + student.trouble, student.all_results
    if not notes and results and count(results, "todo") == len(results):
        nothing = (
            "" if student.contents else ": there is no Python file that names a chapter (ch04)"
        )
        notes.append(f"everything is to do{nothing}")
    for key, group in student.results.items():
        if broken := next((r for r in group if r.status == "failed" and r.unreadable), None):
            notes.append(f"{key}: {broken.text.partition(chr(10))[0].rstrip(':')}")
    if broken := count(results, "error"):
        notes.append(f"a grader broke in {broken} tests")
    if left := count(results, "waiting"):
        notes.append(f"{left} tests were not reached")
    return notes


def _rendered(template, **values):
    from jinja2 import Environment

    titles = {key: one.title for key, one in chapters().items()}
    page = Environment(autoescape=True).from_string(HEAD + template)
    return page.render(style=STYLE, words=WORDS, titles=titles, **values)
