"""Questions, riddles and labels in data/: a reader who knows no grammar finds the same answers."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from tinyqwen.text.tokenizer import Tokenizer

DATA = Path(__file__).parent.parent / "data"
sys.path.insert(0, str(DATA))

import make_questions  # noqa: E402
import make_stories  # noqa: E402

SPLITS = ("train", "validation")
PUT, WENT, SAW = "(?:put|hid)", "(?:went|ran|walked)", "(?:saw|found)"
HAD = "(?:had a|got a|loved (?:his|her))"

# A question, and where the reader looks for its answer, first things first; {0} and {1} are what
# the question names, \1 what is found, and a leading ".*" finds what the story says last.
READER = [
    (
        r"Where is the (.+) now\?",
        [(rf".*the {{0}} (?:and {PUT} it )?in the (\w+)", r"The {0} is in the \1.")],
    ),
    (
        r"Who put the (.+) in the (\w+)\?",
        [
            (rf"(\w+) (?:took|saw) the {{0}} and {PUT} it in the {{1}}", r"It was \1."),
            (r"(\w+) put a {0} in a {1}", r"It was \1."),
        ],
    ),
    (r"Where did .+ go\?", [(rf"{WENT} to the (\w+)", r"To the \1.")]),
    (
        r"Who has the (.+) now\?",
        [
            (rf"So (\w+) {WENT} to \w+ and got the {{0}} back", r"The {0} is with \1."),
            (r"gave (\w+) the {0}", r"The {0} is with \1."),
            (r".*gave the {0} to (\w+)", r"The {0} is with \1."),
            (r"(\w+) looked in the \w+ and found the {0}", r"The {0} is with \1."),
            (rf"(\w+) {SAW} a .*?\b{{0}}\b", r"The {0} is with \1."),
        ],
    ),
    (
        r"What color is the (\w+) of (\w+)\?",
        [(rf"{{1}} {HAD} (\w+) {{0}}", r"It is \1.")],
    ),
    (r"What color is the (\w+)\?", [(r"(?:a|the|his|her) (\w+) {0}\b", r"It is \1.")]),
    (
        r"Where was the (.+)\?",
        [
            (r"The {0} was under the (\w+)", r"The {0} was under the \1."),
            (r"looked under the (\w+) and found the {0}", r"The {0} was under the \1."),
            (r"looked in the (\w+) and found the {0}", r"The {0} was in the \1."),
            (r"I saw a {0} (.+?),", r"The {0} was \1."),
        ],
    ),
    (
        r"Who got (?:the|a) (.+) from (\w+)\?",
        [
            (r"{1} gave (\w+) the {0}", r"It was \1."),
            (r"{1} gave the (?:\w+ )?{0} to (\w+)", r"It was \1."),
        ],
    ),
    (r"Whose is the (\w+ \w+)\?", [(rf"(\w+) {HAD} {{0}}", r"The {0} is that of \1.")]),
    (
        r"Why did the (\w+) not cross the (\w+)\?",
        [
            (r"The ({0}) did .* because it was too tired", r"Because the \1 was too tired."),
            (r"cross the ({1}) because it was too (\w+)", r"Because the \1 was too \2."),
        ],
    ),
    (r"Why did \w+ give the .+ to (\w+)\?", [(r"{0} loved all (\w+) things", r"Because \g<0>.")]),
    (r"Did the (\w+) cross the (\w+)\?", [(r"The {0} did not cross the {1}", "No.")]),
    (r"Who ate the (\w+)\?", [(r"(\w+) ate the {0}", r"It was \1.")]),
    (r"Who was hungry\?", [(r"(\w+) \w+ to \w+ and was hungry", r"It was \1.")]),
    (r"Who saw the (.+)\?", [(r'"I saw a {0} [^"]*" said (\w+)', r"It was \1.")]),
    (r"Was (\w+) first\?", [(r"{0} was first", "Yes."), (r"\w+ was first", "No.")]),
    (r"Who was first\?", [(r"(\w+) was first", r"It was \1.")]),
    (r"Who is the (\w+) of (\w+)\?", [(r"(\w+) was the {0} of {1}", r"It is \1.")]),
]


def read(story, question):
    """(number of the kind of question, the answer that stands in the story)"""
    for kind, (pattern, places) in enumerate(READER):
        asked = re.fullmatch(pattern, question)
        if asked:
            for place, answer in places:
                look = re.match if place.startswith(".*") else re.search  # from each place: slow
                found = look(place.format(*asked.groups()), story)
                if found:
                    answer = found.expand(answer.format(*asked.groups()))
                    return kind, answer[0].upper() + answer[1:]
            return kind, "The story does not say."
    raise AssertionError(f"a question that the reader does not understand: {question}")


def records(folder, split):
    lines = (DATA / folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def conversations(folder, split):
    """(story, [(question, answer), ...]) of each conversation."""
    for record in records(folder, split):
        assert list(record) == ["messages"]
        messages = record["messages"]
        assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2)
        texts = [m["content"] for m in messages]
        story, texts[0] = texts[0].split("\n")
        yield story, list(zip(texts[::2], texts[1::2]))


def test_files_are_what_the_program_writes():
    for folder, files in make_questions.build().items():
        assert sorted(files) == ["train.jsonl", "validation.jsonl"]
        for name, text in files.items():
            assert (DATA / folder / name).read_bytes() == text.encode()


def read_all(folder, split):
    """How often each kind of question is asked, and how often it is not answered; each answer
    compared with what the reader finds."""
    kinds, unanswered = Counter(), Counter()
    for story, pairs in conversations(folder, split):
        assert 1 <= len(pairs) <= 3 and len({question for question, _ in pairs}) == len(pairs)
        for question, answer in pairs:
            kind, found = read(story, question)
            assert found == answer, (story, question)
            kinds[kind] += 1
            unanswered[kind] += answer == "The story does not say."
    return kinds, unanswered


@pytest.mark.parametrize("split", SPLITS)
def test_a_reader_finds_the_same_answers(split):
    kinds, unanswered = read_all("questions", split)
    assert len(kinds) >= 10
    assert 0.1 < sum(unanswered.values()) / sum(kinds.values()) < 0.2
    # What is unanswerable is not told by the kind of question: each of these is asked both ways.
    both_ways = [kind for kind in kinds if 0 < unanswered[kind] < kinds[kind]]
    assert len(both_ways) >= 6
    riddles, unanswered = read_all("riddles", split)
    assert not sum(unanswered.values())
    assert kinds.keys() | riddles.keys() == set(range(len(READER)))


def test_most_answers_are_not_the_commonest_one():
    pairs = [pair for _, pairs in conversations("questions", "train") for pair in pairs]
    answers = Counter(answer for _, answer in pairs)
    assert answers.most_common(1)[0][1] < 0.2 * sum(answers.values())
    assert len(answers) > 100


def test_no_story_is_in_two_places():
    places = {
        (folder, split): [story for story, _ in conversations(folder, split)]
        for folder in ("questions", "riddles")
        for split in SPLITS
    }
    places |= {
        ("labels", split): [record["text"] for record in records("labels", split)]
        for split in SPLITS
    }
    for split in SPLITS:
        text = (DATA / "stories" / f"{split}.txt").read_text(encoding="utf-8")
        places["stories", split] = set(text.split(f"\n{make_stories.END_OF_TEXT}\n"))
    stories = [story.strip() for found in places.values() for story in found]
    assert len(set(stories)) == len(stories)


@pytest.mark.parametrize("split", SPLITS)
def test_labels_say_who_has_it_at_the_end(split):
    """The last one to whom the thing is said to go, hero or friend; the hero is named first."""
    labels = Counter()
    for record in records("labels", split):
        assert list(record) == ["text", "label"]
        story = record["text"]
        hero = re.search(r"(?:named|about) (\w+)\.", story)[1]
        patterns = [
            r".*gave the \w+ \w+ to (\w+)",
            r".*gave (\w+) the \w+ \w+",
            r".*So (\w+) \w+ to \w+ and got the \w+ \w+ back",
            r".*\b(\w+) looked in the \w+ and found",
        ]
        found = [re.match(pattern, story) for pattern in patterns]
        last = max(filter(None, found), key=lambda match: match.start(1))
        assert record["label"] == ("hero" if last[1] == hero else "friend"), story
        labels[record["label"]] += 1
    assert set(labels) == {"hero", "friend"}
    assert min(labels.values()) > 0.3 * sum(labels.values())


def test_the_bundled_model_can_read_them():
    """No letter that its stories lack, special tokens for the turns, and room for all."""
    tokenizer = Tokenizer.from_pretrained(DATA / "model")
    config = json.loads((DATA / "model" / "config.json").read_text(encoding="utf-8"))
    seen = set((DATA / "stories" / "train.txt").read_text(encoding="utf-8").lower())
    files = [(folder, split) for folder in ("questions", "riddles") for split in SPLITS]
    chats = [record["messages"] for file in files for record in records(*file)]
    assert {char for chat in chats for m in chat for char in m["content"].lower()} <= seen
    chats.sort(key=lambda chat: sum(len(m["content"]) for m in chat))
    chats = chats[-300:] + chats[::10]  # the longest, and some of all lengths
    rows = tokenizer.apply_chat_template(chats, return_dict=False)
    assert max(map(len, rows)) <= config["max_position_embeddings"] // 2
    for chat, row in zip(chats, rows):
        assert row.count(tokenizer.special_tokens["<|im_start|>"]) == len(chat)


def test_together_they_are_small():
    folders = ("questions", "labels", "riddles")
    files = [file for folder in folders for file in (DATA / folder).iterdir()]
    assert sum(file.stat().st_size for file in files) < 5e6
