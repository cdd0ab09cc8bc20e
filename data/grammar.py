"""Probabilistic grammars that know the probability of what they say.

A rule is one of four things:

- a literal, a format string: ``"{a} gave {b} the {toy}."`` looks its slots up in memory, and
  ``"{a.his}"`` an attribute of what is remembered there, so pronouns agree by themselves;
- a sequence, a tuple of rules, whose texts are joined by single spaces;
- ``either(rule, rule, ...)``, a choice; an alternative may carry a weight, ``(3, rule)``;
- ``draw("b", PEOPLE, unlike="a")``, which picks one of a list, all equally likely, and remembers
  it. A draw says nothing itself.

Everything random happens in ``choose``, so the probability of a derivation is the product of the
probabilities of its choices. If the grammar is unambiguous (no text has two derivations), that is
the probability of the text. Then -ln P(text) is the number of nats that the text costs the best
possible model, and the mean, the entropy, is a floor under every model's loss (Shannon 1948,
"A Mathematical Theory of Communication", section 6).
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """One of several rules, with probability weight / sum of weights."""

    weights: tuple
    rules: tuple


@dataclass(frozen=True)
class Draw:
    """One of ``items``, all equally likely, except those that the slots in ``unlike`` hold."""

    slot: str
    items: tuple
    unlike: tuple = ()


def either(*alternatives):
    """A choice among rules; an alternative is a rule (its weight is 1) or a pair (weight, rule)."""
    weights, rules = [], []
    for alternative in alternatives:
        weighted = isinstance(alternative, tuple) and isinstance(alternative[0], int)
        weight, rule = alternative if weighted else (1, alternative)
        weights.append(weight)
        rules.append(rule)
    return Choice(tuple(weights), tuple(rules))


def draw(slot, items, unlike=""):
    """Remember one of ``items`` in ``slot``.

    unlike: slots, separated by spaces, that hold different things of the same list; what they
    hold is not drawn again.
    """
    return Draw(slot, tuple(items), tuple(unlike.split()))


def derive(rule, memory, choose):
    """Yield the texts of ``rule`` one by one, left to right.

    memory: dict, slot -> remembered thing; filled on the way.
    choose: function, list of weights -> index; the only place where chance enters.
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


def sample(rule, rng, memory=None):
    """Return a text and its -ln P in nats.

    rng: a random.Random, of which only random() is called: every Python version computes that
    alike, unlike choice and shuffle. memory: an empty dict, to be filled with what was drawn.
    """
    costs = []

    def choose(weights):
        point = rng.random() * sum(weights)
        index = 0
        while point >= weights[index]:
            point -= weights[index]
            index += 1
        costs.append(math.log(sum(weights) / weights[index]))
        return index

    text = " ".join(derive(rule, {} if memory is None else memory, choose))
    return text, math.fsum(costs)


def derivations(rule, text=None):
    """Yield (text, -ln P) of every derivation, or only of those that derive the given ``text``.

    ``derive`` walks again and again, along every sequence of choices in turn. With a ``text``, a
    walk that departs from it is given up, which makes this a parser, and a slow but sure test of
    ambiguity: one derivation, or several?
    """
    path = []  # [index, weights] of each choice made so far; next time, the last one differs
    while True:
        depth = 0

        def choose(weights):
            nonlocal depth
            depth += 1
            if depth > len(path):
                path.append([0, weights])
            return path[depth - 1][0]

        said = ""
        for piece in derive(rule, {}, choose):
            said = f"{said} {piece}" if said else piece
            if text is not None and not text.startswith(said):
                break
        else:
            if text is None or said == text:
                yield said, math.fsum(math.log(sum(w) / w[index]) for index, w in path)

        while path and path[-1][0] == len(path[-1][1]) - 1:
            path.pop()
        if not path:
            return
        path[-1][0] += 1


def entropy(rule):
    """The expected -ln P of a derivation, in nats, exactly.

    H(sequence) = sum of H(part);  H(choice) = sum of p (H(rule) - ln p);  H(draw) = ln(number
    left). Parts may simply be added because what one remembers changes the words of the next, and
    never the number or the odds of its choices.
    """
    if isinstance(rule, str):
        return 0.0
    if isinstance(rule, Choice):
        shares = [weight / sum(rule.weights) for weight in rule.weights]
        return math.fsum(p * (entropy(r) - math.log(p)) for p, r in zip(shares, rule.rules))
    if isinstance(rule, Draw):
        return math.log(len(rule.items) - len(rule.unlike))
    return math.fsum(entropy(part) for part in rule)
