"""Graders of chapter 15: hidden tokens and pairs, pooling, the head, the next sentence."""

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
    rng,
)

TITLE = "BERT"
ASSIGNED = {
    "mask_tokens": "training.tasks.masked",
    "sentence_pairs": "training.tasks.masked",
    "mean_pooling": "analysis.sentence_vectors",
    "mlm_head": "models.bert",
    "next_sentence_loss": "functional.further_losses",
    "cut_lengths": "text.batch_encoding",
}
STRETCH = ("cut_lengths",)

# ---------------------------------------------------------------------------------------------
# mask_tokens, 8 points
# ---------------------------------------------------------------------------------------------

MASK = 4


def batch(rows, length, share=0.4):
    """[CLS], words, [SEP], padding; more than 15% are chosen, and of every fate there are some."""
    ids = rng().integers(10, 90, (rows, length))
    ids[:, 0], ids[:, -2:] = 2, (3, 0)
    maskable = ids > 4
    chosen = np.where(rng().random(ids.shape) < share, 0.15, 1.0) * rng().random(ids.shape)
    fate = rng().choice([0.05, 0.4, 0.75, 0.84, 0.86, 0.93, 0.97], ids.shape)
    fate[:, 1:8], chosen[:, 1:8] = rng().permutation([0.05, 0.4, 0.75, 0.84, 0.86, 0.93, 0.97]), 0.1
    return case(ids, maskable, chosen, fate, rng().integers(100, 200, ids.shape), MASK)


def hidden(ids, maskable, chosen, fate, drawn, mask, marked=0.8, replaced=0.9, share=0.15):
    """(ids, labels) for other shares, or another idea of what may be chosen."""
    told = maskable & (chosen < share)
    out = np.where(told & (fate < marked), mask, ids)
    return np.where(told & (fate >= marked) & (fate < replaced), drawn, out), told


def labeled(change=None, **options):
    """A wrong variant: the ids of `hidden` with these options, and labels that `change` makes."""

    def wrong(ids, maskable, chosen, fate, drawn, mask):
        out, told = hidden(ids, maskable, chosen, fate, drawn, mask, **options)
        labels = np.where(told, ids, -100)
        return out, labels if change is None else change(ids, out, told, fate)

    return wrong


def exchanged(ids, maskable, chosen, fate, drawn, mask):
    out, told = hidden(ids, maskable, chosen, fate, drawn, mask, replaced=0.8)
    return np.where(told & (fate >= 0.9), drawn, out), np.where(told, ids, -100)


def random_first(ids, maskable, chosen, fate, drawn, mask):
    out, told = hidden(ids, maskable, chosen, fate, drawn, mask, replaced=0.8)
    return np.where(told & (fate < 0.1), drawn, out), np.where(told, ids, -100)


def everywhere(ids, maskable, chosen, fate, drawn, mask):
    right = labeled()(ids, maskable, chosen, fate, drawn, mask)
    return hidden(ids, maskable, chosen * 0, fate, drawn, mask)[0], right[1]


def in_their_order(ids, maskable, chosen, fate, drawn, mask):
    """Of the drawn tokens the first, the second …, not those of the places."""
    out, told = hidden(ids, maskable, chosen, fate, drawn, mask)
    places = told & (fate >= 0.8) & (fate < 0.9)
    out[places] = drawn.ravel()[: places.sum()]
    return out, np.where(told, ids, -100)


def marks_overwritten(ids, maskable, chosen, fate, drawn, mask):
    told = maskable & (chosen < 0.15)
    return np.where(told & (fate < 0.9), drawn, ids), np.where(told, ids, -100)


def marks_hidden(ids, maskable, chosen, fate, drawn, mask):
    out, told = hidden(ids, maskable, chosen, fate, drawn, mask)
    return np.where((chosen < 0.15) & (fate < 0.8), mask, out), np.where(told, ids, -100)


HIDING_MISTAKES = {
    "fate < 0.8 is replaced, too, after it has become [MASK]: 0.8 ≤ fate < 0.9 is": (
        marks_overwritten
    ),
    "maskable is not used where tokens become [MASK]: [CLS], [SEP] and padding do, too": (
        marks_hidden
    ),
    "the drawn tokens are used up in their order; each place has its own": in_their_order,
    "a token that stays as it is has no label; it is to be predicted all the same": labeled(
        lambda ids, out, told, fate: np.where(told & (fate < 0.9), ids, -100)
    ),
    "only what became [MASK] has a label; all that was chosen is to be predicted": labeled(
        lambda ids, out, told, fate: np.where(told & (fate < 0.8), ids, -100)
    ),
    "the labels are what the model is given; they must be what was there": labeled(
        lambda ids, out, told, fate: np.where(told, out, -100)
    ),
    "every token has a label: where nothing is to be predicted stands -100": labeled(
        lambda ids, out, told, fate: ids
    ),
    "0 stands where nothing is to be predicted; it must be -100, for 0 is a token": labeled(
        lambda ids, out, told, fate: np.where(told, ids, 0)
    ),
    "-1 stands where nothing is to be predicted; it must be -100": labeled(
        lambda ids, out, told, fate: np.where(told, ids, -1)
    ),
    "labels and -100 are exchanged: -100 stands where a token is to be predicted": labeled(
        lambda ids, out, told, fate: np.where(told, -100, ids)
    ),
    "all chosen tokens become [MASK]; that is for four of five": labeled(marked=1.1),
    "all chosen tokens that do not become [MASK] are replaced; half of them stay": labeled(
        replaced=1.1
    ),
    "none is replaced by a drawn token": labeled(replaced=0.8),
    "the shares of replaced and kept are exchanged: 0.8 ≤ fate < 0.9 is replaced": exchanged,
    "fate < 0.1 is replaced: these are to become [MASK]; 0.8 ≤ fate < 0.9 is replaced": (
        random_first
    ),
    "tokens that were not chosen are hidden, too": everywhere,
    "maskable is not used for the ids, where [CLS], [SEP] and padding are hidden, too": (
        lambda ids, maskable, *rest: (
            labeled()(ids, np.ones_like(maskable), *rest)[0],
            labeled()(ids, maskable, *rest)[1],
        )
    ),
    "maskable is not used: [CLS], [SEP] and padding are hidden, too": (
        lambda ids, maskable, *rest: labeled()(ids, np.ones_like(maskable), *rest)
    ),
    "maskable is used the other way round": (
        lambda ids, maskable, *rest: labeled()(ids, ~maskable, *rest)
    ),
    "85% are chosen: it must be chosen < 0.15": (
        lambda ids, maskable, chosen, *rest: labeled()(ids, maskable, 0.3 - chosen, *rest)
    ),
    "all that is maskable is chosen; it must be chosen < 0.15": labeled(share=1.1),
    "chosen and fate are exchanged": (
        lambda ids, maskable, chosen, fate, *rest: labeled()(ids, maskable, fate, chosen, *rest)
    ),
}


@points(1, "mask_tokens: the example")
def test_mask_tokens_example(submission):
    """Four words, of which three are chosen, each with another fate."""
    check_example(submission.mask_tokens)


@points(4, "mask_tokens: value")
def test_mask_tokens_value(submission):
    """80% [MASK], 10% another token, 10% as it was; a label for all three, and -100 elsewhere."""
    check_value(
        submission.mask_tokens,
        [batch(3, 23), batch(1, 11, share=0.0), batch(5, 13)],
        outputs=("the ids", "the labels"),
        axes="row token",
        mistakes=HIDING_MISTAKES,
    )


@points(2, "mask_tokens: borders, and nothing to hide")
def test_mask_tokens_edges(submission):
    """0.15, 0.8 and 0.9 themselves; a batch that has nothing maskable, or nothing chosen."""
    ids, drawn = rng().integers(10, 90, (2, 6)), rng().integers(100, 200, (2, 6))
    everything, low = np.ones((2, 6), bool), np.zeros((2, 6))
    fate = np.array([[0.8, 0.9, 0.0, 0.8, 0.9, 0.5], [0.9, 0.8, 0.8, 0.0, 0.5, 0.9]])
    border = np.where(rng().random((2, 6)) < 0.5, 0.15, 0.1)
    border[:, 0], border[:, 1] = 0.15, 0.1
    check_value(
        submission.mask_tokens,
        [
            case(ids, everything, low, fate, drawn, MASK, label="fates of 0.8 and 0.9"),
            case(ids, everything, border, fate, drawn, MASK, label="chosen is 0.15 here and there"),
            case(ids, ~everything, low, fate, drawn, MASK, label="nothing is maskable"),
            case(ids, everything, low + 1, fate, drawn, MASK, label="nothing is chosen"),
        ],
        outputs=("the ids", "the labels"),
        axes="row token",
        mistakes={
            "0.8 is no longer [MASK]: fate < 0.8 is": labeled(marked=0.8000001),
            "0.9 is no longer replaced: 0.8 ≤ fate < 0.9 is": labeled(replaced=0.9000001),
            "0.15 is not chosen: chosen < 0.15 is": labeled(share=0.1500001),
            "both borders are counted in: 0.8 is replaced, 0.9 is kept": labeled(
                marked=0.8000001, replaced=0.9000001
            ),
            **HIDING_MISTAKES,
        },
    )


@points(1, "mask_tokens: nothing is changed")
def test_mask_tokens_manners(submission):
    """The ids that are given stay as they are; views work."""
    check_manners(submission.mask_tokens, [batch(2, 11), batch(3, 12)])


# ---------------------------------------------------------------------------------------------
# sentence_pairs, 6 points
# ---------------------------------------------------------------------------------------------

CLS, SEP = 2, 3


def words(*lengths):
    return [rng().integers(10, 90, n).tolist() for n in lengths]


def pair_cases():
    return [
        case(words(2, 5, 1), words(4, 3, 2), CLS, SEP),
        case(words(3), words(5), 101, 102, pad_token_id=1, label="a single pair"),
        case(words(4, 2, 1, 3), words(1, 6, 2, 0), CLS, SEP, pad_token_id=7),
    ]


def filled(rows, value, in_front=False, extra=0):
    length = max(map(len, rows)) + extra
    fills = [[value] * (length - len(row)) for row in rows]
    return np.array([f + row if in_front else row + f for row, f in zip(rows, fills)])


def laid_out(
    row=lambda a, b, cls, sep: [cls, *a, sep, *b, sep],
    kind=lambda a, b: [0] * (len(a) + 2) + [1] * (len(b) + 1),
    real=lambda row, a, b: [1] * len(row),
    fill=0,
    **how,
):
    """A wrong variant: another row, other segments, another mask, or another way to fill up."""

    def wrong(first, second, cls_token_id, sep_token_id, pad_token_id=0):
        pairs = list(zip(first, second))
        ids = [row(a, b, cls_token_id, sep_token_id) for a, b in pairs]
        kinds = [kind(a, b) for a, b in pairs]
        mask = [real(i, a, b) for i, (a, b) in zip(ids, pairs)]
        return filled(ids, pad_token_id, **how), filled(kinds, fill, **how), filled(mask, 0, **how)

    return wrong


def seen_by_id(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, kinds, _ = laid_out()(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, kinds, (ids != pad_token_id).astype(int)


def filled_with(which):
    """The padding of these outputs (1: segments, 2: mask) has the padding token's id."""

    def wrong(first, second, cls_token_id, sep_token_id, pad_token_id=0):
        outs = laid_out()(first, second, cls_token_id, sep_token_id, pad_token_id)
        padding = outs[2] == 0
        return tuple(
            np.where(padding, pad_token_id, out) if i == which else out
            for i, out in enumerate(outs)
        )

    return wrong


def kinds_by_id(first, second, cls_token_id, sep_token_id, pad_token_id=0):
    ids, _, mask = laid_out()(first, second, cls_token_id, sep_token_id, pad_token_id)
    return ids, np.cumsum(ids == sep_token_id, 1), mask


PAIR_MISTAKES = {
    "padding is of segment 0; here it has the padding token's id": filled_with(1),
    "the mask of padding is 0; here it has the padding token's id": filled_with(2),
    "an empty second sentence has no [SEP]; it has one all the same": laid_out(
        row=lambda a, b, cls, sep: [cls, *a, sep, *b, *[sep] * bool(b)],
        kind=lambda a, b: [0] * (len(a) + 2) + [1] * (len(b) + bool(b)),
    ),
    "[CLS] and [SEP] are not counted: the first segment has len(first) + 2 tokens": laid_out(
        kind=lambda a, b: [0] * len(a) + [1] * (len(b) + 1) + [0, 0]
    ),
    "the last [SEP] is missing": laid_out(
        row=lambda a, b, cls, sep: [cls, *a, sep, *b],
        kind=lambda a, b: [0] * (len(a) + 2) + [1] * len(b),
    ),
    "the [SEP] between the sentences is missing": laid_out(
        row=lambda a, b, cls, sep: [cls, *a, *b, sep],
        kind=lambda a, b: [0] * (len(a) + 1) + [1] * (len(b) + 1),
    ),
    "[CLS] is missing": laid_out(
        row=lambda a, b, cls, sep: [*a, sep, *b, sep],
        kind=lambda a, b: [0] * (len(a) + 1) + [1] * (len(b) + 1),
    ),
    "the second sentence begins with a [CLS] of its own; there is one a row": laid_out(
        row=lambda a, b, cls, sep: [cls, *a, sep, cls, *b, sep],
        kind=lambda a, b: [0] * (len(a) + 2) + [1] * (len(b) + 2),
    ),
    "[CLS] and [SEP] are exchanged": laid_out(row=lambda a, b, cls, sep: [sep, *a, cls, *b, cls]),
    "the second sentence comes first": laid_out(
        row=lambda a, b, cls, sep: [cls, *b, sep, *a, sep],
        kind=lambda a, b: [0] * (len(b) + 2) + [1] * (len(a) + 1),
    ),
    "the first [SEP] is of the second segment; it ends the first": laid_out(
        kind=lambda a, b: [0] * (len(a) + 1) + [1] * (len(b) + 2)
    ),
    "the last [SEP] is of segment 0; it ends the second": laid_out(
        kind=lambda a, b: [0] * (len(a) + 2) + [1] * len(b) + [0]
    ),
    "[CLS] is not counted: the segments begin one place early": laid_out(
        kind=lambda a, b: [0] * (len(a) + 1) + [1] * (len(b) + 1) + [0]
    ),
    "all is of segment 0": laid_out(kind=lambda a, b: [0] * (len(a) + len(b) + 3)),
    "the segments are 1 and 2; they are 0 and 1": laid_out(
        kind=lambda a, b: [1] * (len(a) + 2) + [2] * (len(b) + 1)
    ),
    "the segments are exchanged": laid_out(
        kind=lambda a, b: [1] * (len(a) + 2) + [0] * (len(b) + 1)
    ),
    "padding is of segment 1; it is 0 there": laid_out(fill=1),
    "the mask leaves out [CLS] and [SEP]; they are tokens": laid_out(
        real=lambda row, a, b: [0] + [1] * len(a) + [0] + [1] * len(b) + [0]
    ),
    "the mask covers the first sentence alone": laid_out(
        real=lambda row, a, b: [1] * (len(a) + 2) + [0] * (len(b) + 1)
    ),
    "the mask is 1 everywhere: padding is to be 0": (
        lambda *args, **options: (
            *laid_out()(*args, **options)[:2],
            np.ones_like(laid_out()(*args, **options)[0]),
        )
    ),
    "the mask is 0 for tokens and 1 for padding; it is the other way round": (
        lambda *args, **options: (
            *laid_out()(*args, **options)[:2],
            1 - laid_out()(*args, **options)[2],
        )
    ),
    "the rows are filled up in front; padding comes behind": laid_out(in_front=True),
    "the rows are longer than the longest needs": laid_out(extra=1),
    "padding is told by its id; a mark or a token may have that id, too": seen_by_id,
    "the segments count every [SEP], so what comes after one is of the next": kinds_by_id,
}


@points(1, "sentence_pairs: the example")
def test_sentence_pairs_example(submission):
    """Two pairs, of which one has an empty second sentence."""
    check_example(submission.sentence_pairs)


@points(3, "sentence_pairs: value")
def test_sentence_pairs_value(submission):
    """[CLS] first [SEP] second [SEP]; the segment and the mask of each; padding behind."""
    check_value(
        submission.sentence_pairs,
        pair_cases(),
        outputs=("input_ids", "token_type_ids", "attention_mask"),
        axes="row token",
        mistakes=PAIR_MISTAKES,
    )


@points(2, "sentence_pairs: odd ones")
def test_sentence_pairs_edges(submission):
    """Empty sentences; padding that has the id of [SEP], or of a word."""
    check_value(
        submission.sentence_pairs,
        [
            case(words(3, 1, 0), words(0, 2, 4), CLS, SEP, label="empty sentences"),
            case(words(2, 4), words(3, 5), CLS, SEP, pad_token_id=SEP, label="pad is [SEP]"),
            case([[0, 5], [6, 0, 7]], [[8, 0], [9]], CLS, SEP, label="0 is a word"),
        ],
        outputs=("input_ids", "token_type_ids", "attention_mask"),
        axes="row token",
        mistakes=PAIR_MISTAKES,
    )


# ---------------------------------------------------------------------------------------------
# mean_pooling, 5 points
# ---------------------------------------------------------------------------------------------


def mask_of(length, *counts):
    return (np.arange(length) < np.array(counts)[:, None]).astype(int)


def pooling_cases():
    return [
        case(normal(2, 7, 3) + 2, mask_of(7, 1, 4)),
        case(normal(3, 5, 4), mask_of(5, 5, 2, 3)),
        case(normal(1, 4, 6), mask_of(4, 3)),
        case(normal(2, 5, 3), np.array([[0, 1, 1, 0, 1], [1, 0, 0, 0, 1]]), label="gaps"),
    ]


def summed(h, mask):
    return np.where(mask[..., None] > 0, h, 0).sum(1)


@points(1, "mean_pooling: the example")
def test_mean_pooling_example(submission):
    """Two tokens and one that is padding."""
    check_example(submission.mean_pooling)


@points(2, "mean_pooling: value")
def test_mean_pooling_value(submission):
    """The sum over real tokens, divided by how many the row has."""
    check_value(
        submission.mean_pooling,
        pooling_cases(),
        axes="row feature",
        mistakes={
            "padding is counted: this is the mean over all places": lambda h, m: h.mean(1),
            "padding is left out of the sum, but not of the number it is divided by": (
                lambda h, m: summed(h, m) / h.shape[1]
            ),
            "padding is in the sum; it is only left out of the number": (
                lambda h, m: h.sum(1) / m.sum(1, keepdims=True)
            ),
            "the sum is not divided by the number of tokens": summed,
            "this is the first token's vector, [CLS]; the mean is asked for": lambda h, m: h[:, 0],
            "this is the largest of each feature; the mean is asked for": lambda h, m: np.where(
                m[..., None] > 0, h, -np.inf
            ).max(1),
            "the mask is used the other way round": lambda h, m: (
                summed(h, 1 - m) / (1 - m).sum(1, keepdims=True)
            ),
            "the first token is left out; [CLS] counts like others": lambda h, m: (
                summed(h[:, 1:], m[:, 1:]) / m[:, 1:].sum(1, keepdims=True)
            ),
            "all rows are divided by the longest one's number of tokens": lambda h, m: (
                summed(h, m) / m.sum(1).max()
            ),
            "as many tokens as the mask has, from the first; those where it is 1 are asked for": (
                lambda h, m: summed(h, mask_of(m.shape[1], *m.sum(1))) / m.sum(1, keepdims=True)
            ),
            "the mean runs over the features; it runs over the tokens": lambda h, m: h.mean(2),
            "the sum runs over the features; the mean runs over the tokens": lambda h, m: np.where(
                m[..., None] > 0, h, 0
            ).sum(2),
            "the rows are divided by the tokens of the whole batch": lambda h, m: (
                summed(h, m) / m.sum()
            ),
            "all rows are divided by the number of the longest": lambda h, m: (
                summed(h, m) / m.sum(1).max()
            ),
            "all rows are divided by the mean number of tokens": lambda h, m: (
                summed(h, m) / m.sum(1).mean()
            ),
            "the result is divided by its norm; that comes later": lambda h, m: (
                summed(h, m) / np.linalg.norm(summed(h, m), axis=-1, keepdims=True)
            ),
            "the mean runs over the rows of the batch": lambda h, m: (
                np.where(m[..., None] > 0, h, 0).sum(0) / m.sum(0)[:, None]
            ),
        },
    )


@points(1, "mean_pooling: no token, and anything in padding")
def test_mean_pooling_edges(submission):
    """A row without tokens gives zeros; infinite padding changes nothing; a mask of booleans."""
    h = normal(2, 4, 3)
    some = mask_of(4, 0, 2)
    yours = output(submission.mean_pooling, h, some)
    with np.errstate(invalid="ignore"):
        nothing = summed(h, some) / some.sum(1, keepdims=True)
    check_close(
        yours,
        [[0] * 3, h[1, :2].mean(0)],
        "the mean of a row without tokens",
        axes="row feature",
        mistakes={"0 / 0: a row without tokens; divide by at least 1": nothing},
    )
    dirty = h.copy()
    dirty[0, 2:], dirty[1, 3] = np.inf, np.nan
    some = mask_of(4, 2, 3)
    right = np.array([h[0, :2].mean(0), h[1, :3].mean(0)])
    check_close(
        output(submission.mean_pooling, dirty, some),
        right,
        "the mean beside infinite padding",
        axes="row feature",
        mistakes={
            "0 · ∞ is NaN: leave padding out (np.where), do not multiply it by 0": right * np.nan
        },
    )
    with likely("a mask may be booleans: 1 - mask and -mask are not for them"):
        yours = output(submission.mean_pooling, h, mask_of(4, 2, 3).astype(bool))
        check_close(yours, right, "the mean with a mask of booleans")


@points(1, "mean_pooling: fit for the model")
def test_mean_pooling_manners(submission):
    """float32 in, float32 out, though the mask is of integers; nothing changed; views work."""
    check_manners(submission.mean_pooling, pooling_cases())


# ---------------------------------------------------------------------------------------------
# mlm_head, 4 points
# ---------------------------------------------------------------------------------------------


class Parts:
    """Four different functions, random and small, which note how many vectors they are given."""

    def __init__(self, width, vocabulary, dtype=np.float64):
        self.weight, self.table = normal(width, width, dtype=dtype), normal(width, vocabulary)
        self.scale, self.table = normal(width, dtype=dtype), self.table.astype(dtype)
        self.given = {}

    def note(self, name, x):
        self.given[name] = self.given.get(name, 0) + int(np.prod(x.shape[:-1]))
        return x

    def dense(self, x):
        return self.note("dense", x) @ self.weight

    def activation(self, x):
        return np.tanh(self.note("activation", x)) * x

    def norm(self, x):
        with np.errstate(all="ignore"):  # whatever a student hands in
            size = np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(1e-6))
            return self.note("norm", x) / size * self.scale

    def decoder(self, x):
        return self.note("decoder", x) @ self.table

    @property
    def all(self):
        return self.dense, self.activation, self.norm, self.decoder


def head_mistakes(x, parts):
    dense, activation, norm, decoder = parts.all
    return {
        "norm comes before the activation; it comes after it": decoder(activation(norm(dense(x)))),
        "the activation comes before dense; it comes after it": decoder(norm(dense(activation(x)))),
        "norm comes before dense; it comes last of the three": decoder(activation(dense(norm(x)))),
        "the activation is missing": decoder(norm(dense(x))),
        "norm is missing": decoder(activation(dense(x))),
        "dense is missing": decoder(norm(activation(x))),
        "the decoder reads x itself; the transform before it is missing": decoder(x),
        "x is added as in a layer; the head has no residual": decoder(
            x + norm(activation(dense(x)))
        ),
        "x is added as in a post-norm layer; the head has no residual": decoder(
            norm(x + activation(dense(x)))
        ),
        "dense is applied twice": decoder(norm(activation(dense(dense(x))))),
        "norm is applied twice: it comes after the activation alone": decoder(
            norm(activation(norm(dense(x))))
        ),
        "this is the softmax of the scores; the scores are asked for": p_of(right_head(x, parts)),
        "the decoder is missing: these are the vectors that it reads": norm(activation(dense(x))),
    }


def right_head(x, parts):
    return parts.decoder(parts.norm(parts.activation(parts.dense(x))))


@points(1, "mlm_head: the example")
def test_mlm_head_example(submission):
    """Three tokens of one number, two of them chosen."""
    check_example(submission.mlm_head)


@points(1, "mlm_head: value")
def test_mlm_head_value(submission):
    """dense, activation, norm, decoder, one after the other, for all places."""
    for b, t, c, v in ((2, 5, 4, 7), (1, 3, 6, 4), (3, 1, 2, 9)):
        parts, x = Parts(c, v), normal(b, t, c)
        yours = submission.mlm_head(x, *parts.all)
        check_close(
            yours,
            right_head(x, parts),
            "mlm_head: the logits",
            axes="batch time token",
            mistakes=head_mistakes(x, parts),
        )


@points(2, "mlm_head: only what is asked for")
def test_mlm_head_chosen(submission):
    """The chosen places, row by row; the parts see no others; float32 stays; x is not changed."""
    for b, t, c, v, dtype in ((3, 5, 4, 7, "f8"), (2, 6, 3, 5, "f4"), (1, 4, 3, 2, "f8")):
        parts, x = Parts(c, v, dtype), normal(b, t, c, dtype=dtype)
        chosen = rng().random((b, t)) < 0.4
        chosen[0, :3] = True, False, True
        before = x.copy()
        right, wrong = right_head(x, parts), head_mistakes(x, parts)
        parts.given = {}
        yours = submission.mlm_head(x, *parts.all, chosen)
        mistakes = {name: array[chosen] for name, array in wrong.items()}
        mistakes |= {
            "chosen is not used: these are the logits of all places": right,
            "these are the places that were not chosen": right[~chosen],
            "the logits of the other places are set to 0; they are to be left out": (
                right * chosen[..., None]
            ),
            "the chosen places come column by column": right.swapaxes(0, 1)[chosen.T],
            "these are the first places; where chosen is True is asked for": right.reshape(-1, v)[
                : chosen.sum()
            ],
            "all rows are read where the first row is chosen": right[:, chosen[0]].reshape(-1, v),
            "whole texts are picked, np.where(chosen)[0]; x[chosen] picks tokens": (
                right[np.where(chosen)[0]]
            ),
            "whole texts are picked; x[chosen] picks tokens": right[chosen.any(1)],
        }
        what = "mlm_head: the logits of the chosen places"
        check_close(yours, right[chosen], what, axes="place token", mistakes=mistakes)
        for name, count in parts.given.items():
            check(
                count <= chosen.sum(),
                f"mlm_head gave {count} vectors to {name}; {chosen.sum()} places were chosen.",
                "the choice is made after the work: pick x[chosen] first",
            )
        with likely("an array of float64 takes part"):
            check(
                yours.dtype == dtype,
                f"mlm_head: the logits have dtype {yours.dtype}; {np.dtype(dtype)} went in.",
            )
        check(np.array_equal(x, before), "mlm_head changed its argument x.", "work on a copy")


# ---------------------------------------------------------------------------------------------
# next_sentence_loss, 7 points
# ---------------------------------------------------------------------------------------------


def answers(count):
    labels = rng().integers(0, 2, count)
    labels[:2] = (0, 1)[:count]
    return labels


def loss_cases():
    return [
        case(normal(5, 2), answers(5)),
        case(normal(3, 2, scale=3) + 4, answers(3)),
        case(normal(1, 2), np.array([1]), label="one pair, which does not follow"),
        case(normal(4, 2), np.zeros(4, int), label="all follow"),
    ]


def shared_cases():
    return [
        case(normal(4, 2), answers(4), num_items=9),
        case(normal(3, 2), answers(3), num_items=5),
    ]


def costs(z, labels):
    """-ln p[label] of each pair."""
    d = z[np.arange(len(z)), 1 - labels] - z[np.arange(len(z)), labels]
    return np.logaddexp(0, d)


def p_of(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def p_of_batch(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum()


def divisor(labels, num_items):
    return len(labels) if num_items is None else num_items


def sigmoid_loss(z, labels, num_items=None):
    """Each logit by itself, as if both classes could be true."""
    y = np.eye(2)[labels]
    return (np.logaddexp(0, z) - y * z).sum() / divisor(labels, num_items)


LOSS_MISTAKES = {
    "the classes are exchanged: 0 is 'it follows', and p[label] is the label's": (
        lambda z, y, num_items=None: costs(z, 1 - y).sum() / divisor(y, num_items)
    ),
    "the sum over the pairs is not divided by their number": (
        lambda z, y, num_items=None: costs(z, y).sum()
    ),
    "the loss has one entry a pair; their mean is asked for": (
        lambda z, y, num_items=None: costs(z, y)
    ),
    "the sum is divided by 2 B, the number of logits; B pairs count": (
        lambda z, y, num_items=None: costs(z, y).sum() / (2 * divisor(y, num_items))
    ),
    "the logarithm has base 2; a nat is its natural unit": (
        lambda z, y, num_items=None: costs(z, y).sum() / divisor(y, num_items) / np.log(2)
    ),
    "this is 1 - p[label]; -ln p[label] is asked for": (
        lambda z, y, num_items=None: (1 - np.exp(-costs(z, y))).sum() / divisor(y, num_items)
    ),
    "the sign is wrong: ln p is negative, the loss is not": (
        lambda z, y, num_items=None: -costs(z, y).sum() / divisor(y, num_items)
    ),
    "each logit has a sigmoid of its own; the two classes share one softmax": sigmoid_loss,
    "only class 0's probability counts, whatever the label is": (
        lambda z, y, num_items=None: costs(z, 0 * y).sum() / divisor(y, num_items)
    ),
    "only pairs that follow count; the others must be told from them": (
        lambda z, y, num_items=None: costs(z, y)[y == 0].sum() / divisor(y, num_items)
    ),
    "this is the cost of the likelier class; the label's is asked for": (
        lambda z, y, num_items=None: costs(z, z.argmax(-1)).sum() / divisor(y, num_items)
    ),
    "the softmax runs over the whole batch; each pair has its own": (
        lambda z, y, num_items=None: (
            -np.log(p_of_batch(z)[np.arange(len(z)), y]).sum() / divisor(y, num_items)
        )
    ),
    "the logits are taken for probabilities": (
        lambda z, y, num_items=None: (
            -np.log(np.abs(z[np.arange(len(z)), y])).sum() / divisor(y, num_items)
        )
    ),
    "the logits are taken for ln p: the softmax is missing": (
        lambda z, y, num_items=None: -z[np.arange(len(z)), y].sum() / divisor(y, num_items)
    ),
}


@points(1, "next_sentence_loss: the example")
def test_next_sentence_loss_example(submission):
    """Two pairs, with probabilities of 1/4 and 1/2 for what is true."""
    check_example(submission.next_sentence_loss)


@points(2, "next_sentence_loss: value")
def test_next_sentence_loss_value(submission):
    """The mean of -ln p[label]; the sum over num_items where that is given."""
    check_value(
        submission.next_sentence_loss,
        loss_cases() + shared_cases(),
        mistakes=LOSS_MISTAKES,
    )


@points(1, "next_sentence_loss: large logits")
def test_next_sentence_loss_edges(submission):
    """Logits of ±10,000 cost 0 or their difference, not NaN or infinity."""

    def naive(z, labels, num_items=None):
        p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        return -np.log(p[np.arange(len(z)), labels]).sum() / divisor(labels, num_items)

    def from_p(z, labels, num_items=None):
        return -np.log(p_of(z)[np.arange(len(z)), labels]).sum() / divisor(labels, num_items)

    def one_maximum(z, labels, num_items=None):
        p = np.exp(z - z.max())
        p /= p.sum(-1, keepdims=True)
        return -np.log(p[np.arange(len(z)), labels]).sum() / divisor(labels, num_items)

    check_value(
        submission.next_sentence_loss,
        [
            case(normal(3, 2) - 2000, answers(3), label="both logits are far from 0"),
            case(normal(4, 2, scale=1e4), answers(4)),
            case(np.array([[1e4, -1e4], [-1e4, 1e4]]), np.array([0, 0])),
        ],
        mistakes={
            "the batch's largest logit is subtracted from all; each pair has its own": one_maximum,
            "e^z is 0 below -746, infinite above 709: subtract each pair's larger logit": naive,
            "p is 0 where the label is far behind, and ln 0 infinite: take ln p from the logits": (
                from_p
            ),
            **LOSS_MISTAKES,
        },
    )


@points(2, "next_sentence_loss: gradient")
def test_next_sentence_loss_vjp(submission):
    """(p - y) / B for each row, y one-hot at the label, times g."""

    def with_gradient(change):
        return lambda z, y, g, num_items=None: (
            g * change(p_of(z), np.eye(2)[y], divisor(y, num_items)),
        )

    check_vjp(
        submission.next_sentence_loss,
        loss_cases() + shared_cases(),
        axes={"logits": "pair class"},
        mistakes={
            "this is p alone; 1 must be subtracted at the label": with_gradient(
                lambda p, y, n: p / n
            ),
            "the gradient is not divided by the number of pairs": with_gradient(
                lambda p, y, n: p - y
            ),
            "only the label's logit has a gradient; raising the other one costs, too": (
                with_gradient(lambda p, y, n: (p - y) * y / n)
            ),
            "only the other class's logit has a gradient; the label's has the opposite one": (
                with_gradient(lambda p, y, n: (p - y) * (1 - y) / n)
            ),
            "the classes are exchanged: 1 is subtracted at the label": with_gradient(
                lambda p, y, n: (p - (1 - y)) / n
            ),
            "this is p - y with p = 1/2 for all: the softmax is missing": with_gradient(
                lambda p, y, n: (0.5 - y) / n
            ),
            "this is the slope of p itself; the loss is -ln p": with_gradient(
                lambda p, y, n: (p - y) * (p * y).sum(-1, keepdims=True) / n
            ),
            "1 is subtracted in all rows, once a pair: index rows and labels in pairs": (
                lambda z, y, g, num_items=None: (
                    g * (p_of(z) - np.isin([0, 1], y)) / divisor(y, num_items),
                )
            ),
            "the softmax runs over the whole batch; each pair has its own": (
                lambda z, y, g, num_items=None: (
                    g * (p_of_batch(z) - np.eye(2)[y]) / divisor(y, num_items),
                )
            ),
            "the gradient is divided by 2 B, the number of logits": with_gradient(
                lambda p, y, n: (p - y) / (2 * n)
            ),
            "on the way back, num_items is not used": (
                lambda z, y, g, num_items=None: (g * (p_of(z) - np.eye(2)[y]) / len(y),)
            ),
        },
    )


@points(1, "next_sentence_loss: fit for the model")
def test_next_sentence_loss_manners(submission):
    """float32 in, float32 out; logits and labels are not changed; views work."""
    check_manners(submission.next_sentence_loss, loss_cases() + shared_cases())


# ---------------------------------------------------------------------------------------------
# cut_lengths, for honor
# ---------------------------------------------------------------------------------------------


def step_by_step(first, second, room, leftover="longer"):
    """The rule as a loop; leftover: who keeps the last token of an odd room."""
    room = max(room, 0)
    while first + second > room:
        if first == second:
            half = room // 2
            return half, room - half
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return first, second


def fair(first, second, room):
    """As step by step, and the token that is left over goes to the one that was longer."""
    a, b = step_by_step(first, second, room)
    return (b, a) if first > second and a < b and a + b < first + second else (a, b)


def share_of_room(first, second, room):
    total = max(1, first + second)
    kept = min(first, max(room, 0) * first // total)
    return kept, min(second, max(room, 0) - kept)


def cut_mistakes(first, second, room):
    room_ = max(room, 0)
    half = room_ // 2
    a, b = fair(first, second, room)
    return {
        "the token that is left over goes to the other sentence": (
            (b, a) if a + b == room_ and abs(a - b) == 1 else None
        ),
        "each sentence gets half of the room, though the other leaves some of its half": (
            (min(first, half), min(second, half)) if min(first, second) < half else None
        ),
        "a sentence gets more than it has: what it leaves of its half is the other's": (
            (half, room_ - half) if min(first, second) < half else None
        ),
        "a sentence gets more than it has; what it leaves of its half is the other's": (
            (room_ - half, half) if min(first, second) < half else None
        ),
        "a room below 0 is as good as none: nobody gets anything": (
            (room // 2, room - room // 2) if room < 0 else None
        ),
        "the first sentence alone is cut": (min(first, max(room_ - second, 0)), second),
        "the second sentence alone is cut": (first, min(second, max(room_ - first, 0))),
        "the first sentence gets all that it wants, and the second the rest": (
            min(first, room_),
            min(second, room_ - min(first, room_)),
        ),
        "the sentences are cut in proportion to their lengths; the longer one loses first": (
            share_of_room(first, second, room)
        ),
        "nothing is cut": (first, second),
        "the two numbers are in each other's place": (b, a),
        "the token that is left over is lost: nobody gets it": (min(a, b), min(a, b)),
    }


@points(0, "cut_lengths: the example")
def test_cut_lengths_example(submission):
    """A long and a short one, two long ones, and two that fit."""
    check_example(submission.cut_lengths)


@points(0, "cut_lengths: value")
def test_cut_lengths_value(submission):
    """The longer one loses first, then both; odd rooms, equal lengths, nothing to cut, no room."""
    short, long = rng().integers(3, 7, 2).tolist(), rng().integers(20, 40, 2).tolist()
    drawn = [[long[0], short[0], 19], [short[1], long[1], 20]]
    drawn += [rng().integers(0, 40, 3).tolist() for _ in range(12)]
    drawn += [[n, n, 2 * n - 3] for n in rng().integers(5, 30, 3).tolist()]
    drawn += [[n + 3, n, n + 4] for n in rng().integers(5, 30, 2).tolist()]
    drawn += [[n, n + 3, n + 4 + n % 2] for n in rng().integers(5, 30, 2).tolist()]
    drawn += [[0, 7, 5], [7, 0, 5], [4, 6, 0], [4, 6, -2]]
    for first, second, room in drawn:
        check_equal(
            submission.cut_lengths(first, second, room),
            fair(first, second, room),
            "cut_lengths",
            case=f"first = {first}, second = {second}, room = {room}",
            mistakes=cut_mistakes(first, second, room),
        )
