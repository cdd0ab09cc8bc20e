"""Write the questions and riddles: conversations about stories; and stories with a label.

python data/make_questions.py            writes data/questions/, labels/ and riddles/, byte for byte
python data/make_questions.py --check    compares instead, and says which file differs

The stories come from the grammar of make_stories.py, which remembers what it draws: who is {a}, in
which {box} the {toy} is. So a question and its answer are two templates, filled from one memory.
"""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import make_stories as stories
from grammar import sample

DATA = Path(__file__).parent
# Kinds that are learned last, and plots with them: to train on, they come more often.
OFTEN = {"where was it found": 3, "why": 3, "lost_and_found": 2, "lost_pet": 2, "tired_or_wide": 2}
# Split: (seed, number of conversations, how often what is named here counts, else once).
SPLITS = {"train": (11, 5000, OFTEN), "validation": (12, 300, {})}
RIDDLE_SPLITS = {"train": (31, 2000, {}), "validation": (32, 200, {})}
LABELS = {"train": (21, 1500), "validation": (22, 500)}  # name: (seed, number of stories)
UNKNOWN = "The story does not say."
UNANSWERABLE = 1 / 8  # the share of draws that the story does not answer; most are asked once


@dataclass(frozen=True)
class Question:
    """A question, its answer, and what must stand in the story for the answer to be this one."""

    kind: str
    ask: str
    answer: str
    when: str = ""


def of_kind(kind, *rows):
    return [Question(kind, *row) for row in rows]


# What may be asked, by plot. Names and colors stand in an answer as they do in a story, after a
# word, for at its beginning they are other tokens.

TOY = "the {color} {toy}"
TOY2 = "the {color2} {toy2}"
WHO_IS = of_kind(
    "who is", ("Who is the {b.sibling} of {a}?", "it is {b}", "{b} was the {b.sibling}")
)
WHERE_TO = of_kind("where to", ("Where did {a} go?", "to the {place}"))
WHAT_COLOR = of_kind("what color", ("What color is the {toy}?", "it is {color}"))

ABOUT = {
    "moved_behind_the_back": [
        *of_kind("who put it there", (f"Who put {TOY} in the {{box2}}?", "it was {b}")),
        *WHERE_TO,
        *WHAT_COLOR,
        *WHO_IS,
    ],
    "two_boxes": WHERE_TO,
    "lost_and_found": [
        *WHAT_COLOR,
        *of_kind(
            "where was it found",
            (f"Where was {TOY}?", f"{TOY} was under the {{spot}}", "was under the {spot}"),
            (f"Where was {TOY}?", f"{TOY} was under the {{spot2}}", "not under the {spot}"),
        ),
        *WHO_IS,
    ],
    "passed_on": [
        *of_kind("who has it", (f"Who has {TOY} now?", f"{TOY} is with {{a}}")),
        *WHAT_COLOR,
        *WHO_IS,
    ],
    "whose_is_it": [
        *of_kind(
            "who got it",
            ("Who got a {clothes} from {c}?", "it was {a}", "gave the {color} {clothes}"),
            ("Who got a {clothes} from {c}?", "it was {b}", "gave the {color2} {clothes}"),
        ),
        *WHO_IS,
    ],
    "tired_or_wide": [
        *of_kind(
            "why",
            (
                "Why did the {pet} not cross the {way}?",
                "because the {pet} was too tired",
                "too tired",
            ),
            (
                "Why did the {pet} not cross the {way}?",
                "because the {way} was too {way.fact}",
                "too {way.fact}",
            ),
        ),
        *of_kind("what color", ("What color is the {pet}?", "it is {color}")),
        *of_kind("yes or no", ("Did the {pet} cross the {way}?", "no")),
    ],
    "shared_food": [*of_kind("who was hungry", ("Who was hungry?", "it was {b}")), *WHO_IS],
    "lost_pet": [
        *of_kind("what color", ("What color is the {pet} of {a}?", "it is {color}")),
        *of_kind("who saw it", ("Who saw the {color} {pet}?", "it was {b}")),
        *of_kind(
            "where was it found",
            ("Where was the {color} {pet}?", "the {color} {pet} was {place.fact} the {place}"),
        ),
        *WHO_IS,
    ],
    "favorite_color": [
        *of_kind(
            "why", (f"Why did {{a}} give {TOY} to {{b}}?", "because {b} loved all {color} things")
        ),
        *WHO_IS,
    ],
    "wish": [
        *of_kind("who put it there", (f"Who put {TOY} in the {{box}}?", "it was {b}")),
        *of_kind("who has it", (f"Who has {TOY} now?", f"{TOY} is with {{a}}")),
        *WHAT_COLOR,
        *WHO_IS,
    ],
    "race": [
        *of_kind(
            "who was first",
            ("Who was first?", "it was {a}", "{a} was first"),
            ("Who was first?", "it was {b}", "{b} was first"),
        ),
        *of_kind(
            "who got it",
            (f"Who got {TOY} from {{c}}?", "it was {a}", "{a} was first"),
            (f"Who got {TOY} from {{c}}?", "it was {b}", "{b} was first"),
        ),
        *WHO_IS,
    ],
}

# Riddles: two things, boxes or people come into question, and which it is stands where the story
# speaks of the one that was asked for. The bundled model, which has read for a minute, has not
# learned to look there.
HAS_IT = of_kind(
    "who has it",
    (f"Who has {TOY} now?", f"{TOY} is with {{b}}"),
    (f"Who has {TOY2} now?", f"{TOY2} is with {{a}}"),
)
RIDDLES = {
    "moved_behind_the_back": of_kind(
        "where is it", (f"Where is {TOY} now?", f"{TOY} is in the {{box2}}")
    ),
    "two_boxes": of_kind(
        "where is it",
        (f"Where is {TOY} now?", f"{TOY} is in the {{box}}"),
        (f"Where is {TOY2} now?", f"{TOY2} is in the {{box2}}"),
    ),
    "trade": HAS_IT,
    "favorite_color": HAS_IT,
    "passed_on": of_kind(
        "who got it",
        (f"Who got {TOY} from {{a}}?", "it was {b}"),
        (f"Who got {TOY} from {{b}}?", "it was {c}"),
    ),
    "race": of_kind(
        "yes or no",
        ("Was {a} first?", "yes", "{a} was first"),
        ("Was {a} first?", "no", "{b} was first"),
    ),
    "whose_is_it": of_kind(
        "whose is it",
        ("Whose is the {color} {clothes}?", "the {color} {clothes} is that of {a}"),
        ("Whose is the {color2} {clothes}?", "the {color2} {clothes} is that of {b}"),
    ),
    "shared_food": of_kind(
        "who ate it",
        ("Who ate the {food}?", "it was {a}", "{a} ate the {food}."),
        ("Who ate the {food}?", "it was {b}", "{b} ate the {food} and"),
        ("Who ate the {food2}?", "it was {a}", "{a} ate the {food2}."),
        ("Who ate the {food2}?", "it was {b}", "{b} ate the {food2} and"),
    ),
}

# What no story of another plot answers: (the question, what would have to stand in the story).
# {x} is a toy, a pet or something to wear that the story does not have.
OF_OTHERS = [
    ("What color is the {x}?", None),
    ("Where was the {x}?", None),
    ("Who has the {x} now?", None),
    ("Who was hungry?", "hungry"),
    ("Who was first?", "first"),
    ("Who is the sister of {a}?", " was the "),
    ("Who is the brother of {a}?", " was the "),
]
THINGS = [*stories.TOYS, *stories.PETS, *stories.CLOTHES]


def one_of(items, rng):
    """One of several; only random() is called, which every Python version computes alike."""
    return items[int(rng.random() * len(items))]


def tell(plot, rng):
    """A story of a plot, and what it is about: {slot: thing}."""
    memory = {}
    text, _ = sample((stories.opening, getattr(stories, plot)), rng, memory)
    return text, memory


def fitting(questions, story, memory):
    """Those that this story answers."""
    return [q for q in questions if q.when.format_map(Later(memory)) in story]


def foreign(story, memory, rng):
    """A question that this story does not answer."""
    questions = [q for q, words in OF_OTHERS if words is None or words not in story]
    absent = [thing for thing in THINGS if f" {thing}" not in story]
    return one_of(questions, rng).format_map({**memory, "x": one_of(absent, rng)})


class Later(dict):
    """A memory in which a thing that the story did not come to is a word that no story holds."""

    def __missing__(self, slot):
        return "(nothing)"


def converse(rng, about, often, traps):
    """A conversation: a story and one to three different questions, with answers.

    about: the questions of each plot; often: {plot or kind: how often it counts, if not once};
    traps: the share of questions that the story does not answer.
    """
    plot = one_of([plot for plot in about for _ in range(often.get(plot, 1))], rng)
    story, memory = tell(plot, rng)
    questions = fitting(about[plot], story, memory)
    weighted = [q for q in questions for _ in range(often.get(q.kind, 1))]
    asked, count = {}, min(one_of((1, 2, 3, 3, 3, 3, 3, 3), rng), len(questions))
    while len(asked) < count:
        if rng.random() < traps:
            asked[foreign(story, memory, rng)] = UNKNOWN
        else:
            question = one_of(weighted, rng)
            answer = question.answer.format_map(memory)
            asked[question.ask.format_map(memory)] = f"{answer[0].upper()}{answer[1:]}."
    messages = []
    for i, (question, answer) in enumerate(asked.items()):
        content = question if i else f"{story}\n{question}"
        messages += [
            {"role": "user", "content": content},
            {"role": "assistant", "content": answer},
        ]
    return story, {"messages": messages}


def question(rng, often):
    """A conversation that can be learned."""
    return converse(rng, ABOUT, often, UNANSWERABLE)


def riddle(rng, often):
    """A conversation of riddles, all of which the story answers."""
    return converse(rng, RIDDLES, often, 0)


# Who has the thing at the end: the one whom the story is about, or the other one?

HOLDERS = {
    "passed_on": [("hero", "")],
    "wish": [("hero", "")],
    "favorite_color": [("friend", "")],
    "whose_is_it": [("hero", "gave the {color} {clothes} to"), ("friend", "gave the {color2}")],
    "race": [("hero", "{a} was first"), ("friend", "{b} was first")],
}


def label(rng):
    """A story in which something is given, and who has it at the end: "hero" or "friend"."""
    plot = one_of(list(HOLDERS), rng)
    story, memory = tell(plot, rng)
    (holder,) = (name for name, when in HOLDERS[plot] if when.format_map(memory) in story)
    return story, {"text": story, "label": holder}


# The files


def known():
    """The stories that the bundled model was trained and validated on."""
    splits = (stories.tell(*split) for split in stories.SPLITS.values())
    return {story for texts, _ in splits for story in texts}


def draw(splits, make, seen):
    """{file name: text} of the splits; no story comes twice, or was `seen` elsewhere."""
    files = {}
    for split in sorted(splits, reverse=True):  # validation first, so that train can avoid it
        seed, count, *options = splits[split]
        rng, lines = random.Random(seed), []
        while len(lines) < count:
            story, record = make(rng, *options)
            if story not in seen:
                seen.add(story)
                lines.append(json.dumps(record) + "\n")
        files[f"{split}.jsonl"] = "".join(lines)
    return files


def build():
    """Return {folder: {file name: text}} of data/questions/, data/labels/ and data/riddles/."""
    seen = known()
    return {
        "questions": draw(SPLITS, question, seen),
        "labels": draw(LABELS, label, seen),
        "riddles": draw(RIDDLE_SPLITS, riddle, seen),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the files, write nothing")
    check = parser.parse_args().check
    for folder, files in build().items():
        stories.write_or_check(DATA / folder, files, check)


if __name__ == "__main__":
    main()
