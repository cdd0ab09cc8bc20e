"""Write the stories: little plots in which what comes later follows from what came before.

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
SPLITS = {"train": (1, 4500), "validation": (2, 300)}  # name: (seed, number of stories)


# The world


@dataclass(frozen=True)
class Person:
    """A child with the pronouns that go with its name."""

    name: str
    child: str
    sibling: str
    he: str
    him: str
    his: str

    @property
    def He(self):
        return self.he.capitalize()

    def __str__(self):
        return self.name


@dataclass(frozen=True)
class Named:
    """A thing and a fact about it: what one does with a toy, how one is at a place."""

    name: str
    fact: str

    def __str__(self):
        return self.name


def named(**facts):
    return [Named(name, fact) for name, fact in facts.items()]


GIRLS = ["Mia", "Lily", "Anna", "Zoe", "Emma", "Sue"]
BOYS = ["Tom", "Ben", "Max", "Leo", "Sam", "Jack"]
PEOPLE = [Person(name, "girl", "sister", "she", "her", "her") for name in GIRLS]
PEOPLE += [Person(name, "boy", "brother", "he", "him", "his") for name in BOYS]
COLORS = ["red", "blue", "green", "yellow", "black", "white", "pink", "brown"]
TOYS = named(
    ball="threw",
    kite="flew",
    book="read",
    drum="beat",
    doll="hugged",
    boat="sailed",
    bell="rang",
    car="drove",
    cup="filled",
)
BOXES = ["box", "bag", "basket", "pot", "bed"]
PLACES = named(
    park="in", garden="in", forest="in", farm="at", beach="at", lake="at", school="at", hill="on"
)
SPOTS = ["tree", "rock", "bench", "bush"]
PETS = named(dog="barked", cat="slept", duck="swam", frog="jumped", bird="sang", pig="ate")
FOODS = ["cake", "pear", "bun", "pie", "plum", "nut"]
CLOTHES = ["hat", "coat", "scarf"]
WAYS = named(road="wide", river="deep", bridge="old")

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
home = draw("home", PLACES)
place = draw("place", PLACES)
pet = draw("pet", PETS)
clothes = draw("clothes", CLOTHES)
way = draw("way", WAYS)


# Phrases that several plots share

one_day = either("One day,", "One morning,", "One evening,", "One night,", "One summer,")
went = either("went", "ran", "walked")
put = either("put", "hid")
saw = either("saw", "found")
a_had_a = either("{a} had a", "{a} got a", "{a} loved {a.his}")
she_had_a = either(a_had_a, "{a.He} had a", "{a.He} got a")
b_had_a = either("{b} had a", "{b} got a", "{b} loved {b.his}")

opening = (
    a,
    either(
        (
            either((2, "Once upon a time, there was a"), "There once was a"),
            either("little", "big", "kind", "happy", "good"),
            "{a.child} named {a}.",
        ),
        "This is a story about {a}.",
    ),
)
friend = (
    b,
    either(
        "{a} had a friend named {b}.",
        "{b} was the {b.sibling} of {a}.",
        ("{a} and {b}", either("were friends.", (home, "lived near a {home}."))),
    ),
)
has_toy = (
    either(
        (a_had_a, color, toy, "{color} {toy}."),
        (
            either("{a} had a", "{a} got a"),
            color,
            toy,
            "{color} {toy}. {a} loved the {color} {toy}.",
        ),
    ),
)

ending_alone = either(
    (4, ""),
    "{a} was happy.",
    "Then {a} went home.",
    "It was a good day.",
)
ending_together = either(
    (4, ""),
    "{a} and {b} were happy.",
    "{a} and {b} played all day.",
    "Then {a} and {b} went home.",
    "It was a good day.",
)


# The plots

moved_behind_the_back = (
    (friend, has_toy),
    (one_day, "{a}", put, box, "the {color} {toy} in the {box}"),
    ("and", went, place, "to the {place}."),
    ("{b}", either("took", "saw"), "the {color} {toy} and", put, box2, "it in the {box2}."),
    "{a} came back and looked in the {box}.",
    either("The {color} {toy} was not in the {box}.", "The {box} was empty."),
    either(
        '"Where is my {color} {toy}?" said {a}. "In the {box2}," said {b}.',
        "{a} looked in the {box2} and found the {color} {toy}.",
    ),
    ending_together,
)

two_boxes = (
    (she_had_a, color, toy, "{color} {toy}"),
    (color2, toy2, "and a {color2} {toy2}."),
    (one_day, "{a}", put, box, "the {color} {toy} in the {box} and"),
    ("the {color2} {toy2} in the", box2, "{box2}. Then {a.he}", went, place, "to the {place}."),
    "{a} came back and wanted the",
    either(
        "{color} {toy}. The {color} {toy} was in the {box}.",
        "{color2} {toy2}. The {color2} {toy2} was in the {box2}.",
    ),
    ending_alone,
)

trade = (
    (friend, has_toy),
    (b_had_a, color2, toy2, "{color2} {toy2}."),
    either(
        '"I like your {toy2}," said {a}. "I like your {toy}," said {b}.',
        '"I like your {toy}," said {b}. "I like your {toy2}," said {a}.',
    ),
    "So {a} gave {b} the {color} {toy} and {b} gave {a} the {color2} {toy2}.",
    either(
        "",
        "Now {a} had a {color2} {toy2} and {b} had a {color} {toy}.",
        "{a} {toy2.fact} the {toy2} and {b} {toy.fact} the {color} {toy}.",
    ),
    ending_together,
)

lost_and_found = (
    (friend, has_toy),
    (one_day, "{a} lost the {color} {toy}", place, "{place.fact} the {place}."),
    ("{a} and {b}", went, "to the {place}."),
    (either("{a}", "{b}"), "looked under the", spot, "{spot}."),
    either(
        "The {color} {toy} was under the {spot}.",
        (
            "The {color} {toy} was not under the {spot}.",
            (either("{a}", "{b}"), "looked under the", spot2, "{spot2}"),
            "and found the {color} {toy}.",
        ),
    ),
    either("", '"Thank you, {b}," said {a}.'),
    ending_together,
)

passed_on = (
    (friend, has_toy),
    (one_day, "{a} gave the {color} {toy} to {b}."),
    (c, "{b} gave the {color} {toy} to {c}."),
    either("", "{c} {toy.fact} the {color} {toy}."),
    '"Where is my {color} {toy}?" said {a}. "I gave it to {c}," said {b}.',
    ("So {a}", went, "to {c} and got the {color} {toy} back."),
    ending_alone,
)

a_says_no = '"Is it your {clothes}, {a}?" said {c}. "My {clothes} is {color}," said {a}.'
b_says_no = '"Is it your {clothes}, {b}?" said {c}. "My {clothes} is {color2}," said {b}.'
whose_is_it = (
    (friend, a_had_a, color, clothes, "{color} {clothes}."),
    (b_had_a, color2, "{color2} {clothes}."),
    (one_day, c, "{c}", saw, "a"),
    either(
        (
            ("{color} {clothes}", place, "{place.fact} the {place}."),
            either("", b_says_no),
            "So {c} gave the {color} {clothes} to {a}.",
        ),
        (
            ("{color2} {clothes}", place, "{place.fact} the {place}."),
            either("", a_says_no),
            "So {c} gave the {color2} {clothes} to {b}.",
        ),
    ),
    ending_together,
)

tired_or_wide = (
    (she_had_a, color, pet, "{color} {pet}."),
    (one_day, "{a} and the {pet}", went, place, "to the {place}. They came to a"),
    (way, "{way}. The {pet} did not cross the {way} because it was too"),
    either(
        ("tired. So {a} put the {pet} in a", box, "{box}. At the {place}, the {pet} {pet.fact}."),
        ("{way.fact}. So {a} and the {pet}", went, "home. At home, the {pet} {pet.fact}."),
    ),
    ending_alone,
)

shared_food = (
    (friend, "{a} had a", food, "{food} and a", food2, "{food2}."),
    (one_day, "{b}", went, "to {a} and was hungry."),
    either(
        '"I like your {food}," said {b}. So {b} ate the {food} and {a} ate the {food2}.',
        '"I like your {food2}," said {b}. So {b} ate the {food2} and {a} ate the {food}.',
    ),
    ending_together,
)

lost_pet = (
    (friend, a_had_a, color, pet, "{color} {pet}."),
    (one_day, "the {color} {pet} ran away."),
    '"Where is my {color} {pet}?" said {a}.',
    either(
        "",
        (color2, '"I saw a {color2} {pet}," said {b}. "My {pet} is {color}," said {a}.'),
    ),
    (place, '"I saw a {color} {pet} {place.fact} the {place}," said {b}.'),
    ("So {a}", went, "to the {place} and found the {color} {pet}."),
    either("", "The {pet} {pet.fact}."),
    ending_alone,
)

favorite_color = (
    (friend, color, "{b} loved all {color} things."),
    (one_day, "{a}", saw, "a"),
    either(
        (toy, color2, toy2, "{color} {toy} and a {color2} {toy2}."),
        (toy, color2, toy2, "{color2} {toy2} and a {color} {toy}."),
    ),
    "So {a} gave the {color} {toy} to {b}.",
    either("", '"Thank you, {a}," said {b}.'),
    "{b} {toy.fact} the {toy} and {a} {toy2.fact} the {toy2}.",
    ending_together,
)

wish = (
    (friend, color, toy, '"I want a {color} {toy}," said {a}.'),
    (one_day, "{b} put a {color} {toy} in a", box, "{box} and", went, "to {a}."),
    "{a} looked in the {box} and found the {color} {toy}.",
    either("", '"Thank you, {b}," said {a}.'),
    either("", "{a} {toy.fact} the {color} {toy}."),
    ending_together,
)

race = (
    (friend, one_day, "{a} and {b} ran to the", place, "{place}."),
    (c, "{c} was there and had a", color, toy, "{color} {toy}."),
    either(
        "{a} was first. So {c} gave {a} the {color} {toy}. {a} {toy.fact} the {color} {toy}.",
        "{b} was first. So {c} gave {b} the {color} {toy}. {b} {toy.fact} the {color} {toy}.",
    ),
    ending_together,
)

STORY = (
    opening,
    either(
        moved_behind_the_back,
        two_boxes,
        trade,
        lost_and_found,
        passed_on,
        whose_is_it,
        tired_or_wide,
        shared_food,
        lost_pet,
        favorite_color,
        wish,
        race,
    ),
)


# The files


def tell(seed, count):
    """Return ``count`` stories and the -ln P of each, in nats."""
    rng = random.Random(seed)
    return zip(*(sample(STORY, rng) for _ in range(count)))


def build():
    """Return {file name: text} of what belongs into data/stories/."""
    files = {}
    for split, (seed, count) in SPLITS.items():
        stories, nats = tell(seed, count)
        files[f"{split}.txt"] = f"\n{END_OF_TEXT}\n".join(stories) + "\n"
    report = {  # of the last split, the validation stories
        "split": split,
        "seed": seed,
        "documents": count,
        "characters": sum(map(len, stories)),
        "nats": round(math.fsum(nats), 6),
        "nats_per_story": round(math.fsum(nats) / count, 6),
        "entropy_of_grammar": round(entropy(STORY), 6),
    }
    files["entropy.json"] = json.dumps(report, indent=2) + "\n"
    return files


def write_or_check(folder, files, check):
    """Write ``files`` into ``folder``, or exit with a message if they are not there already."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name
        if not check:
            path.write_bytes(text.encode())
        elif not path.exists() or path.read_bytes() != text.encode():
            sys.exit(f"{path} is not what this program writes; run it without --check to write it")


def main(folder=FOLDER, build=build, about=__doc__):
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the files, write nothing")
    write_or_check(folder, build(), parser.parse_args().check)


if __name__ == "__main__":
    main()
