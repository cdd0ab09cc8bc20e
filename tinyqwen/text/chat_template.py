"""Chat templates: Jinja programs, found in tokenizer_config.json, that turn messages into one text.

A template comes with a checkpoint and is a stranger's program. Two walls stand around it. Jinja's
sandbox keeps it from Python's objects. A process of its own, with limits on time, memory and
output, keeps one that loops for ever, or doubles a string forty times, from taking the caller with
it: no check inside a process could stop either in the middle of a single C call.

    render(template, conversations, variables)      here and now: for a template we wrote (CHATML)
    render_isolated(...)                            the same in a child process: for all others

The environment (trimmed blocks, loop controls, `raise_exception`, `tojson`, `strftime_now`, the
`generation` tag) is the one that Hugging Face's templates are written for. This file is also the
program that the child runs, so it imports nothing of tinyqwen.
"""

import contextlib
import json
import subprocess
import sys
from datetime import datetime

TIME_LIMIT = 10.0  # seconds for a call, and a hundredth more for each conversation
MEMORY_LIMIT = 1 << 30  # bytes of address space, where the platform can limit it
OUTPUT_LIMIT = 4_000_000  # characters a conversation

# "ChatML": what Qwen's models are trained on, and what stands in where a folder has no template.
CHATML = """\
{%- for message in messages %}
{%- if message.content is not string %}
{{- raise_exception("each message needs a 'content' that is text") }}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def _environment():
    # Jinja takes 40 ms to import, and only chats need it.
    import jinja2.nodes
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Environment(ImmutableSandboxedEnvironment):
        # Where Jinja's sandbox would print an empty text, a template that tries this is refused.
        def unsafe_undefined(self, obj, attribute):
            raise SecurityError(f"access to {attribute!r} of {type(obj).__name__!r} is not allowed")

        def getattr(self, obj, attribute):
            return self.getitem(obj, attribute, super().getattr)

        def getitem(self, obj, argument, look_up=None):
            if isinstance(argument, str) and argument.startswith("__"):
                self.unsafe_undefined(obj, argument)
            return (look_up or super().getitem)(obj, argument)

    class Generation(Extension):
        """`{% generation %}` marks what the assistant said; for the text it makes no difference."""

        tags = frozenset({"generation"})

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    def raise_exception(message):
        raise TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        # Jinja's own filter escapes for HTML.
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    def namespace(*args, **kwargs):
        attributes = dict(*args, **kwargs)
        if any(str(name).startswith("_") for name in attributes):
            raise SecurityError("a namespace may not have names that begin with '_'")
        return Namespace(attributes)

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "namespace": namespace,
        "dict": lambda *args, **kwargs: dict(*args, **kwargs),  # the class itself is not needed
    }
    return environment


def render(template: str, conversations: list, variables: dict) -> list[str]:
    """Render each conversation in this process, within the sandbox but without limits on time.

    template: Jinja source. conversations: list of lists of messages. variables: what else the
    template sees (add_generation_prompt, tools, bos_token, ...). Returns one text a conversation.
    Raises ValueError with the template's complaint.
    """
    try:
        compiled = _environment().from_string(template)
        texts = []
        for messages in conversations:
            pieces, size = [], 0
            for piece in compiled.generate(messages=messages, **variables):
                size += len(piece)
                if size > OUTPUT_LIMIT:
                    raise ValueError(f"it wrote more than {OUTPUT_LIMIT:,} characters")
                pieces.append(piece)
            texts.append("".join(pieces))
        return texts
    except Exception as error:  # a template can raise whatever its expressions can
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"chat template: {reason[:500]}") from None


def render_isolated(
    template: str, conversations: list, variables: dict, time_limit: float = TIME_LIMIT
) -> list[str]:
    """`render` in a child process that is stopped when it takes too long or too much memory.

    Messages and variables must be JSON data (text, numbers, lists, dicts). Starting the child costs
    about a tenth of a second, once a call: give it many conversations at a time.
    time_limit: seconds, plus a hundredth for each conversation.
    Raises ValueError (the template's complaint, or the limit it met) and TypeError (no JSON data).
    """
    try:
        request = json.dumps([template, conversations, variables])
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"chat messages must be JSON data (text, lists, dicts): {error}") from None
    # Run by path, not as tinyqwen's module: importing the package would cost more than the work.
    program = (
        "import runpy, sys; sys.path[:] = filter(None, sys.path); "
        f"runpy.run_path({__file__!r}, run_name='__main__')"
    )
    seconds = time_limit + 0.01 * len(conversations)
    try:
        child = subprocess.run(
            [sys.executable, "-c", program, str(int(seconds) + 1)],
            input=request.encode("ascii"),
            capture_output=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"chat template: stopped after {seconds:g} s; it may loop for ever"
        ) from None
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        raise ValueError(
            f"chat template: its process died (exit code {child.returncode}); it may need more "
            f"than {MEMORY_LIMIT >> 20} MiB of memory or nest too deeply"
        ) from None
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["texts"]


def _limit_resources(seconds: int) -> None:
    with contextlib.suppress(ImportError):  # Windows has no such module
        import resource

        limits = {"RLIMIT_AS": MEMORY_LIMIT, "RLIMIT_CPU": seconds, "RLIMIT_CORE": 0}
        for name, limit in limits.items():
            # macOS knows the names but does not take every value; the time limit still holds.
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(getattr(resource, name), (limit, limit))


def _main() -> None:
    template, conversations, variables = json.load(sys.stdin)
    _limit_resources(int(sys.argv[1]))
    try:
        answer = {"texts": render(template, conversations, variables)}
    except ValueError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
