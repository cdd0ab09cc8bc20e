"""The reports on a class as web pages: one for each student, one for the teacher."""

import sys

from tinyqwen.course.registry import chapters
from tinyqwen.course.scoreboard import by_chapter, count, total

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
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

STUDENT = """<p><b>{{ earned }} of {{ possible }} points.</b></p>
{% for key, group, points in chapters %}
<h2>{{ key[2:] }} {{ titles[key] }}: {{ points[0] }} of {{ points[1] }}</h2>
<table>{% for r in group %}<tr>
<td class="{{ r.status }}">{{ words[r.status] }}</td>
<td class="n">{{ r.earned }}/{{ r.possible }}</td>
<td>{{ r.title }}{% if r.status not in ("passed", "todo") %}
<pre>{{ r.text }}</pre>
<span class="small">This test looks at: {{ r.looks_for }}</span>{% endif %}</td>
</tr>{% endfor %}</table>
{% endfor %}
<p class="small">Your inputs were drawn with seed {{ seed }}. The same tests, the same inputs:<br>
<code>pytest tests/assignments --submission=FOLDER --isolated --grading-seed {{ seed }}</code></p>
"""

CLASS = """<p>{{ graded|length }} of {{ students|length }} students graded; seed of the class
{{ seed }}; chapters {{ keys|join(", ") }}.</p>
<table><tr><th>student</th>{% for key in keys %}<th class="n">{{ key[2:] }}</th>{% endfor %}
<th class="n">points</th><th class="n">seconds</th><th>to look at</th></tr>
{% for s, points, by, notes in graded %}<tr>
<td><a href="{{ s.slug|urlencode }}.html">{{ s.name }}</a></td>
{% for key in keys %}<td class="n">{{ by[key][0] }}</td>{% endfor %}
<td class="n"><b>{{ points[0] }}</b>/{{ points[1] }}</td>
<td class="n">{{ "%.1f"|format(s.seconds) }}</td>
<td class="small">{% for note in notes %}{{ note }}<br>{% endfor %}</td>
</tr>{% endfor %}</table>
<h2>What stood between the submissions and this machine</h2>
<table>{% for name, does in fences %}<tr>
<td>{{ name }}</td><td>{{ does }}</td>
</tr>{% endfor %}</table>
{% for sentence in warnings %}<p class="failed">{{ sentence }}</p>{% endfor %}
<p class="small">Each student's inputs follow from the seed of the class, the student's name and
what was handed in.
Tests that could be passed with a table of known answers count only beside one of the same function
that cannot.</p>
"""

MISSING = {
    "limits": "There are no resource limits here.",
    "landlock": "The kernel does not keep student code from reading what you can read: Landlock is "
    "missing, and a hook inside Python stands alone. For code by strangers use a container.",
    "seccomp": "The kernel does not keep student code from starting processes or sending signals "
    "(seccomp is missing): the hook inside Python and the supervisor's counting do.",
}


def student_page(student) -> str:
    """What a student sees."""
    earned, possible = total(student.results)
    return _rendered(
        STUDENT,
        title=student.name,
        earned=earned,
        possible=possible,
        seed=student.seed,
        chapters=[(k, group, total(group)) for k, group in by_chapter(student.results).items()],
    )


def class_page(students, one_class) -> str:
    """What the teacher sees."""
    graded, fences = [], {}
    for student in students:
        if student.results:
            groups = by_chapter(student.results)
            points = {key: total(group) for key, group in groups.items()}
            graded.append((student, total(student.results), points, _notes(student)))
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


def _notes(student):
    notes = list(student.trouble)
    if count(student.results, "todo") == len(student.results):
        notes.append("everything is to do: is there no file chNN_….py right in the folder?")
    for chapter, results in by_chapter(student.results).items():
        if {r.status for r in results} == {"failed"} and len({r.text for r in results}) == 1:
            first = results[0].text.partition("\n")[0]  # an unreadable file fails every test
            notes.append(f"{chapter}: every test says, {first}")
    if broken := count(student.results, "error"):
        notes.append(f"a grader broke in {broken} tests")
    if left := count(student.results, "waiting"):
        notes.append(f"{left} tests were not reached")
    return notes


def _rendered(template, **values):
    from jinja2 import Environment

    titles = {key: one.title for key, one in chapters().items()}
    page = Environment(autoescape=True).from_string(HEAD + template)
    return page.render(style=STYLE, words=WORDS, titles=titles, **values)
