"""The corpora in data/: are the files what the programs write, and are the probabilities right?"""

import json
import math
import random
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

DATA = Path(__file__).parent.parent / "data"
sys.path.insert(0, str(DATA))

import make_pairs  # noqa: E402
import make_reader  # noqa: E402
import make_stories  # noqa: E402
from grammar import Choice, Draw, derivations, draw, either, entropy, sample  # noqa: E402

TOY = (
    draw("a", ["Mia", "Tom", "Zoe"]),
    either((3, "{a} slept."), (draw("b", ["Mia", "Tom", "Zoe"], unlike="a"), "{a} saw {b}.")),
    either((2, ""), "The end."),
)


def stories(split):
    text = (DATA / "stories" / f"{split}.txt").read_text(encoding="utf-8")
    return [story.strip("\n") for story in text.split(make_stories.END_OF_TEXT)]


def pairs(split):
    lines = (DATA / "pairs" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


# The grammar


def test_probabilities_by_hand():
    nats = dict(derivations(TOY))
    assert len(nats) == (3 + 3 * 2) * 2
    assert nats["Mia slept."] == pytest.approx(-math.log(1 / 3 * 3 / 4 * 2 / 3))
    assert nats["Tom saw Zoe. The end."] == pytest.approx(-math.log(1 / 3 * 1 / 4 * 1 / 2 * 1 / 3))


def test_samples_come_as_often_as_their_probability_says():
    rng = random.Random(0)
    count = 20_000
    seen = Counter(sample(TOY, rng) for _ in range(count))
    assert {text for text, _ in seen} == {text for text, _ in derivations(TOY)}
    for (_, nats), times in seen.items():
        p = math.exp(-nats)
        assert abs(times - count * p) < 5 * math.sqrt(count * p * (1 - p))


def test_two_derivations_of_one_text_are_noticed():
    ambiguous = (either("a", "a b"), either("", "b"))
    assert len(list(derivations(ambiguous, "a b"))) == 2


def reduced(rule):
    """The same grammar in a world so small that each draw has one thing left, and weights kept."""
    if isinstance(rule, Choice):
        return Choice(rule.weights, tuple(map(reduced, rule.rules)))
    if isinstance(rule, Draw):
        return Draw(rule.slot, rule.items[: len(rule.unlike) + 1], rule.unlike)
    return rule if isinstance(rule, str) else tuple(map(reduced, rule))


PLOTS = range(len(make_stories.STORY[1].rules))


@pytest.mark.parametrize(  # the first has as many texts as all others
    "plot", [pytest.param(plot, marks=[pytest.mark.slow] * (plot == 0)) for plot in PLOTS]
)
def test_every_plot_enumerated(plot):
    """All texts of a plot about one hero: probabilities sum to 1, no text comes twice, and the
    entropy from the recursion is the one from the definition."""
    hero = draw("a", make_stories.PEOPLE)
    rule = reduced((hero, make_stories.STORY[1].rules[plot]))
    texts, nats = zip(*derivations(rule))
    assert len(set(texts)) == len(texts)
    assert math.fsum(math.exp(-h) for h in nats) == pytest.approx(1, abs=1e-9)
    assert math.fsum(h * math.exp(-h) for h in nats) == pytest.approx(entropy(rule), abs=1e-9)


# The stories


@pytest.mark.parametrize(
    "program", [make_stories, make_pairs, pytest.param(make_reader, marks=pytest.mark.slow)]
)
def test_files_are_what_the_program_writes(program, tmp_path):
    files = program.build()
    for name, text in files.items():
        assert (program.FOLDER / name).read_bytes() == text.encode()
    make_stories.write_or_check(tmp_path, files, check=False)
    make_stories.write_or_check(tmp_path, files, check=True)
    (tmp_path / name).write_text(text + "x", encoding="utf-8")
    with pytest.raises(SystemExit, match="is not what this program writes"):
        make_stories.write_or_check(tmp_path, files, check=True)


@pytest.mark.slow
def test_validation_stories_have_one_derivation_each_and_the_committed_probability():
    report = json.loads((DATA / "stories" / "entropy.json").read_text(encoding="utf-8"))
    texts = stories("validation")
    readings = [list(derivations(make_stories.STORY, text)) for text in texts]
    assert {len(found) for found in readings} == {1}
    total = math.fsum(found[0][1] for found in readings)
    assert total == pytest.approx(report["nats"], abs=1e-5)
    assert report["documents"] == len(texts)
    assert report["characters"] == sum(map(len, texts))
    assert report["nats_per_story"] == pytest.approx(total / len(texts), abs=1e-6)


def test_mean_cost_of_stories_is_the_entropy():
    report = json.loads((DATA / "stories" / "entropy.json").read_text(encoding="utf-8"))
    assert report["entropy_of_grammar"] == pytest.approx(entropy(make_stories.STORY), abs=1e-6)
    rng = random.Random(7)
    count = 4000
    costs = [sample(make_stories.STORY, rng)[1] for _ in range(count)]
    mean = sum(costs) / count
    deviation = math.sqrt(sum((cost - mean) ** 2 for cost in costs) / count)
    assert abs(mean - entropy(make_stories.STORY)) < 4 * deviation / math.sqrt(count)


def test_splits_share_no_story_and_stories_are_one_line():
    train, validation = stories("train"), stories("validation")
    assert not set(train) & set(validation)
    for story in train + validation:
        assert "\n" not in story and "  " not in story and story[-1] in '."'
        assert len(story.split()) <= 100


def test_a_reader_finds_the_stories_consistent():
    """Read with regular expressions alone, without the grammar: what has "the red ball" has told
    of a red ball before, what is found was put or lost, pronouns fit the hero's name."""
    girls = {"Mia", "Lily", "Anna", "Zoe", "Emma", "Sue"}
    color = "(?:red|blue|green|yellow|black|white|pink|brown)"
    for story in stories("train"):
        for match in re.finditer(rf"\b(?:the|my) ({color} \w+)", story):
            assert re.search(rf"\b(?:a|his|her) {match[1]}\b", story[: match.start()]), story
        hero = re.search(r"(?:named|about) (\w+)\.", story)[1]
        for she in re.findall(r"\b([Ss]?[Hh]e)\b", story):
            assert (she.lower() == "she") == (hero in girls), story
        for owner, her in re.findall(r"(\w+) loved (his|her)\b", story):
            assert (her == "her") == (owner in girls), story
        where = re.search(r"looked in the (\w+) and found the \w+ (\w+)", story)
        if where:
            box, toy = where.groups()
            hidden = rf"{toy} in (?:the|a) {box}\b|{toy} and (?:put|hid) it in the {box}\b"
            assert re.search(hidden, story[: where.start()]), story


# The sentence pairs


def test_pairs_are_one_to_one_and_splits_disjoint():
    both = pairs("train") + pairs("validation")
    assert len({pair["zh"] for pair in both}) == len({pair["en"] for pair in both}) == len(both)
    held_out = pairs("validation")
    assert {"zh": "我有一只猫", "en": "I have a cat"} in held_out
    assert {"zh": "我爱机器学习", "en": "I love machine learning"} in held_out


def test_measure_words_and_articles():
    measures = {
        "只": "猫 狗 鸟 兔子 猴子 羊 鸭子 鸡",
        "条": "鱼 蛇 船",
        "头": "牛 猪 大象",
        "匹": "马",
        "本": "书 词典 杂志",
        "支": "笔",
        "个": "苹果 梨 鸡蛋 杯子 球 包",
        "把": "钥匙 伞 刀 椅子",
        "封": "信",
        "朵": "花",
        "顶": "帽子",
        "件": "衬衫",
        "块": "手表",
        "张": "桌子 床 地图",
        "辆": "汽车 自行车",
        "幅": "画",
        "盏": "灯",
    }
    counted = 0
    for pair in pairs("train") + pairs("validation"):
        match = re.search(r"[一两三四五十](\w)(?:\w色的)?(\w+?)(?:吗？)?$", pair["zh"])
        if match:
            counted += 1
            assert match[2] in measures[match[1]].split(), pair
        assert not re.search(r"\b(?:a [aeiou]|an [^aeiou])", pair["en"]), pair
        assert ("吗？" in pair["zh"]) == pair["en"].endswith("?")
        several = re.search(r"\b(?:two|three|four|five|ten)\b.* (\w+)$", pair["en"])
        assert not several or several[1] in ("fish", "sheep") or several[1].endswith("s"), pair
    assert counted > 1500


# The reader of hidden words


def test_what_a_reader_guesses_by_hand():
    """Three texts it knows; names of a kind are one to it."""
    known = ["Tom had a red cat", "Ben had a blue cat", "Tom saw a red dog"]
    reader = make_reader.Reader([text.split() for text in known])

    def right(text, *hidden):
        words = text.split()
        return reader.right(words, [place in hidden for place in range(len(words))])

    assert right("Max had a pink cat", 1) == 1  # "had", for two of the three
    assert right("Max had a pink cat", 0) == pytest.approx(1 / 6)  # one of six boys
    assert right("Max had a pink cat", 3) == pytest.approx(1 / 8)  # one of eight colors
    assert right("Max saw a pink dog", 1, 4) == pytest.approx(1 / 6)  # it says "had", and a pet
    assert right("Lily had a pink cat", 1) is None  # no girl ever did
    reader = make_reader.Reader(
        [["Tom", "and", "Tom"], ["Tom", "and", "Ben"], ["Ben", "and", "Max"]]
    )
    # The same boy again, once of three times, is likelier than any of the five others.
    assert reader.right(["Leo", "and", "Leo"], [False, False, True]) == 1
    assert reader.right(["Leo", "and", "Sam"], [False, False, True]) == 0


def test_the_reader_is_told_of_all_things():
    """Every name of the grammar that can change place with another one."""
    named = {str(thing) for kind in (make_stories.PEOPLE, make_stories.TOYS) for thing in kind}
    assert named <= set(make_reader.THINGS)
    assert make_reader.THINGS["kite"][:2] == make_reader.THINGS["flew"][:2]
    assert "had" not in make_reader.THINGS
