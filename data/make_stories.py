"""Write the stories: a grammar of small plots in which what is said later follows from what was said before.

    python data/make_stories.py            writes data/stories/ again, byte for byte
    python data/make_stories.py --check    compares instead, and says which file differs
"""

import argparse
import json
import math
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from grammar import draw, either, entropy, sample

END_OF_TEXT = "<|endoftext|>"
FOLDER = Path(__file__).parent / "stories"
SPLITS = {"train": (1, 3500), "validation": (2, 300)}  # name: (seed, number of stories)


# The world


@dataclass(frozen=True)
class Person:
    """A child with the pronouns that go with its name."""

    name: str
    child: str
    he: str
    him: str
    his: str

    @property
    def He(self):  # noqa: N802 - spelled as it is said
        return self.he.capitalize()

    def __str__(self):
        return self.name


@dataclass(frozen=True)
class Named:
    """A thing with a fact about it: what is done with a toy, how one is at a place, what an animal says."""

    name: str
    fact: str

    def __str__(self):
        return self.name


def named(**facts):
    return [Named(name, fact) for name, fact in facts.items()]


PEOPLE = [Person(name, "girl", "she", "her", "her") for name in "Mia Lily Anna Zoe Emma".split()]
PEOPLE += [Person(name, "boy", "he", "him", "his") for name in "Tom Ben Max Leo Sam".split()]
COLORS = "red blue green yellow black white pink".split()
TOYS = named(
    ball="threw",
    kite="flew",
    book="read",
    drum="beat",
    doll="hugged",
    boat="sailed",
    bell="rang",
    cup="filled",
)
BOXES = "box bag basket pot".split()
PLACES = named(park="in", garden="in", forest="in", farm="at", beach="at", school="at")
SPOTS = "tree bench rock bush".split()
PETS = named(dog="barked", cat="purred", duck="quacked", frog="jumped", bird="sang", pig="ran")
FOODS = "cake pear bun pie plum nut".split()
CLOTHES = "hat coat scarf".split()
WAYS = named(road="wide", river="deep", hill="steep")

a = draw("a", PEOPLE)
b = draw("b", PEOPLE, unlike="a")
c = draw("c", PEOPLE, unlike="a b")
color = draw("color", COLORS)
color2 = draw("color2", COLORS, unlike="color")
toy = draw("toy", TOYS)
toy2 = draw("toy2", TOYS, unlike="toy")
box = draw("box", BOXES)
box2 = draw("box2", BOXES, unlike="box")
spot = draw("spot", SPOTS)
spot2 = draw("spot2", SPOTS, unlike="spot")
food = draw("food", FOODS)
food2 = draw("food2", FOODS, unlike="food")
place = draw("place", PLACES)
pet = draw("pet", PETS)
clothes = draw("clothes", CLOTHES)
way = draw("way", WAYS)


# How stories begin and end

opening = (
    a,
    either(
        "Once upon a time, there was a {a.child} named {a}.",
        "There once was a little {a.child} named {a}.",
    ),
)
friend = (
    b,
    either("{a} had a friend named {b}.", "{a} lived near a {b.child} named {b}."),
)
has_toy = (
    (color, toy),
    either("{a} had a {color} {toy}.", "{a} loved {a.his} {color} {toy}."),
)
one_day = either("One day,", "One morning,")
ending_alone = either((3, ""), "{a} was happy.", "Then {a} went home.")
ending_together = either(
    (3, ""),
    "{a} and {b} were happy.",
    "{a} and {b} played all day.",
    "Then {a} and {b} went home.",
)


# The plots

moved_behind_her_back = (
    (friend, has_toy),
    (box, one_day, "{a} put the {color} {toy} in the {box}."),
    (place, "Then {a.he} went to the {place}."),
    (box2, "{b} took the {color} {toy} out of the {box} and hid it in the {box2}."),
    "When {a} came back from the {place}, {a.he} looked in the {box}.",
    either("The {toy} was not there.", "The {box} was empty."),
    either(
        '"Where is my {toy}?" asked {a}. "It is in the {box2}," said {b}.',
        "{a} was sad.",
        "",
    ),
    "{a} looked in the {box2} and found the {color} {toy}.",
    ending_together,
)

two_boxes = (
    has_toy,
    (color2, toy2, "{a.He} had a {color2} {toy2} too."),
    (box, one_day, "{a} put the {color} {toy} in the {box}"),
    (box2, "and the {color2} {toy2} in the {box2}."),
    (place, "Then {a.he} went to the {place}. When {a} came back from the {place},"),
    either(
        "{a.he} wanted the {toy}. {a.He} looked in the {box} and found the {color} {toy}.",
        "{a.he} wanted the {toy2}. {a.He} looked in the {box2} and found the {color2} {toy2}.",
    ),
    ending_alone,
)

trade = (
    (friend, has_toy),
    (color2, toy2, "{b} had a {color2} {toy2}."),
    "{a} liked the {color2} {toy2} and {b} liked the {color} {toy}.",
    either(
        '"Let us trade," said {a}.',
        '"Let us trade," said {b}.',
    ),
    "{a} gave {b} the {color} {toy} and {b} gave {a} the {color2} {toy2}.",
    either(
        "",
        "Now {a} had a {color2} {toy2} and {b} had a {color} {toy}.",
        "{a} {toy2.fact} the {toy2} and {b} {toy.fact} the {toy}.",
    ),
    ending_together,
)

lost_and_found = (
    (friend, has_toy),
    (place, one_day, "{a} lost the {color} {toy} {place.fact} the {place}."),
    either("", "{a} was sad."),
    '"I lost my {toy} {place.fact} the {place}," {a} told {b}.',
    "{a} and {b} went to the {place}.",
    (spot, "{a} looked under the {spot}."),
    either(
        "{a.He} found the {color} {toy}.",
        (
            "The {toy} was not there.",
            (spot2, "{b} looked under the {spot2} and found the {color} {toy}."),
            either("", '"Thank you, {b}," said {a}.'),
        ),
    ),
    ending_together,
)

passed_on = (
    (friend, has_toy),
    (one_day, "{a} gave the {color} {toy} to {b}."),
    (c, "Then {b} gave the {color} {toy} to {c}."),
    either("", "{c} {toy.fact} the {toy}."),
    '"Where is my {toy}?" {a} asked {b}. "I gave the {toy} to {c}," said {b}.',
    "So {a} went to {c}, and {c} gave {a} the {color} {toy} back.",
    ending_alone,
)

whose_is_it = (
    (friend, clothes, color, "{a} had a {color} {clothes}."),
    (color2, "{b} had a {color2} {clothes}."),
    (place, one_day, "{a} and {b} lost them {place.fact} the {place}."),
    (c, "{c} found a"),
    either(
        '{color} {clothes}. "Is this your {clothes}, {b}?" asked {c}.'
        ' "My {clothes} is {color2}," said {b}. "The {color} {clothes} is the {clothes} of {a}."'
        " So {c} gave the {color} {clothes} to {a}.",
        '{color2} {clothes}. "Is this your {clothes}, {a}?" asked {c}.'
        ' "My {clothes} is {color}," said {a}. "The {color2} {clothes} is the {clothes} of {b}."'
        " So {c} gave the {color2} {clothes} to {b}.",
    ),
)

tired_or_wide = (
    (color, pet, "{a} had a {color} {pet}."),
    (place, one_day, "{a} and the {pet} walked to the {place}. They came to a"),
    (way, "{way}. The {pet} did not cross the {way} because it was too"),
    either(
        "tired. So {a} carried the {pet}. At the {place}, the {pet} {pet.fact}.",
        "{way.fact}. So {a} and the {pet} went home. At home, the {pet} {pet.fact}.",
    ),
    ending_alone,
)

shared_food = (
    (food, food2, "{a} had a {food} and a {food2}."),
    (friend, one_day, "{b} was hungry."),
    '"I have a {food} and a {food2}," said {a}.',
    either(
        '"I like the {food}," said {b}. So {b} ate the {food} and {a} ate the {food2}.',
        '"I like the {food2}," said {b}. So {b} ate the {food2} and {a} ate the {food}.',
    ),
    ending_together,
)

lost_pet = (
    (color, pet, friend, "{a} had a {color} {pet}."),
    (one_day, "the {color} {pet} ran away."),
    '"Did you see my {pet}?" {a} asked {b}.',
    either(
        "",
        (color2, '"I saw a {color2} {pet}," said {b}. "My {pet} is not {color2}," said {a}.'),
    ),
    (place, '"I saw a {color} {pet} {place.fact} the {place}," said {b}.'),
    "So {a} went to the {place} and found the {color} {pet}.",
    either("", "The {pet} {pet.fact}."),
    ending_alone,
)

favorite_color = (
    (friend, color, "{b} liked {color} things."),
    (toy, color2, toy2, one_day, "{a} saw a"),
    either(
        "{color} {toy} and a {color2} {toy2}. {a} gave the {color} {toy} to {b}.",
        "{color2} {toy2} and a {color} {toy}. {a} gave the {color} {toy} to {b}.",
    ),
    '"Thank you, {a}," said {b}.',
    "{b} {toy.fact} the {color} {toy}",
    either("all day.", "and {a} {toy2.fact} the {color2} {toy2}."),
)

STORY = (
    opening,
    either(
        moved_behind_her_back,
        two_boxes,
        trade,
        lost_and_found,
        passed_on,
        whose_is_it,
        tired_or_wide,
        shared_food,
        lost_pet,
        favorite_color,
    ),
)


# The files


def write_split(seed, count):
    """The stories of one split, a line of END_OF_TEXT between them, and their -ln P in nats."""
    rng = random.Random(seed)
    stories, nats = zip(*(sample(STORY, rng) for _ in range(count)))
    return stories, nats


def build():
    """Return {file name: text} of all that belongs into data/stories/."""
    files = {}
    for split, (seed, count) in SPLITS.items():
        stories, nats = write_split(seed, count)
        files[f"{split}.txt"] = f"\n{END_OF_TEXT}\n".join(stories) + "\n"
    report = {
        "split": "validation",
        "seed": seed,
        "documents": count,
        "characters": sum(map(len, stories)),
        "nats": round(math.fsum(nats), 6),
        "nats_per_story": round(math.fsum(nats) / count, 6),
        "entropy_of_grammar": round(entropy(STORY), 6),
    }
    files["entropy.json"] = json.dumps(report, indent=2) + "\n"
    return files


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files; write nothing")
    check = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    for name, text in build().items():
        path = FOLDER / name
        if check and path.read_bytes() != text.encode():
            sys.exit(f"{path} is not what this program writes; run it without --check")
        if not check:
            path.write_bytes(text.encode())


if __name__ == "__main__":
    main()
