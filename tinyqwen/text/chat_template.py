"""Chat templates: Jinja programs, found in tokenizer_config.json, that turn messages into one text.

A template comes with a checkpoint and is a stranger's program. Two walls stand around it. Jinja's
sandbox keeps it from Python's objects. A process of its own, with limits on time, memory and
output, keeps one that loops for ever, or doubles a string forty times, from taking the caller with
it: no check inside a process could stop either in the middle of a single C call.

    render(template, conversations, variables)      here and now: for a template we wrote (CHATML)
    render_isolated(...)                            the same in a child process: for all others
    render_chats(...)                               whichever it is, with the options of a chat

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
# Tools are listed at the end of the system message.
CHATML = """\
{%- macro functions() %}
{{- 'Functions to call, each a JSON object:\\n<tools>\\n' }}
{%- for tool in tools %}{{- tool | tojson + '\\n' }}{%- endfor %}
{{- '</tools>\\nTo call one: <tool_call>{"name": ..., "arguments": {...}}</tool_call>' }}
{%- endmacro %}
{%- if tools and messages[0].role != 'system' %}
{{- '<|im_start|>system\\n' + functions() + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.content is not string and not (message.tool_calls and not message.content) %}
{{- raise_exception("each message needs a 'content' that is text") }}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>' + (call.function or call) | tojson + '</tool_call>' }}
{%- endfor %}
{%- if tools and loop.first and message.role == 'system' %}{{- '\\n\\n' + functions() }}{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
_CONTINUED = "<|here the last message goes on|> "  # the space shows whether the template trims


def choose_template(own: str | dict | None, asked: str | None, tools: list | None) -> str:
    """Jinja source: the one asked for, by name or as it is, or else the tokenizer's own.

    own: a template, or {name: template}; of several, "tool_use" is for chats with tools, "default"
    for others. Where there is none at all, ChatML stands in.
    """
    if not isinstance(own, dict):
        return asked or own or CHATML
    if asked is not None:
        return own.get(asked, asked)
    name = "tool_use" if tools is not None and "tool_use" in own else "default"
    if name not in own:
        raise ValueError(f"chat_template: none is the default; name one of {', '.join(own)}")
    return own[name]


def render_chats(
    template: str,
    conversations: list,
    marks: dict,
    given: dict,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
) -> list[str]:
    """The text of each conversation.

    marks: {"eos_token": text, ...}. given: what the caller hands to the template, tools for one;
    what is not None must be read by it. continue_final_message: end where the last message's
    content ends. Raises ValueError, and TypeError for what is no message.
    """
    for messages in conversations:
        if not messages:
            raise ValueError("a conversation needs at least one message")
        for message in messages:
            if not isinstance(message, dict) or not isinstance(message.get("role"), str):
                raise TypeError(
                    f"a message is a dict with 'role' and 'content'; got {message!r:.80}"
                )
    if continue_final_message:
        if add_generation_prompt:
            raise ValueError("continue_final_message and add_generation_prompt exclude each other")
        conversations = [[*messages[:-1], _continued(messages[-1])] for messages in conversations]
    variables = {**marks, **given, "add_generation_prompt": add_generation_prompt}
    read = [name for name, value in given.items() if value is not None]
    draw = render if template == CHATML else render_isolated  # ours needs no guarding
    texts = draw(template, conversations, variables, read)
    return [_ended(text) for text in texts] if continue_final_message else texts


def _continued(message: dict) -> dict:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": content + _CONTINUED}
    if isinstance(content, list):
        for i in reversed(range(len(content))):
            part = content[i]
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                part = {**part, "text": part["text"] + _CONTINUED}
                return {**message, "content": [*content[:i], part, *content[i + 1 :]]}
    raise ValueError("continue_final_message: the last message has no text to go on from")


def _ended(text: str) -> str:
    place = text.rfind(_CONTINUED.rstrip())
    if place < 0:
        raise ValueError("continue_final_message: the template does not draw the last message")
    kept = text[:place]
    return kept if text.startswith(_CONTINUED, place) else kept.rstrip()


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


def render(template: str, conversations: list, variables: dict, read: list = ()) -> list[str]:
    """Render each conversation in this process, within the sandbox but without limits on time.

    template: Jinja source. conversations: list of lists of messages. variables: what else the
    template sees (add_generation_prompt, tools, bos_token, ...). read: names of variables that the
    template must read somewhere, for what it does not read would be lost in silence.
    Returns one text a conversation. Raises ValueError with the template's complaint.
    """
    try:
        environment = _environment()
        if read:
            names = {name.name for name in environment.parse(template).find_all(_name_node())}
            if lost := [name for name in read if name not in names]:
                raise ValueError(f"it does not read {', '.join(lost)}")
        compiled = environment.from_string(template)
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


def _name_node():
    import jinja2.nodes

    return jinja2.nodes.Name


def render_isolated(
    template: str,
    conversations: list,
    variables: dict,
    read: list = (),
    time_limit: float = TIME_LIMIT,
) -> list[str]:
    """`render` in a child process that is stopped when it takes too long or too much memory.

    Messages and variables must be JSON data (text, numbers, lists, dicts). Starting the child costs
    about a tenth of a second, once a call: give it many conversations at a time.
    time_limit: seconds, plus a hundredth for each conversation.
    Raises ValueError (the template's complaint, or the limit it met) and TypeError (no JSON data).
    """
    try:
        request = json.dumps([template, conversations, variables, list(read)])
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
    template, conversations, variables, read = json.load(sys.stdin)
    _limit_resources(int(sys.argv[1]))
    try:
        answer = {"texts": render(template, conversations, variables, read)}
    except ValueError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _main()
