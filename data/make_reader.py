"""Write how many hidden words of the stories a reader can guess who knows their grammar.

python data/make_reader.py            writes data/stories/reader.json again, byte for byte
python data/make_reader.py --check    compares instead, and says if it differs

The task is BERT's: two sentences, in half of the cases of one story and else of two; 15% of the
words are chosen, of which a tenth stays as it is. The reader is told which words are hidden and
whether the sentences follow each other, so no model can be better but by luck. What the grammar
allows it has counted: in all training stories, which of the sentences that agree with what is
visible have which word in the gap. Names of one kind are all alike to the grammar, so they are
counted as "the first girl", "the second color"; a name that is not visible elsewhere can only be
one of those left.
"""

import json
import random
import re
from collections import Counter, defaultdict
from itertools import pairwise

from make_stories import (
    BOXES,
    BOYS,
    CLOTHES,
    COLORS,
    END_OF_TEXT,
    FOLDER,
    FOODS,
    GIRLS,
    PETS,
    PLACES,
    SPOTS,
    TOYS,
    WAYS,
    main,
)

CHOSEN, KEPT = 0.15, 0.1
SENTENCE = re.compile(r'(?:(?<=[.!?])|(?<=[.!?]"))\s+(?=["A-Z])')
SEED, PAIRS = 3, 2000

# Things of a kind are all alike: (kind, the number of such things) of each word, which thing it is,
# and whether the word is its name or the fact about it. Places are alike if one is so at them.
KINDS = [[(x,) for x in kind] for kind in (GIRLS, BOYS, COLORS, BOXES, SPOTS, FOODS, CLOTHES)]
KINDS += [[(x.name, x.fact) for x in kind] for kind in (TOYS, PETS, WAYS)]
KINDS += [[(x.name,) for x in PLACES if x.fact == fact] for fact in ("in", "at")]
THINGS = {
    word: ((number, len(kind)), thing, role)
    for number, kind in enumerate(KINDS)
    for thing, words in enumerate(kind)
    for role, word in enumerate(words)
}


def sentences(split):
    """[[the words of a sentence, …] of a story, …]."""
    stories = (FOLDER / f"{split}.txt").read_text(encoding="utf-8").split(END_OF_TEXT)
    return [[re.findall(r"\w+|\S", one) for one in SENTENCE.split(s.strip())] for s in stories]


def seen(words, hidden):
    """(visible words, the names among them numbered by kind; {kind: {thing: its number}})."""
    numbers, out = defaultdict(dict), []
    for place, word in enumerate(words):
        if place in hidden:
            out.append(None)
        elif word in THINGS:
            kind, thing, role = THINGS[word]
            out.append((kind, numbers[kind].setdefault(thing, len(numbers[kind])), role))
        else:
            out.append(word)
    return tuple(out), numbers


def answer(word, numbers):
    """(what a hidden word is to the reader, how many words that may be)."""
    if word not in THINGS:
        return word, 1
    kind, thing, role = THINGS[word]
    if thing in numbers[kind]:
        return (kind, numbers[kind][thing], role), 1
    return (kind, "another", role), kind[1] - len(numbers[kind])


class Reader:
    """Counts texts, which are lists of words, by their length."""

    def __init__(self, texts):
        self._texts = defaultdict(Counter)
        for text in texts:
            self._texts[len(text)][tuple(text)] += 1

    def right(self, words, fates):
        """How many hidden words (fate True) it guesses, by expectation; None if it has no idea."""
        hidden = {place for place, fate in enumerate(fates) if fate}
        pattern, numbers = seen(words, hidden)
        fixed = [(place, word) for place, word in enumerate(pattern) if type(word) is str]
        counts = {place: Counter() for place in hidden}
        for text, times in self._texts[len(words)].items():
            if all(text[place] == word for place, word in fixed):
                other, own = seen(text, hidden)
                for place in hidden if other == pattern else ():
                    guess = answer(text[place], own)
                    counts[place][guess] += times / guess[1]
        if not all(counts.values()):
            return None
        best = {place: max(count, key=count.get) for place, count in counts.items()}
        return sum(1 / g[1] for place, g in best.items() if g == answer(words[place], numbers))


def measure():
    """The share of chosen words that the reader gets right, and of which and how many pairs."""
    rng = random.Random(SEED)
    training, held_out = sentences("train"), sentences("validation")
    alone = Reader(one for story in training for one in story)
    together = Reader(a + b for story in training for a, b in pairwise(story))

    def one_of(things):
        return int(rng.random() * len(things))

    right = chosen = 0
    for _ in range(PAIRS):
        story, other = held_out[one_of(held_out)], held_out[one_of(held_out)]
        first, follows = one_of(story[1:]), rng.random() < 0.5
        pair = [story[first], story[first + 1] if follows else other[one_of(other)]]
        fates = [[hide(rng) for _ in sentence] for sentence in pair]
        chosen += sum(fate is not None for fate in fates[0] + fates[1])
        right += sum(fate is False for fate in fates[0] + fates[1])
        found = together.right(pair[0] + pair[1], fates[0] + fates[1]) if follows else None
        if found is None:  # or no story has such a pair: each for itself
            found = sum(alone.right(*one) or 0 for one in zip(pair, fates))
        right += found
    return {
        **{"split": "validation", "seed": SEED, "pairs": PAIRS},
        "masked_accuracy": round(right / chosen, 4),
    }


def hide(rng):
    """Whether a word that is chosen is hidden; None for one that is not chosen."""
    return rng.random() >= KEPT if rng.random() < CHOSEN else None


def build():
    """Return {file name: text}."""
    return {"reader.json": json.dumps(measure(), indent=2) + "\n"}


if __name__ == "__main__":
    main(build=build, about=__doc__)
