"""Write the Chinese-English sentence pairs: 我有一只猫, I have a cat.

    python data/make_pairs.py            writes data/pairs/ again, byte for byte
    python data/make_pairs.py --check    compares instead, and says which file differs

A literal of this grammar says both sentences, with a | between them. Each Chinese word stands for
one English word and the other way round, so that every sentence here has one translation.
"""

import json
import random
from itertools import islice
from pathlib import Path

from grammar import draw, either, sample
from make_stories import main

FOLDER = Path(__file__).parent / "pairs"
SEED = 3
# The course's own examples come first in the validation split, so no model has seen them.
HELD_OUT = ["我有一只猫|I have a cat", "我爱机器学习|I love machine learning"]
SPLITS = {"validation": 300, "train": 3000}  # name: number of pairs; no pair is in both


# The words


class Word:
    """Something with named forms: ``"{cat:zh}"`` says 猫, ``"{cat:plural}"`` says cats."""

    def __init__(self, **forms):
        self.forms = forms

    def __format__(self, form):
        return self.forms[form]


def nouns(measure, **translations):
    """Nouns that share a measure word; cat="猫", or fish="鱼 fish" with an irregular plural."""
    result = []
    for singular, chinese in translations.items():
        zh, plural = chinese.split() if " " in chinese else (chinese, singular + "s")
        result.append(Word(zh=zh, measure=measure, singular=singular, plural=plural))
    return result


def words(**translations):
    return [Word(zh=zh, en=en.replace("_", " ")) for en, zh in translations.items()]


def person(zh, en, whom, whose):
    """A pronoun and the verbs that agree with it."""
    forms = dict(zh=zh, en=en, whom=whom, whose=whose)
    if en in ("he", "she"):
        return Word(**forms, verb="third", do="does", be="is", likes="likes", loves="loves")
    be = "am" if en == "I" else "are"
    return Word(**forms, verb="base", do="do", be=be, likes="like", loves="love")


PETS = nouns("只", cat="猫", dog="狗", bird="鸟", rabbit="兔子")
ANIMALS = [
    *PETS,
    *nouns("只", monkey="猴子", sheep="羊 sheep", duck="鸭子", chicken="鸡"),
    *nouns("条", fish="鱼 fish", snake="蛇"),
    *nouns("头", cow="牛", pig="猪", elephant="大象"),
    *nouns("匹", horse="马"),
]
SMALL_THINGS = [
    *nouns("本", book="书", dictionary="词典 dictionaries", magazine="杂志"),
    *nouns("支", pen="笔"),
    *nouns("个", apple="苹果", pear="梨", egg="鸡蛋", cup="杯子", ball="球", bag="包"),
    *nouns("把", key="钥匙", umbrella="伞", knife="刀 knives"),
    *nouns("封", letter="信"),
    *nouns("朵", flower="花"),
    *nouns("顶", hat="帽子"),
    *nouns("件", shirt="衬衫"),
    *nouns("块", watch="手表 watches"),
]
LARGE_THINGS = [
    *nouns("张", table="桌子", bed="床", map="地图"),
    *nouns("把", chair="椅子"),
    *nouns("辆", car="汽车", bicycle="自行车"),
    *nouns("幅", painting="画"),
    *nouns("条", boat="船"),
    *nouns("盏", lamp="灯"),
]
COATS = words(black="黑色的", white="白色的", brown="棕色的", gray="灰色的")
COLORS = words(
    red="红色的", blue="蓝色的", green="绿色的", yellow="黄色的", black="黑色的", white="白色的"
)
PLAIN = Word(zh="", en="")  # no color
ONE = Word(zh="一", en="a", form="singular")
NUMBERS = [
    Word(zh=zh, en=en, form="plural")
    for zh, en in [("两", "two"), ("三", "three"), ("四", "four"), ("五", "five"), ("十", "ten")]
]
LOVED = words(music="音乐", math="数学", history="历史", machine_learning="机器学习")
PLACES = [
    *words(on_the_table="桌子上", on_the_chair="椅子上", on_the_bed="床上"),
    *words(under_the_table="桌子下面", under_the_chair="椅子下面", under_the_bed="床下面"),
    *words(in_the_box="箱子里", in_the_car="汽车里", in_the_room="房间里"),
]
YOU = person("你", "you", "you", "your")
US = [person("我", "I", "me", "my"), YOU, person("我们", "we", "us", "our")]
THEM = [
    person("他", "he", "him", "his"),
    person("她", "she", "her", "her"),
    person("他们", "they", "them", "their"),
]
VERBS = [
    Word(zh="有", base="have", third="has"),
    Word(zh="想要", base="want", third="wants"),
    Word(zh="看见了", base="saw", third="saw"),
    Word(zh="买了", base="bought", third="bought"),
    Word(zh="找到了", base="found", third="found"),
]
NOUNS = ANIMALS + SMALL_THINGS + LARGE_THINGS
WHO = US + THEM


# Noun phrases: a number, the measure word that the noun asks for, perhaps a color, the noun


def counted(number, noun, color=PLAIN):
    """一只猫 a cat, 三只黑色的猫 three black cats."""
    zh = f"{number:zh}{noun:measure}{color:zh}{noun:zh}"
    en = f"{number:en} {color:en} {noun:{number:form}}".replace("  ", " ")
    if en[:2] == "a " and en[2] in "aeiou":
        en = "an " + en[2:]
    return Word(zh=zh, en=en, bare=f"{noun:zh}")


COLORED = [(noun, color) for noun in ANIMALS for color in COATS]
COLORED += [(noun, color) for noun in SMALL_THINGS + LARGE_THINGS for color in COLORS]
phrase = either(
    (3, draw("phrase", [counted(ONE, noun) for noun in NOUNS])),
    (3, draw("phrase", [counted(ONE, *pair) for pair in COLORED])),
    (2, draw("phrase", [counted(number, noun) for number in NUMBERS for noun in NOUNS])),
    (2, draw("phrase", [counted(number, *pair) for number in NUMBERS for pair in COLORED])),
)


# The sentences

who, noun, verb = draw("who", WHO), draw("noun", NOUNS), draw("verb", VERBS)
thing = draw("thing", [counted(ONE, noun) for noun in NOUNS])
asked = draw("who", [YOU, *THEM])
own = draw("noun", PETS + SMALL_THINGS)

SENTENCE = either(
    (8, (who, verb, phrase, "{who:zh}{verb:zh}{phrase:zh}|{who:en} {verb:{who:verb}} {phrase:en}")),
    (2, (who, phrase, "{who:zh}在找{phrase:zh}|{who:en} {who:be} looking for {phrase:en}")),
    (2, (who, thing, "{who:zh}没有{thing:bare}|{who:en} {who:do} not have {thing:en}")),
    (2, (asked, thing, "{who:zh}有{thing:zh}吗？|{who:do} {who:en} have {thing:en}?")),
    (
        (either((draw("a", US), draw("b", THEM)), (draw("a", THEM), draw("b", US))), thing),
        "{a:zh}给了{b:zh}{thing:zh}|{a:en} gave {b:whom} {thing:en}",
    ),
    (who, noun, "{who:zh}喜欢{noun:zh}|{who:en} {who:likes} {noun:plural}"),
    (who, noun, "{who:zh}不喜欢{noun:zh}|{who:en} {who:do} not like {noun:plural}"),
    (who, draw("what", LOVED), "{who:zh}爱{what:zh}|{who:en} {who:loves} {what:en}"),
    (2, (own, draw("place", PLACES), "{noun:zh}在{place:zh}|the {noun:singular} is {place:en}")),
    (who, own, "这是{who:zh}的{noun:zh}|this is {who:whose} {noun:singular}"),
    (who, own, "那不是{who:zh}的{noun:zh}|that is not {who:whose} {noun:singular}"),
    (
        (
            who,
            either(
                (draw("noun", PETS), draw("color", COATS)),
                (draw("noun", SMALL_THINGS), draw("color", COLORS)),
            ),
        ),
        "{who:zh}的{noun:zh}是{color:zh}|{who:whose} {noun:singular} is {color:en}",
    ),
)


# The files


def build():
    """Return {file name: text} of what belongs into data/pairs/."""
    rng = random.Random(SEED)
    pairs = dict.fromkeys(HELD_OUT)  # without repetitions, in order
    while len(pairs) < sum(SPLITS.values()):
        pairs[sample(SENTENCE, rng)[0]] = None
    lines = (to_json(*pair.split("|")) for pair in pairs)
    return {f"{split}.jsonl": "".join(islice(lines, count)) for split, count in SPLITS.items()}


def to_json(zh, en):
    return json.dumps({"zh": zh, "en": en[0].upper() + en[1:]}, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main(FOLDER, build, __doc__)
