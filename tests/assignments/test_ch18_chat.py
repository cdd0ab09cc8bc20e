"""Graders of chapter 18: what counts in a conversation, who sees whom in a row, and LoRA."""

import numpy as np

from tinyqwen.course import (
    case,
    check,
    check_close,
    check_equal,
    check_example,
    check_manners,
    check_value,
    check_vjp,
    likely,
    normal,
    output,
    points,
    reference,
    rng,
)
from tinyqwen.course.calls import StudentError

TITLE = "Chat and LoRA"
ASSIGNED = {
    "answer_parts": "training.tasks.chat",
    "chat_labels": "training.tasks.chat",
    "packed_mask": "models.masks",
    "lora": "tuning.lora",
    "merge": "tuning.lora",
    "low_rank": "tuning.lora",
}
STRETCH = ("low_rank",)

WORDS = ["red", "blue", "the", "ball", "a", "cat", "found", "Lily", "Tom", "in", "box", "where"]
OPEN, CLOSE = "<|im_start|>", "<|im_end|>"


def word():
    return WORDS[rng().integers(len(WORDS))]


def sentence(least=1, most=5):
    return " ".join(word() for _ in range(rng().integers(least, most + 1)))


# ---------------------------------------------------------------------------------------------
# answer_parts, 6 points
# ---------------------------------------------------------------------------------------------


def turn(role, content):
    return f"{OPEN}{role}\n{content}{CLOSE}\n"


def drawn(messages, open_turn=f"{OPEN}assistant\n", turn=turn):
    """(prompts, wholes) of a conversation, [(role, content)]."""
    prompts, wholes = [], []
    for i, (role, _) in enumerate(messages):
        if role == "assistant":
            text = "".join(turn(*message) for message in messages[:i])
            prompts.append(text + open_turn)
            wholes.append(text + turn(*messages[i]))
    return prompts, wholes


def plain_turn(role, content):
    """A template that closes no answer."""
    return f"A: {content}\n" if role == "assistant" else f"Q: {content}? "


def one_answer():
    return drawn([("system", sentence()), ("user", sentence()), ("assistant", sentence())])


def several_answers():
    """Three answers, of two lines, with spaces around, and one that was said before."""
    first = sentence()
    return drawn(
        [
            ("user", first),
            ("assistant", f"{sentence()}\n\n{sentence()}"),
            ("user", sentence()),
            ("user", sentence()),
            ("assistant", f" {sentence()} "),
            ("user", sentence()),
            ("assistant", first),
        ]
    )


def parts_of(prompts, wholes, cut=lambda answer: answer.rstrip("\n"), flag=lambda i, n: True):
    """The parts, with another way to cut an answer's end, or other flags."""
    parts, done = [], ""
    for i, (prompt, whole) in enumerate(zip(prompts, wholes)):
        answer = cut(whole[len(prompt) :])
        parts += [(prompt[len(done) :], False), (answer, flag(i, len(wholes)))]
        done = prompt + answer
    parts.append((wholes[-1][len(done) :], False))
    return [part for part in parts if part[0]]


def parts_with_prompts_whole(prompts, wholes):
    parts = []
    for prompt, whole in zip(prompts, wholes):
        parts += [(prompt, False), (whole[len(prompt) :].rstrip("\n"), True)]
    return [*parts, ("\n", False)]


def parts_with_headers(prompts, wholes):
    if OPEN not in prompts[0]:
        return None
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        start, end = prompt.rindex(OPEN), len(whole.rstrip("\n"))
        parts += [(whole[len(done) : start], False), (whole[start:end], True)]
        done = whole[:end]
    return [*parts, (wholes[-1][len(done) :], False)]


def parts_in_pieces(prompts, wholes):
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        answer = whole[len(prompt) :].rstrip("\n")
        parts += [(prompt[len(done) :], False), (answer, True), ("\n", False)]
        done = whole
    return parts


def parts_with_gaps(prompts, wholes):
    """Each prompt goes on from the whole before, and not from the answer."""
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        answer = whole[len(prompt) :].rstrip("\n")
        parts += [(prompt[len(done) :], False), (answer, True)]
        done = whole
    parts.append((whole[len(prompt + answer) :], False))
    return [part for part in parts if part[0]]


def parts_by_search(prompts, wholes):
    """The first place where the answer's text stands, wherever that is."""
    whole, parts, done = wholes[-1], [], 0
    for answer, _ in [part for part in parts_of(prompts, wholes) if part[1]]:
        start = whole.index(answer.removesuffix(CLOSE))
        parts += [(whole[done:start], False), (answer, True)]
        done = start + len(answer)
    return [*parts, (whole[done:], False)]


PARTS_MISTAKES = {
    "the line end behind the answer is taken for a part of it": lambda p, w: parts_of(
        p, w, cut=lambda answer: answer
    ),
    "what closes the turn is not counted: the model would never learn to stop": (
        lambda p, w: parts_of(p, w, cut=lambda a: a.rstrip("\n").removesuffix(CLOSE))
    ),
    "the opening of the turn is counted as answer; it is given to the model": parts_with_headers,
    "spaces around the answer are stripped; only line ends at the end go": lambda p, w: parts_of(
        p, w, cut=str.rstrip
    ),
    "each prompt is there from its beginning again: leave out what has been said": (
        parts_with_prompts_whole
    ),
    "a line end is lost: what the next prompt adds begins where the answer ended": parts_with_gaps,
    "only the last answer counts; all that the assistant says does": lambda p, w: parts_of(
        p, w, flag=lambda i, n: i == n - 1
    ),
    "only the first answer counts; all that the assistant says does": lambda p, w: parts_of(
        p, w, flag=lambda i, n: i == 0
    ),
    "True and False are exchanged: True is for answers": lambda p, w: [
        (text, not answer) for text, answer in parts_of(p, w)
    ],
    "the line end behind the last answer is missing": lambda p, w: parts_of(p, w)[:-1],
    "two parts in a row are no answers; they belong together": parts_in_pieces,
    "empty parts are kept": lambda p, w: (
        ([] if p[0] else [("", False)])
        + parts_of(p, w)
        + ([] if w[-1].endswith("\n") else [("", False)])
    ),
    "the answer is searched for in the text, and was said before": parts_by_search,
}


def check_parts(fn, prompts, wholes, mistakes=PARTS_MISTAKES):
    result = fn(prompts, wholes)
    case = f"wholes[-1] = {wholes[-1]!r}" if wholes else "no answers"
    check(
        isinstance(result, list | tuple),
        f"answer_parts returned a {type(result).__name__}; a list of parts was expected.",
        "a return statement is missing" if result is None else None,
    )
    told = f"answer_parts: a part is (text, True or False).\n  input     {case}"
    for part in result:
        check(isinstance(part, list | tuple) and len(part) == 2, f"{told}\n  yours     {part!r}")
        check(isinstance(part[0], str), f"{told}\n  yours     {part!r}")
    variants = {
        text: lambda wrong=wrong: wrong(prompts, wholes) for text, wrong in mistakes.items()
    }
    check_equal(
        [(text, bool(answer)) for text, answer in result],
        reference("answer_parts")(prompts, wholes),
        "answer_parts: the list of parts",
        case=case,
        mistakes=variants if wholes else None,
    )


@points(1, "answer_parts: the example")
def test_answer_parts_example(submission):
    """Two questions, two answers."""
    check_example(submission.answer_parts)


@points(2, "answer_parts: one answer")
def test_answer_parts_value(submission):
    """What is given, the answer with what closes it, and the line end behind."""
    for _ in range(3):
        check_parts(submission.answer_parts, *one_answer())
    with likely("a template need not close an answer, nor use <|im_end|>: compare the texts alone"):
        plain = [("user", sentence()), ("assistant", f"{sentence()} ")]
        check_parts(submission.answer_parts, *drawn(plain, "A: ", plain_turn))


@points(2, "answer_parts: several answers")
def test_answer_parts_several(submission):
    """All answers count, and nothing is said twice."""
    for _ in range(3):
        check_parts(submission.answer_parts, *several_answers())
    bare = drawn(
        [("assistant", sentence()), ("user", sentence()), ("assistant", sentence())],
        open_turn="",
        turn=lambda role, content: f"{role[0]} {content}." if role == "user" else content,
    )
    check_parts(submission.answer_parts, *bare)
    check_parts(submission.answer_parts, [], [])


@points(1, "answer_parts: a template that changes what was said")
def test_answer_parts_refuses(submission):
    """ValueError where the texts do not go on from each other."""
    prompts, wholes = several_answers()
    broken = {
        "the first whole does not begin with its prompt": (prompts, ["-" + wholes[0], *wholes[1:]]),
        "the last whole does not begin with its prompt": (prompts, [*wholes[:2], "-" + wholes[2]]),
        "the second prompt does not begin with the first": (
            [prompts[0], "-" + prompts[1], prompts[2]],
            [wholes[0], "-" + wholes[1], wholes[2]],
        ),
        "the second prompt has lost the first answer": (
            [prompts[0], prompts[0] + prompts[1][len(wholes[0]) :], prompts[2]],
            [wholes[0], prompts[0] + wholes[1][len(wholes[0]) :], wholes[2]],
        ),
    }
    for why, texts in broken.items():
        try:
            result = submission.answer_parts(*texts)
        except StudentError as error:
            check("raised ValueError" in str(error), f"{why}: ValueError was expected.\n{error}")
        else:
            lost = "lost" in why or "second" in why
            check(
                False,
                f"answer_parts: {why}: ValueError was expected; it returned {result!r:.200}",
                "a prompt must begin with the prompt and the answer before"
                if lost
                else "a whole must begin with its prompt",
            )


# ---------------------------------------------------------------------------------------------
# chat_labels, 4 points
# ---------------------------------------------------------------------------------------------


def some_ids(least=1, most=5):
    return rng().integers(0, 500, rng().integers(least, most + 1)).tolist()


def some_parts():
    return [(some_ids(2), i % 2 == 1) for i in range(5)]


def labeled(parts, ignore_index=-100, answers=lambda ids, ignore: ids, others=None):
    """(ids, labels), with another rule for the labels of answers, or of what is none."""
    others = others or (lambda ids, ignore: [ignore] * len(ids))
    ids = [i for part, _ in parts for i in part]
    labels = [i for part, a in parts for i in (answers if a else others)(part, ignore_index)]
    return np.array(ids, np.int64), np.array(labels, np.int64)


def labels_shifted(parts, ignore_index=-100, step=-1):
    ids, labels = labeled(parts, ignore_index)
    moved = np.roll(labels, step)
    moved[-1 if step < 0 else 0] = ignore_index
    return ids, moved


def labels_of_the_next_id(parts, ignore_index=-100):
    """In an answer's places the ids that come after them."""
    ids, labels = labeled(parts, ignore_index)
    return ids, np.where(labels == ignore_index, ignore_index, np.roll(ids, -1))


def labels_of_one(which):
    def wrong(parts, ignore_index=-100):
        answers = [i for i, (_, answer) in enumerate(parts) if answer]
        kept = [(ids, i == answers[which]) for i, (ids, _) in enumerate(parts)]
        return labeled(kept, ignore_index)

    return wrong


LABELS_MISTAKES = {
    "the labels are shifted by one already; the model does that": labels_shifted,
    "a label is the id after its own; it is the id itself, and the model shifts": (
        labels_of_the_next_id
    ),
    "ignore_index stands once for each part; it stands once for each id": (
        lambda parts, ignore_index=-100: labeled(
            parts, ignore_index, others=lambda ids, ignore: [ignore]
        )
    ),
    "the labels are shifted by one, and the wrong way": lambda parts, ignore_index=-100: (
        labels_shifted(parts, ignore_index, 1)
    ),
    "these are marks, 1 for an answer; a label is the id itself": lambda parts, ignore_index=-100: (
        labeled(parts, ignore_index, lambda ids, _: [1] * len(ids), lambda ids, _: [0] * len(ids))
    ),
    "the questions are learned and the answers are not: it is the other way round": (
        lambda parts, ignore_index=-100: labeled(
            [(ids, not answer) for ids, answer in parts], ignore_index
        )
    ),
    "every id is a label; only those of answers count": lambda parts, ignore_index=-100: labeled(
        parts, ignore_index, others=lambda ids, _: ids
    ),
    "what does not count is 0, and 0 is a token like any other": lambda parts, ignore_index=-100: (
        labeled(parts, 0)
    ),
    "the first token of an answer has no label": lambda parts, ignore_index=-100: labeled(
        parts, ignore_index, lambda ids, ignore: [ignore, *ids[1:]]
    ),
    "the last token of an answer, which ends it, has no label": lambda parts, ignore_index=-100: (
        labeled(parts, ignore_index, lambda ids, ignore: [*ids[:-1], ignore])
    ),
    "only the last answer has labels; every answer does": labels_of_one(-1),
    "only the first answer has labels; every answer does": labels_of_one(0),
    "ids are replaced as well; only the labels are": lambda parts, ignore_index=-100: (
        (labels := labeled(parts, ignore_index)[1]),
        labels,
    ),
    "ignore_index is not used": lambda parts, ignore_index=-100: labeled(parts),
}


@points(1, "chat_labels: the example")
def test_chat_labels_example(submission):
    """Three parts, of which the second is the answer."""
    check_example(submission.chat_labels)


@points(2, "chat_labels: value")
def test_chat_labels_value(submission):
    """The ids of answers, in their places, and -100 elsewhere."""
    check_value(
        submission.chat_labels,
        [case(some_parts()), case(some_parts()), case(some_parts()[1:])],
        outputs=("ids", "labels"),
        mistakes=LABELS_MISTAKES,
    )


@points(1, "chat_labels: fit for the loss")
def test_chat_labels_manners(submission):
    """Another ignore_index, empty lists, arrays of int64; what is given stays as it is."""
    fn = submission.chat_labels
    cases = [
        case(some_parts(), ignore_index=-1),
        case(some_parts(), -7),
        case([([], False), ([7], True), ([], True)], label="empty parts"),
        case([(some_ids(), False)], label="no answer"),
        case([], label="no parts"),
    ]
    check_value(fn, cases, outputs=("ids", "labels"), mistakes=LABELS_MISTAKES)
    for one in cases:
        result = fn(*one.args, **one.options)
        check(
            not fn.edited,
            "chat_labels changed the lists in parts.",
            "`ids = parts[0][0]` is that list itself, and += writes into it: begin with []",
        )
        for name, array in zip(("ids", "labels"), result):
            check(
                array.dtype == np.int64,
                f"chat_labels: {name} has dtype {array.dtype}; int64 was expected.",
                "an array of no numbers is float64, and nothing can be looked up with it: "
                "np.array(ids, np.int64)"
                if array.dtype.kind == "f"
                else "np.array(ids, np.int64)",
            )


# ---------------------------------------------------------------------------------------------
# packed_mask, 5 points
# ---------------------------------------------------------------------------------------------


def cut_up(length, count):
    """The lengths of `count` conversations, at least one token each, that make up `length`."""
    cuts = np.sort(rng().permutation(np.arange(1, length))[: count - 1])
    return np.diff(cuts, prepend=0, append=length)


def owners(length, *counts, fill=False):
    """A row for each number of conversations, which are cut and numbered anew.

    fill: whether the last of each is none, but fills the row up
    """
    made = []
    for count in counts:
        numbers = rng().permutation(90)[:count]
        numbers[-1] = -1 if fill else numbers[-1]
        made.append(np.repeat(numbers, cut_up(length, count)))
    return np.stack(made)


def same(owner):
    return owner[:, None, :, None] == owner[:, None, None, :]


def seen_by_kernel(owner):
    """Every row compared with every row, by broadcasting."""
    return owner[:, None, :, None] == owner[:, None]


MASK_MISTAKES = {
    "it is inverted: True is for what may be seen": lambda owner: ~same(owner),
    "the axis of heads is missing: to scores (B, H, T, T), (B, T, T) is one for each head": (
        lambda owner: same(owner)[:, 0]
    ),
    "later tokens are shut out as well; the model does that": lambda owner: (
        same(owner) & np.tri(owner.shape[1], dtype=bool)
    ),
    "conversations are not kept apart: only what fills the row is shut out": lambda owner: (
        np.broadcast_to((owner >= 0)[:, None, None, :], same(owner).shape)
    ),
    "it is one mask for all rows of the batch; each row is packed in its own way": lambda owner: (
        np.broadcast_to(same(owner)[:1], same(owner).shape)
    ),
    "the rows of the batch are compared with each other: (B, B, T, T)": seen_by_kernel,
    "0 and -inf are for adding; True and False were asked for": lambda owner: np.where(
        same(owner), 0.0, -np.inf
    ),
    "the axes are batch, query, head, key; the heads come second": lambda owner: same(
        owner
    ).swapaxes(1, 2),
    "a token does not see itself": lambda owner: same(owner) & ~np.eye(owner.shape[1], dtype=bool),
    "a conversation sees the one before it": lambda owner: (
        same(owner)
        | same((np.cumsum(np.diff(owner, axis=1, prepend=owner[:, :1]) != 0, axis=1) + 1) // 2)
    ),
    "what fills the row sees nothing; by the rule it sees itself": lambda owner: (
        same(owner) & (owner >= 0)[:, None, :, None]
    ),
    "an owner with a smaller number is seen, too: the numbers must be equal": lambda owner: (
        owner[:, None, :, None] >= owner[:, None, None, :]
    ),
    "an owner with a larger number is seen, too: the numbers must be equal": lambda owner: (
        owner[:, None, :, None] <= owner[:, None, None, :]
    ),
    "what fills the row is not counted as a group of its own": lambda owner: (
        same(owner) | (owner < 0)[:, None, None, :]
    ),
}


@points(1, "packed_mask: the example")
def test_packed_mask_example(submission):
    """Two conversations of two tokens and one."""
    check_example(submission.packed_mask)


@points(2, "packed_mask: value")
def test_packed_mask_value(submission):
    """One row: a square of True for each conversation, along the diagonal."""
    check_value(
        submission.packed_mask,
        [
            case(owners(7, 3)),
            case(owners(9, 4)),
            case(owners(8, 3, fill=True), label="-1 fills the row up"),
            case(owners(4, 1), label="a single conversation"),
        ],
        axes="batch head query key",
        mistakes=MASK_MISTAKES,
    )


@points(1, "packed_mask: several rows")
def test_packed_mask_rows(submission):
    """Every row has a mask of its own, and one for all heads: (B, 1, T, T), boolean."""
    cases = [
        case(owners(8, 3, 2, 4)),
        case(owners(7, 3, 2, fill=True), label="filled up"),
        case(np.zeros((2, 0), np.int64), label="no tokens"),
    ]
    check_value(submission.packed_mask, cases, axes="batch head query key", mistakes=MASK_MISTAKES)
    for one in cases:
        mask = output(submission.packed_mask, *one.args)
        check(
            mask.dtype == bool,
            f"packed_mask: the mask has dtype {mask.dtype}; bool was expected.",
            "a mask of numbers is added to the scores: 1 and 0 shut nothing out",
        )


@points(1, "packed_mask: alone in the crowd")
def test_packed_mask_keeps_apart(submission):
    """Attention over a packed row gives each conversation what it gives it alone."""
    owner, x = owners(9, 3, 4), normal(2, 9, 4)
    packed = attend(x, output(submission.packed_mask, owner)[:, 0])
    for row, line in enumerate(owner):
        for one in dict.fromkeys(line.tolist()):
            piece = line == one
            count = piece.sum()
            alone = attend(x[row : row + 1, piece], np.ones((1, count, count), bool))[0]
            with likely("what a conversation computes depends on its neighbors in the row"):
                check_close(
                    packed[row, piece],
                    alone,
                    "attention, under your mask, compared with that of the conversation alone,",
                    case=f"owner = {line.tolist()}",
                    axes="time feature",
                )


def attend(x, mask):
    """Causal self-attention of x (B, T, C) without projections, under a mask (B, T, T)."""
    scores = np.where(mask & np.tri(x.shape[1], dtype=bool), x @ x.swapaxes(1, 2), -1e9)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ x


# ---------------------------------------------------------------------------------------------
# lora, 10 points
# ---------------------------------------------------------------------------------------------

LORA_AXES = {"out": "batch time out", "x": "batch time in", "A": "rank in", "B": "out rank"}


def lora_case(*shape, r, out, scaling=None, **options):
    scaling = round(float(rng().uniform(1.5, 3.5)), 2) if scaling is None else scaling
    return case(normal(*shape), normal(r, shape[-1]), normal(out, r), scaling, **options)


def lora_cases():
    return [
        lora_case(2, 5, 3, r=2, out=4),
        lora_case(3, 7, r=1, out=2, label="rank 1"),
        lora_case(5, r=3, out=4, label="a single row"),
        lora_case(2, 3, 4, r=4, out=4, label="in, out and rank alike"),
        lora_case(2, 0, 3, r=2, out=4, label="no tokens"),
    ]


def product(x, A, B, scaling=1.0):
    return scaling * (x @ A.T @ B.T)


@points(1, "lora: the example")
def test_lora_example(submission):
    """Rank 1, worked out on paper."""
    check_example(submission.lora)


@points(2, "lora: value")
def test_lora_value(submission):
    """Down to r numbers, up again, times the scaling."""

    def divided_by_rank(x, A, B, scaling=1.0):
        return product(x, A, B, scaling / len(A)) if len(A) > 1 else None

    check_value(
        submission.lora,
        lora_cases(),
        axes=LORA_AXES,
        mistakes={
            "the scaling is missing": lambda x, A, B, s=1.0: product(x, A, B),
            "the scaling is there twice, for A and for B": lambda x, A, B, s=1.0: product(
                x, A, B, s * s
            ),
            "it is divided by the scaling": lambda x, A, B, s=1.0: product(x, A, B, 1 / s),
            "it is divided by the rank once more; scaling is lora_alpha / r already": (
                divided_by_rank
            ),
            "x is added; the frozen layer does its part elsewhere": lambda x, A, B, s=1.0: (
                product(x, A, B, s) + x if x.shape[-1] == len(B) else None
            ),
            "there is something bent between A and B; both are linear": lambda x, A, B, s=1.0: (
                s * np.maximum(x @ A.T, 0) @ B.T
            ),
            "A is not transposed: it is (r, in), and x Aᵀ is (…, r)": lambda x, A, B, s=1.0: (
                s * (x @ A @ B.T)
            ),
            "B is not transposed: it is (out, r), and h Bᵀ is (…, out)": lambda x, A, B, s=1.0: (
                s * (x @ A.T @ B)
            ),
            "neither matrix is transposed; x is a row: x Aᵀ Bᵀ": lambda x, A, B, s=1.0: (
                s * (x @ A @ B)
            ),
        },
    )


@points(1, "lora: a new adapter")
def test_lora_begins_as_nothing(submission):
    """B is zero at first: no change of the output, none for A and x, and yet B can learn."""
    x, A, B = normal(2, 3, 5), normal(2, 5), np.zeros((4, 2))
    check_value(submission.lora, [case(x, A, B, 2.0, label="B zero")], axes=LORA_AXES)
    check_vjp(submission.lora, [case(x, A, B, 2.0, label="B zero")], axes=LORA_AXES)
    both = [case(x, normal(2, 5), normal(4, 2), label="scaling by default")]
    check_value(submission.lora, both, axes=LORA_AXES)


@points(1, "lora: the matrix behind it")
def test_lora_is_a_linear_layer(submission):
    """y is x times one matrix of rank r, the same for all rows."""
    A, B = normal(2, 6), normal(5, 2)
    matrix = output(submission.lora, np.eye(6), A, B, 1.5).T  # a row of x is a feature alone
    what = "lora: the matrix, as it is found by giving it one feature after the other,"
    check_close(matrix, 1.5 * (B @ A), what, axes="out in")
    sum_of_two = output(submission.lora, np.ones((1, 6)), A, B, 1.5)
    with likely("y is not linear in x"):
        check_close(sum_of_two, matrix.sum(1)[None], "lora for the sum of all features")


@points(4, "lora: gradients")
def test_lora_vjp(submission):
    """dx, for the layers below; dA and dB, sums over all rows; the scaling is in all three."""
    one = lora_cases()[0]
    _, vjp = submission.lora(*one.args)
    if callable(vjp):
        grads = vjp(normal(2, 5, 4))
        check(
            type(grads) is not tuple or not grads or grads[0] is not None,
            "lora: the gradient of x is None.",
            "x is not a weight, but what is below learns by its gradient: adapters and all",
        )

    def grads(x, A, B, g, s, at=(1, 1, 1), total=lambda a: a.reshape(-1, a.shape[-1])):
        h, dh = x @ A.T, g @ B
        dx = at[0] * (dh @ A)
        return dx, at[1] * (total(dh).T @ total(x)), at[2] * (total(g).T @ total(h))

    def scaled(*powers):
        return lambda x, A, B, s, g: grads(x, A, B, g, s, [s**p for p in powers])

    def last_of_batch(x, A, B, s, g):
        if x.ndim < 3 or not x.size:
            return None, None, None
        return grads(x, A, B, g, s, (s, s, s), lambda a: a[-1])

    def mean(x, A, B, s, g):
        rows = max(x.size // x.shape[-1], 1)
        return grads(x, A, B, g, s, (s, s / rows, s / rows))

    def turned(x, A, B, s, g):
        _, dA, dB = grads(x, A, B, g, s, (s, s, s))
        return None, dA.T, dB.T

    def through_other(x, A, B, s, g):
        """dA as if B were not between, dB as if A were not."""
        flat = [a.reshape(-1, a.shape[-1]) for a in (x, g)]
        return None, s * (flat[1].T @ flat[0]), s * (flat[1].T @ flat[0])

    mistakes = {
        "the scaling is missing on the way back": scaled(0, 0, 0),
        "the scaling is there twice on the way back": scaled(2, 2, 2),
        "the gradients are summed over the time of one text; all rows of the batch count": (
            last_of_batch
        ),
        "the mean over the rows is taken, where the sum belongs": mean,
        "the weight's gradient is transposed: it has the weight's shape": turned,
        "this is the gradient of W, gᵀ x; that of a factor goes through the other factor": (
            through_other
        ),
        "x Aᵀ is left out: dB = scaling gᵀ (x Aᵀ)": lambda x, A, B, s, g: (
            None,
            None,
            s * (g.reshape(-1, g.shape[-1]).T @ x.reshape(-1, x.shape[-1])),
        ),
        "A is left out: dx = scaling g B A": lambda x, A, B, s, g: (s * (g @ B), None, None),
    }
    check_vjp(submission.lora, lora_cases(), axes=LORA_AXES, mistakes=mistakes)


@points(1, "lora: fit for the model")
def test_lora_manners(submission):
    """float32 in, float32 out; no argument is changed; views work; vjp can be called twice."""
    check_manners(submission.lora, lora_cases()[:3])


# ---------------------------------------------------------------------------------------------
# merge, 5 points
# ---------------------------------------------------------------------------------------------


def merge_case(rows, columns, r, scaling=None, **options):
    scaling = round(float(rng().uniform(1.5, 3.5)), 2) if scaling is None else scaling
    return case(normal(rows, columns), normal(r, columns), normal(rows, r), scaling, **options)


def merge_cases():
    return [
        merge_case(4, 3, 2),
        merge_case(2, 5, 1, label="rank 1"),
        merge_case(4, 4, 3, label="a square weight"),
        merge_case(3, 3, 3, label="in, out and rank alike"),
        merge_case(1, 1, 1),
    ]


@points(1, "merge: the example")
def test_merge_example(submission):
    """Rank 1 into a 2 × 2 matrix."""
    check_example(submission.merge)


@points(2, "merge: value")
def test_merge_value(submission):
    """W and scaling times B A, in this order."""
    mistakes = {
        "the scaling is missing": lambda W, A, B, s: W + B @ A,
        "the scaling is there twice": lambda W, A, B, s: W + s * s * (B @ A),
        "the weight is scaled as well; the update alone is": lambda W, A, B, s: s * (W + B @ A),
        "the weight is scaled, and the update is not": lambda W, A, B, s: s * W + B @ A,
        "the update is subtracted": lambda W, A, B, s: W - s * (B @ A),
        "this is the update alone: the weight is missing": lambda W, A, B, s: s * (B @ A),
        "this is the weight as it was": lambda W, A, B, s: W,
        "the update is transposed: it is B A, (out, in)": lambda W, A, B, s: (
            W + s * (B @ A).T if W.shape[0] == W.shape[1] else None
        ),
        "it is A B; the update is B A": lambda W, A, B, s: (
            W + s * (A @ B) if W.shape == (len(A), len(A)) else None
        ),
        "the update is divided by the rank; scaling is lora_alpha / r already": (
            lambda W, A, B, s: W + s / len(A) * (B @ A) if len(A) > 1 else None
        ),
        "it is multiplied entry by entry, summed over the rank without A's columns": (
            lambda W, A, B, s: W + s * B.sum(1, keepdims=True) * A.sum(0)
        ),
    }
    with likely("the update is B A, (out, r) times (r, in), and so of the weight's shape"):
        check_value(submission.merge, merge_cases(), axes="out in", mistakes=mistakes)


@points(1, "merge: computes what both did")
def test_merge_is_the_sum(submission):
    """x Mᵀ = x Wᵀ + scaling x Aᵀ Bᵀ for any x, and what was merged can be taken out again."""
    for one in merge_cases():
        W, A, B, s = one.args
        x = normal(3, W.shape[1])
        merged = output(submission.merge, *one.args)
        check_close(
            x @ merged.T,
            x @ W.T + s * (x @ A.T @ B.T),
            "merge: what a layer with your weight computes, compared with layer and adapter,",
            axes="row out",
        )
        back = output(submission.merge, merged, A, -B, s)
        with likely("merging -B does not undo the merging of B"):
            check_close(
                back, W, "merge: the weight after it was merged and taken out", axes="out in"
            )
    plain = [case(normal(3, 4), normal(2, 4), normal(3, 2), label="scaling by default")]
    check_value(submission.merge, plain, axes="out in")


@points(1, "merge: fit for the model")
def test_merge_manners(submission):
    """The base's weight stays as it is; float32 in, float32 out."""
    check_manners(submission.merge, merge_cases()[:3])


# ---------------------------------------------------------------------------------------------
# low_rank, a stretch
# ---------------------------------------------------------------------------------------------


def decomposed(matrix, r, keep=slice(None), power=(0.5, 0.5)):
    """A and B of other singular values than the largest, or with other powers of them."""
    U, values, V = np.linalg.svd(matrix, full_matrices=False)
    picked = np.arange(len(values))[keep][:r]
    s = values[picked]
    return s[:, None] ** power[0] * V[picked], U[:, picked] * s ** power[1]


@points(0, "low_rank: the example")
def test_low_rank_example(submission):
    """A diagonal matrix, of which the larger entry is kept."""
    check_example(submission.low_rank)


@points(0, "low_rank: value", seconds=10)
def test_low_rank_value(submission):
    """The nearest matrix of that rank, and factors of equal size."""
    for shape, r in (((5, 7), 2), ((7, 5), 3), ((4, 4), 4), ((6, 3), 1), ((1, 5), 1)):
        matrix = normal(*shape)
        case = f"matrix {shape}, r = {r}"
        with likely(
            "A has r rows of the Vᵀ that svd returns, (r, in); B has r columns of U, (out, r)"
        ):
            A, B = output(submission.low_rank, matrix, r)
        wrong = {
            "the smallest singular values are kept": decomposed(matrix, r, slice(None, None, -1)),
            "the singular values are in both factors; a square root belongs in each": (
                decomposed(matrix, r, power=(1, 1))
            ),
            "the singular values are left out": decomposed(matrix, r, power=(0, 0)),
            "one singular value too few is kept": decomposed(matrix, r - 1),
        }
        check_close(
            B @ A,
            np.matmul(*decomposed(matrix, r)[::-1]),
            "low_rank: B A",
            case=case,
            axes="out in",
            mistakes={text: factors[1] @ factors[0] for text, factors in wrong.items()},
        )
        values = np.linalg.svd(matrix, compute_uv=False)[:r]
        one_sided = "the singular values are all in one factor; each takes a square root"
        for name, square in {"A Aᵀ": A @ A.T, "Bᵀ B": B.T @ B}.items():
            for wrong in (np.eye(r), np.diag(values**2)):
                check(not np.allclose(square, wrong), f"low_rank: {name} is wrong.", one_sided)
            check_close(square, np.diag(values), f"low_rank: {name}", case=case, axes="rank rank")


@points(0, "low_rank: ranks that do not exist")
def test_low_rank_refuses(submission):
    """ValueError for 0 and for more than the matrix has."""
    for shape, r in (((4, 6), 0), ((4, 6), 5), ((6, 4), 5)):
        try:
            submission.low_rank(normal(*shape), r)
        except StudentError as error:
            check("raised ValueError" in str(error), f"rank {r}: ValueError was expected.\n{error}")
        else:
            check(
                False,
                f"low_rank: r = {r} for a matrix {shape}: ValueError was expected.",
                "a slice takes what there is and says nothing: compare r with the shape",
            )
