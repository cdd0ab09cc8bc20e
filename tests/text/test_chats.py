"""apply_chat_template: which template, what it is given, how it ends, and what is saved."""

import json

import numpy as np
import pytest
from test_tokenizer import BPE, WORDPIECE, saved

from tinyqwen.text import chat_template
from tinyqwen.text.chat_template import CHATML
from tinyqwen.text.tokenizer import Tokenizer

CHAT = [{"role": "user", "content": "The cat?"}]
ANSWERED = [*CHAT, {"role": "assistant", "content": "The red "}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
TURN = "<|im_start|>user\nThe cat?<|im_end|>\n"
OWN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"


def text(*arguments, tokenizer=BPE, **options):
    return tokenizer.apply_chat_template(*arguments, tokenize=False, **options)


@pytest.mark.filterwarnings("ignore:this tokenizer does not know")
def test_text_and_ids():
    assert text(CHAT) == TURN
    assert text(CHAT, add_generation_prompt=True) == TURN + "<|im_start|>assistant\n"
    assert text([CHAT, ANSWERED[:1]]) == [TURN, TURN]
    ids = BPE.encode(TURN)
    assert ids[0] == 328
    assert BPE.apply_chat_template(CHAT, return_dict=False) == ids
    assert BPE.apply_chat_template(CHAT) == {"input_ids": ids, "attention_mask": [1] * len(ids)}
    assert BPE.apply_chat_template([CHAT, CHAT], return_dict=False) == [ids, ids]
    assert BPE.apply_chat_template(CHAT, truncation=True, max_length=5)["input_ids"] == ids[:5]
    batch = BPE.apply_chat_template([CHAT, ANSWERED], padding=True, return_tensors="np")
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"][0].sum() == len(ids)
    np.testing.assert_array_equal(batch["input_ids"][0, : len(ids)], ids)
    assert WORDPIECE.encode("The cat")[0] == WORDPIECE.cls_token_id  # a mark of texts, not of chats
    marked = WORDPIECE.apply_chat_template(CHAT, chat_template=OWN, return_dict=False)
    assert marked == WORDPIECE.encode("<user>The cat?</>", add_special_tokens=False)
    with pytest.raises(ValueError, match="padding and max_length: a text has no tokens to count"):
        text(CHAT, padding=True, max_length=3)


def test_variables_reach_the_template_or_are_refused():
    own = "{{ messages[0].content }}{{ eos_token }}{{ name }}{{ tools is none }}"
    assert text(CHAT, chat_template=own, name="n") == "The cat?<|endoftext|>nTrue"
    with pytest.raises(ValueError, match="it does not read continue_final_mesage"):
        text(CHAT, continue_final_mesage=True)
    with pytest.raises(ValueError, match="it does not read tools, documents"):
        text(CHAT, chat_template=OWN, tools=TOOLS, documents=[{"text": "a"}])
    with pytest.raises(ValueError, match="it does not read documents"):
        text(CHAT, documents=[{"text": "a"}])


def test_the_stand_in_lists_tools_and_draws_calls():
    (system, user) = text(CHAT, tools=TOOLS).split("<|im_end|>\n")[:-1]
    assert system.startswith("<|im_start|>system\n")
    assert f"<tools>\n{json.dumps(TOOLS[0])}\n</tools>" in system
    assert user + "<|im_end|>\n" == TURN
    kind = [{"role": "system", "content": "Be kind."}, *CHAT]
    system, user = text(kind, tools=TOOLS).split("<|im_end|>\n")[:-1]
    assert system.startswith("<|im_start|>system\nBe kind.\n\n") and json.dumps(TOOLS[0]) in system
    assert user + "<|im_end|>\n" == TURN
    call = {"name": "weather", "arguments": {"city": "Bonn"}}
    for content in [{}, {"content": None}, {"content": ""}]:
        said = {"role": "assistant", "tool_calls": [{"function": call}], **content}
        assert text([said]) == (
            f"<|im_start|>assistant\n<tool_call>{json.dumps(call)}</tool_call><|im_end|>\n"
        )


@pytest.mark.parametrize(
    "template, open_end", [(None, "<|im_start|>assistant\n"), (OWN, "<assistant>")]
)
def test_the_last_message_is_continued(template, open_end):
    before = text(CHAT, chat_template=template)
    options = {"chat_template": template, "continue_final_message": True}
    assert text(ANSWERED, **options) == before + open_end + "The red "
    assert text([ANSWERED, CHAT], **options)[0] == before + open_end + "The red "
    trims = (template or CHATML).replace("message.content +", "message.content | trim +")
    trims = trims.replace("(message.content or '')", "(message.content | trim)")
    trims = trims.replace("{{ m.content }}", "{{ m.content | trim }}")
    options["chat_template"] = trims
    assert text(ANSWERED, **options) == before + open_end + "The red"
    assert ANSWERED[-1]["content"] == "The red "  # the caller's messages are as they were


def test_parts_of_a_message_are_continued():
    template = "{% for p in messages[0].content %}[{{ p.text }}]{% endfor %}"
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    message = {"role": "user", "content": parts}
    options = {"chat_template": template, "continue_final_message": True}
    assert text([message], **options) == "[a][b"


def test_chats_refuse():
    for messages in ["hi", [{"content": "a"}], [{"role": 5, "content": "a"}], ["a"], [None]]:
        with pytest.raises(TypeError, match="a message is a dict with 'role' and 'content'"):
            BPE.apply_chat_template(messages)
    for empty in [[], [[]], [CHAT, []]]:
        with pytest.raises(ValueError, match="needs at least one message"):
            BPE.apply_chat_template(empty)
    with pytest.raises(ValueError, match="chat template: "):
        text(CHAT, chat_template="{{ messages.__class__ }}")
    with pytest.raises(ValueError, match="return_tensors: a text has no tokens"):
        text(CHAT, return_tensors="np")
    both = {"continue_final_message": True, "add_generation_prompt": True}
    with pytest.raises(ValueError, match="exclude each other"):
        text(CHAT, **both)
    with pytest.raises(ValueError, match="no text to go on from"):
        text([{"role": "user", "content": None}], continue_final_message=True)
    with pytest.raises(ValueError, match="does not draw the last message"):
        text(ANSWERED, continue_final_message=True, chat_template="{{ messages[0].content }}")


# -- which template, and where it is saved --------------------------------------------------------


def test_named_templates():
    several = {"default": "d", "tool_use": "t{{ tools | length }}", "rag": "r"}
    tokenizer = Tokenizer(BPE.backend, {"chat_template": several})
    assert text(CHAT, tokenizer=tokenizer) == "d"
    assert text(CHAT, tokenizer=tokenizer, tools=TOOLS) == "t1"
    assert text(CHAT, tokenizer=tokenizer, chat_template="rag") == "r"
    assert text(CHAT, tokenizer=tokenizer, chat_template="own") == "own"
    del tokenizer.chat_template["default"]
    with pytest.raises(ValueError, match="none is the default; name one of tool_use, rag"):
        text(CHAT, tokenizer=tokenizer)


def test_without_a_template_chatml_stands_in():
    bare = Tokenizer(BPE.backend, {})
    assert bare.chat_template is None
    assert text(CHAT, tokenizer=bare) == TURN
    assert BPE.chat_template == CHATML


@pytest.mark.parametrize(
    "template", ["{{ messages[0].content }}!", {"default": "d", "x": "y"}, None]
)
def test_a_template_that_was_set_is_saved(tmp_path, template):
    saved(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("old")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "x.jinja").write_text("old")
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    assert tokenizer.chat_template == {"default": "old", "x": "old"}
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    again = Tokenizer.from_pretrained(tmp_path)
    assert again.chat_template == template
    again.save_pretrained(tmp_path / "new")
    assert Tokenizer.from_pretrained(tmp_path / "new").chat_template == template


@pytest.mark.parametrize("template, inside", [(None, True), (CHATML, True), (OWN, False)])
def test_a_strangers_template_is_never_drawn_in_this_process(monkeypatch, template, inside):
    drawn = []
    monkeypatch.setattr(chat_template, "render", lambda *_: drawn.append("here") or [""])
    monkeypatch.setattr(chat_template, "render_isolated", lambda *_: drawn.append("there") or [""])
    text(CHAT, chat_template=template)
    assert drawn == ["here" if inside else "there"]
