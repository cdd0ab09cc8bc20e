"""Chat templates: what they render, and that a hostile one ends in a ValueError in time."""

import json
import subprocess
import sys

import pytest

from tinyqwen.text.chat_template import CHATML, OUTPUT_LIMIT, render, render_isolated

CHAT = [{"role": "user", "content": "Hello 猫"}, {"role": "assistant", "content": "Hi <b>"}]
VARIABLES = {"add_generation_prompt": True, "tools": None}


def rendered(template, messages=CHAT, **variables):
    return render_isolated(template, [messages], VARIABLES | variables)[0]


def test_chatml_by_hand():
    text = "<|im_start|>user\nHello 猫<|im_end|>\n<|im_start|>assistant\nHi <b><|im_end|>\n"
    assert render(CHATML, [CHAT], {}) == [text]
    assert render(CHATML, [CHAT], VARIABLES) == [text + "<|im_start|>assistant\n"]
    assert rendered(CHATML) == render(CHATML, [CHAT], VARIABLES)[0]
    assert render(CHATML, [[], CHAT], {}) == ["", text]


def test_chatml_refuses_what_is_no_text():
    for content in [None, 3, ["a"], {"text": "a"}]:
        with pytest.raises(ValueError, match="each message needs a 'content' that is text"):
            render(CHATML, [[{"role": "user", "content": content}]], {})


@pytest.mark.parametrize(
    "template, expected",
    [
        ("{% for m in messages %}\n  {% if loop.first %}\nA\n  {% endif %}\n{% endfor %}", "A\n"),
        ("{% for m in messages %}{% if loop.index == 2 %}{% break %}{% endif %}x{% endfor %}", "x"),
        ("{{ {'b': '<é>', 'a': [1, none]} | tojson }}", '{"b": "<é>", "a": [1, null]}'),
        ("{{ {'b': 1} | tojson(indent=1) }}", json.dumps({"b": 1}, indent=1)),
        ("{{ strftime_now('%Y') | int > 2000 }}", "True"),
        ("{% generation %}a{{ bos_token }}{% endgeneration %}b", "a<s>b"),
        ("{% set n = namespace(k=1) %}{% if 1 %}{% set n.k = 3 %}{% endif %}{{ n.k }}", "3"),
        ("{{ messages[0].content.split(' ')[0] | upper }}{{ missing is defined }}", "HELLOFalse"),
        ("{{ dict(a=1).a }}{{ tools is none }}", "1True"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
    ],
)  # fmt: skip
def test_environment(template, expected):
    assert render(template, [CHAT], VARIABLES | {"bos_token": "<s>"}) == [expected]


REACHES_PYTHON = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ '' | attr('__class__') }}",
    "{{ messages.__class__.__mro__ }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__class__}' | format }}{{ ('{0.__class__}'.format)(1) }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(a=1) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__.os }}",
    "{{ joiner.__init__ }}",
    "{{ dict.__mro__ }}",
    "{{ namespace(__class__=1) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__code__ }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'base' %}",
]
BROKEN = [
    "{{",
    "{% for %}",
    "{% nothing %}",
    "{{ 1 / 0 }}",
    "{{ missing.attribute }}",
    "{{ messages | nofilter }}",
    "{{ 'a' + 1 }}",
    "{{ strftime_now(1) }}",
    "{{ raise_exception('no\nway') }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "-" * 100_000 + "1 }}",
]


@pytest.mark.parametrize("template", REACHES_PYTHON + BROKEN, ids=lambda text: text[:40])
def test_broken_and_prying_templates_are_refused_in_one_line(template):
    """The sandbox refuses without help of the process around it; some of what is broken could end
    ours."""
    with pytest.raises(ValueError, match=r"^chat template: .+$") as caught:
        if template in REACHES_PYTHON:
            render(template, [CHAT], VARIABLES)
        else:
            rendered(template)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


NESTED = "{% for i in range(99999) %}" * 4 + "{% endfor %}" * 4
GREEDY = {
    "loops for ever": (NESTED, "may loop for ever"),
    "loops in one C call": ("{{ 3 ** (10 ** 9) }}", "may loop for ever|Memory|died"),
    "allocates": ("{{ 'a' * 10**12 }}", "Memory"),
    "doubles": (
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x=n.x~n.x %}{% endfor %}",
        "Memory|died|may loop for ever",
    ),
    "indents": ("{{ messages | tojson(indent=1000000000) }}", "Memory|died|may loop for ever"),
    "floods": ("{% for i in range(99999) %}{{ 'a' * 99 }}{% endfor %}", f"{OUTPUT_LIMIT:,} char"),
    "ranges": ("{{ range(10**9) | list }}", "Range too big"),
}  # fmt: skip


@pytest.mark.parametrize("template, complaint", GREEDY.values(), ids=list(GREEDY))
def test_greedy_templates_are_stopped(template, complaint):
    """By the limit on time, that is; or by another one, with all the time that this may take."""
    seconds = 0.5 if complaint.startswith("may loop") else 100.0
    with pytest.raises(ValueError, match=complaint):
        render_isolated(template, [CHAT], {}, time_limit=seconds)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit address space")
def test_memory_is_limited():
    with pytest.raises(ValueError, match="Memory"):
        rendered("{{ ('a' * 2000000000) | length }}")


def test_many_conversations_take_one_process(monkeypatch):
    run, started = subprocess.run, []
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: started.append(a) or run(*a, **k))
    texts = render_isolated("{{ messages[0].content }}", [CHAT] * 500, {})
    assert texts == ["Hello 猫"] * 500 and len(started) == 1


def test_messages_must_be_json_data():
    for value in [object(), {1, 2}, b"bytes"]:
        with pytest.raises(TypeError, match="JSON data"):
            render_isolated("x", [[{"role": "user", "content": value}]], {})


def test_half_surrogates_and_controls_survive_the_pipe():
    for content in ["\ud800", "\x00\x1b\r\n\u2028", "👩\u200d🚀"]:
        assert rendered("{{ messages[0].content }}", [{"role": "u", "content": content}]) == content
