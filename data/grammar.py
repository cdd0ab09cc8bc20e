"""Probabilistic grammars that know the probability of what they say.

A rule is one of four things:

- a literal, a format string: ``"{a} gave {b} the {toy}."`` looks its slots up in memory, and ``"{a.his}"`` an
  attribute of what is remembered there, so pronouns agree by themselves;
- a sequence, a tuple of rules, whose texts are joined by single spaces;
- ``either(rule, rule, ...)``, a choice; an alternative may carry a weight, ``(3, rule)``;
- ``draw("b", PEOPLE, unlike="a")``, which picks one of a list, all equally likely, and remembers it.

Everything random happens in ``choose``, so the probability of a derivation is the product of the probabilities of its
choices. If the grammar is unambiguous (no text has two derivations), that is the probability of the text. Then
-ln P(text) is the fewest nats in which any model can expect to say this text, and their mean, the entropy, is the
floor under every model's loss (Shannon 1948, section 6).
"""

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """One of several rules, with probability weight / sum of weights."""

    weights: tuple
    rules: tuple


@dataclass(frozen=True)
class Draw:
    """One item of a list, uniformly among those that no slot of ``unlike`` holds, put into ``slot``."""

    slot: str
    items: tuple
    unlike: tuple = ()


def either(*alternatives):
    """A choice among rules; an alternative is a rule of weight 1, or a pair (weight, rule)."""
    weighted = [
        rule if isinstance(rule, tuple) and isinstance(rule[0], (int, float)) else (1, rule)
        for rule in alternatives
    ]
    return Choice(*zip(*weighted))


def draw(slot, items, unlike=""):
    """Remember in ``slot`` one of ``items``, different from what the slots named in ``unlike`` hold."""
    return Draw(slot, tuple(items), tuple(unlike.split()))


def derive(rule, memory, choose):
    """Yield the texts of ``rule`` one by one, left to right.

    memory: dict, slot -> remembered thing; filled on the way.
    choose: function, weights -> index; the only place where chance enters.
    """
    if isinstance(rule, str):
        if rule:
            yield rule.format_map(memory)
    elif isinstance(rule, Choice):
        yield from derive(rule.rules[choose(rule.weights)], memory, choose)
    elif isinstance(rule, Draw):
        taken = [memory[slot] for slot in rule.unlike]
        items = [item for item in rule.items if item not in taken]
        memory[rule.slot] = items[choose([1] * len(items))]
    else:
        for part in rule:
            yield from derive(part, memory, choose)


def sample(rule, rng):
    """One text and its -ln P in nats. ``rng`` is a random.Random; only its random() is called, which every Python
    version computes alike."""
    log_probabilities = []

    def choose(weights):
        point = rng.random() * sum(weights)
        index = 0
        while index < len(weights) - 1 and point >= weights[index]:
            point -= weights[index]
            index += 1
        log_probabilities.append(math.log(weights[index] / sum(weights)))
        return index

    text = " ".join(derive(rule, {}, choose))
    return text, -math.fsum(log_probabilities)


def derivations(rule, text=None):
    """Yield (text, -ln P) of every derivation of a finite grammar, or of those only that derive ``text``.

    The walk of ``derive`` is repeated with every sequence of choices, in dictionary order. Given a text, a walk is left as soon as it
    departs from it, so this is also a parser: a grammar is unambiguous about a text that has one reading.
    """
    path = []  # the choices of the present walk: [index, weights]
    while True:
        depth = 0

        def choose(weights):
            nonlocal depth
            if depth == len(path):
                path.append([0, weights])
            depth += 1
            return path[depth - 1][0]

        said = ""
        for piece in derive(rule, {}, choose):
            said += " " + piece if said else piece
            if text is not None and not text.startswith(said):
                break
        else:
            if text is None or said == text:
                yield said, -math.fsum(math.log(w[i] / sum(w)) for i, w in path)
        while path and path[-1][0] == len(path[-1][1]) - 1:
            path.pop()
        if not path:
            return
        path[-1][0] += 1


def entropy(rule):
    """The expected -ln P of a derivation, in nats.

    H(sequence) is the sum of its parts'; H(choice) = -sum p ln p + sum p H(rule); H(draw) = ln(number left). Exact,
    because what is remembered changes which words are said and never how many ways there are to go on.
    """
    if isinstance(rule, str):
        return 0.0
    if isinstance(rule, Choice):
        shares = [weight / sum(rule.weights) for weight in rule.weights]
        return math.fsum(
            p * (entropy(part) - math.log(p)) for p, part in zip(shares, rule.rules)
        )
    if isinstance(rule, Draw):
        return math.log(len(rule.items) - len(rule.unlike))
    return math.fsum(entropy(part) for part in rule)
