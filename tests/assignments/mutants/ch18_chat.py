"""Wrong solutions of chapter 18, each named after its mistake."""

import numpy as np

from tinyqwen.course import mutant, reference

answer_parts, chat_labels = reference("answer_parts"), reference("chat_labels")
packed_mask, lora = reference("packed_mask"), reference("lora")
merge, low_rank = reference("merge"), reference("low_rank")


# ---------------------------------------------------------------------------------------------
# answer_parts
# ---------------------------------------------------------------------------------------------


def parts_mutant(killed_by, named):
    return mutant(of="answer_parts", killed_by=f"test_answer_parts_{killed_by}", named=named)


@parts_mutant("value", "taken for a part of it")
def parts_with_line_ends(prompts, wholes):
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        parts += [(prompt[len(done) :], False), (whole[len(prompt) :], True)]
        done = whole
    return parts


@parts_mutant("value", "never learn to stop")
def parts_without_the_end(prompts, wholes):
    end, made = "<|im_end|>", []
    for text, answer in answer_parts(prompts, wholes):
        if answer:
            made.append((text.removesuffix(end), True))
        else:
            made.append((end + text if made and made[-1][1] else text, False))
    return made


@parts_mutant("value", "it is given to the model")
def parts_with_the_opening(prompts, wholes):
    opening = "<|im_start|>assistant\n"
    made = []
    for text, answer in answer_parts(prompts, wholes):
        made.append((opening + text, True) if answer else (text.removesuffix(opening), False))
    return made


@parts_mutant("value", "are stripped")
def parts_stripped(prompts, wholes):
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        answer = whole[len(prompt) :].rstrip()
        parts += [(prompt[len(done) :], False), (answer, True)]
        done = prompt + answer
    return [*parts, (wholes[-1][len(done) :], False)] if wholes else []


@parts_mutant("several", "from its beginning again")
def parts_said_twice(prompts, wholes):
    parts = []
    for prompt, whole in zip(prompts, wholes):
        parts += [(prompt, False), (whole[len(prompt) :].rstrip("\n"), True)]
    return [*parts, ("\n", False)] if parts else []


@parts_mutant("several", "a line end is lost")
def parts_with_a_gap(prompts, wholes):
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        parts += [(prompt[len(done) :], False), (whole[len(prompt) :].rstrip("\n"), True)]
        done = whole
    ends = wholes and wholes[-1].endswith("\n")
    return [part for part in parts if part[0]] + ([("\n", False)] if ends else [])


@parts_mutant("several", "only the last answer counts")
def parts_of_the_last_answer(prompts, wholes):
    parts = answer_parts(prompts, wholes)
    last = max((i for i, (_, answer) in enumerate(parts) if answer), default=None)
    return [(text, i == last) for i, (text, _) in enumerate(parts)]


@parts_mutant("value", "True and False are exchanged")
def parts_inverted(prompts, wholes):
    return [(text, not answer) for text, answer in answer_parts(prompts, wholes)]


@parts_mutant("value", "behind the last answer is missing")
def parts_end_with_the_answer(prompts, wholes):
    return answer_parts(prompts, wholes)[:-1]


@parts_mutant("several", "they belong together")
def parts_in_too_many_pieces(prompts, wholes):
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        answer = whole[len(prompt) :].rstrip("\n")
        parts += [
            (prompt[len(done) :], False),
            (answer, True),
            (whole[len(prompt + answer) :], False),
        ]
        done = whole
    return [part for part in parts if part[0]]


@parts_mutant("several", "was said before")
def parts_found_by_search(prompts, wholes):
    parts, done = [], 0
    for text, answer in answer_parts(prompts, wholes):
        if answer:
            start = wholes[-1].index(text.removesuffix("<|im_end|>"))
            parts += [(wholes[-1][done:start], False), (text, True)]
            done = start + len(text)
    return [*parts, (wholes[-1][done:], False)] if wholes else []


@parts_mutant("several", "empty parts are kept")
def parts_that_are_empty(prompts, wholes):
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        answer = whole[len(prompt) :].rstrip("\n")
        parts += [(prompt[len(done) :], False), (answer, True)]
        done = prompt + answer
    return [*parts, (wholes[-1][len(done) :], False)] if wholes else []


@parts_mutant("refuses", "a whole must begin with its prompt")
def parts_of_any_text(prompts, wholes):
    parts, done = [], ""
    for prompt, whole in zip(prompts, wholes):
        answer = whole[len(prompt) :].rstrip("\n")
        parts += [(prompt[len(done) :], False), (answer, True)]
        done = prompt + answer
    return [*parts, (wholes[-1][len(done) :], False)]


@parts_mutant("refuses", "the prompt and the answer before")
def parts_of_changed_turns(prompts, wholes):
    for prompt, whole in zip(prompts, wholes):
        if not whole.startswith(prompt):
            raise ValueError("not from its prompt")
    return parts_of_any_text(prompts, wholes)


# ---------------------------------------------------------------------------------------------
# chat_labels
# ---------------------------------------------------------------------------------------------


def labels_mutant(killed_by, named):
    return mutant(of="chat_labels", killed_by=f"test_chat_labels_{killed_by}", named=named)


@labels_mutant("value", "shifted by one already")
def labels_not_at_their_places(parts, ignore_index=-100):
    ids, labels = chat_labels(parts, ignore_index)
    return ids, np.append(labels[1:], ignore_index)[: len(ids)]


@labels_mutant("value", "a label is the id after its own")
def labels_rolled_in_their_places(parts, ignore_index=-100):
    ids, labels = chat_labels(parts, ignore_index)
    return ids, np.where(labels == ignore_index, ignore_index, np.roll(ids, -1))


@labels_mutant("value", "stands once for each part")
def labels_with_one_mark_a_part(parts, ignore_index=-100):
    labels = [i for ids, answer in parts for i in (ids if answer else [ignore_index])]
    return chat_labels(parts)[0], np.array(labels, np.int64)


@labels_mutant("value", "a label is the id itself")
def labels_are_marks(parts, ignore_index=-100):
    ids, labels = chat_labels(parts, ignore_index)
    return ids, (labels != ignore_index).astype(np.int64)


@labels_mutant("value", "the other way round")
def labels_of_questions(parts, ignore_index=-100):
    return chat_labels([(ids, not answer) for ids, answer in parts], ignore_index)


@labels_mutant("value", "only those of answers count")
def labels_of_everything(parts, ignore_index=-100):
    ids, _ = chat_labels(parts)
    return ids, ids.copy()


@labels_mutant("value", "0 is a token like any other")
def labels_of_zero(parts, ignore_index=-100):
    return chat_labels(parts, 0)


@labels_mutant("value", "which ends it, has no label")
def labels_without_the_end(parts, ignore_index=-100):
    labels = []
    for ids, answer in parts:
        labels += [*ids[:-1], ignore_index] if answer else [ignore_index] * len(ids)
    return chat_labels(parts)[0], np.array(labels, np.int64)


@labels_mutant("value", "the first token of an answer has no label")
def labels_without_the_first(parts, ignore_index=-100):
    labels = []
    for ids, answer in parts:
        labels += [ignore_index, *ids[1:]] if answer else [ignore_index] * len(ids)
    return chat_labels(parts)[0], np.array(labels, np.int64)


@labels_mutant("value", "only the last answer has labels")
def labels_of_the_last_answer(parts, ignore_index=-100):
    last = max((i for i, (_, answer) in enumerate(parts) if answer), default=None)
    return chat_labels([(ids, i == last) for i, (ids, _) in enumerate(parts)], ignore_index)


@labels_mutant("value", "ids are replaced as well")
def labels_for_ids(parts, ignore_index=-100):
    labels = chat_labels(parts, ignore_index)[1]
    return labels, labels


@labels_mutant("manners", "ignore_index is not used")
def labels_with_a_fixed_number(parts, ignore_index=-100):
    return chat_labels(parts)


@labels_mutant("manners", "begin with []")
def labels_written_into_the_parts(parts, ignore_index=-100):
    out = chat_labels(parts, ignore_index)
    if parts:
        ids = parts[0][0]
        for more, _ in parts[1:]:
            ids += more
    return out


@labels_mutant("manners", "an array of no numbers is float64")
def labels_float64_where_empty(parts, ignore_index=-100):
    ids, labels = chat_labels(parts, ignore_index)
    return np.array(ids.tolist()), np.array(labels.tolist())


@labels_mutant("value", "not an array")
def labels_as_lists(parts, ignore_index=-100):
    ids, labels = chat_labels(parts, ignore_index)
    return ids.tolist(), labels.tolist()


# ---------------------------------------------------------------------------------------------
# packed_mask
# ---------------------------------------------------------------------------------------------


def mask_mutant(killed_by, named):
    return mutant(of="packed_mask", killed_by=f"test_packed_mask_{killed_by}", named=named)


@mask_mutant("value", "it is inverted")
def mask_inverted(owner):
    return ~packed_mask(owner)


@mask_mutant("value", "the axis of heads is missing")
def mask_without_heads(owner):
    return owner[:, :, None] == owner[:, None, :]


@mask_mutant("value", "the model does that")
def mask_causal(owner):
    return packed_mask(owner) & np.tri(owner.shape[1], dtype=bool)


@mask_mutant("value", "not kept apart")
def mask_of_padding(owner):
    real = (owner >= 0)[:, None, None, :]
    return np.broadcast_to(real, packed_mask(owner).shape)


@mask_mutant("rows", "one mask for all rows")
def mask_of_the_first_row(owner):
    return np.broadcast_to(packed_mask(owner[:1]), packed_mask(owner).shape)


@mask_mutant("rows", "compared with each other")
def mask_by_broadcasting(owner):
    return owner[:, None, :, None] == owner[:, None]


@mask_mutant("value", "True and False were asked for")
def mask_to_be_added(owner):
    return np.where(packed_mask(owner), 0.0, -np.inf)


@mask_mutant("value", "a smaller number is seen, too")
def mask_of_smaller_owners(owner):
    return (owner[:, None] <= owner[:, :, None])[:, None]


@mask_mutant("value", "a larger number is seen, too")
def mask_of_larger_owners(owner):
    return (owner[:, None] >= owner[:, :, None])[:, None]


@mask_mutant("value", "the heads come second")
def mask_with_heads_third(owner):
    return packed_mask(owner).swapaxes(1, 2)


@mask_mutant("value", "does not see itself")
def mask_without_the_diagonal(owner):
    return packed_mask(owner) & ~np.eye(owner.shape[1], dtype=bool)


@mask_mutant("value", "by the rule it sees itself")
def mask_with_blind_filling(owner):
    return packed_mask(owner) & (owner >= 0)[:, None, :, None]


@mask_mutant("rows", "a mask of numbers is added")
def mask_of_integers(owner):
    return packed_mask(owner).astype(np.int64)


@mask_mutant("keeps_apart", "depends on its neighbors in the row")
def mask_joins_the_first_two(owner):
    changes = np.diff(owner, axis=1, prepend=owner[:, :1]) != 0
    return packed_mask(np.where(changes.cumsum(1) == 1, owner[:, :1], owner))


# ---------------------------------------------------------------------------------------------
# lora
# ---------------------------------------------------------------------------------------------


def lora_mutant(killed_by, named):
    return mutant(of="lora", killed_by=f"test_lora_{killed_by}", named=named)


@lora_mutant("value", "the scaling is missing")
def lora_unscaled(x, A, B, scaling=1.0):
    return lora(x, A, B)[0], lora(x, A, B, scaling)[1]


@lora_mutant("value", "twice, for A and for B")
def lora_scaled_twice(x, A, B, scaling=1.0):
    return lora(x, A, B, scaling**2)


@lora_mutant("value", "divided by the rank once more")
def lora_divides_by_the_rank(x, A, B, scaling=1.0):
    return lora(x, A, B, scaling / len(A))


@lora_mutant("value", "x is added")
def lora_residual(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return (out + x if out.shape == x.shape else out), vjp


@lora_mutant("value", "both are linear")
def lora_with_relu(x, A, B, scaling=1.0):
    out = scaling * np.maximum(x @ A.T, 0) @ B.T
    return out.astype(x.dtype), lora(x, A, B, scaling)[1]


@lora_mutant("value", "must one of them be transposed?")
def lora_untransposed(x, A, B, scaling=1.0):
    return scaling * (x @ A @ B), lora(x, A, B, scaling)[1]


@lora_mutant("value", "neither matrix is transposed")
def lora_untransposed_where_it_fits(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return (scaling * (x @ A @ B) if A.shape == B.shape == A.T.shape else out), vjp


@lora_mutant("vjp", "missing on the way back")
def lora_vjp_unscaled(x, A, B, scaling=1.0):
    return lora(x, A, B, scaling)[0], lora(x, A, B)[1]


@lora_mutant("vjp", "missing on the way back")
def lora_vjp_scales_x_and_A_alone(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return out, lambda g: (*vjp(g)[:2], lora(x, A, B)[1](g)[2])


@lora_mutant("vjp", "twice on the way back")
def lora_vjp_scaled_twice(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return out, lambda g: (vjp(g)[0], scaling * vjp(g)[1], vjp(g)[2])


@lora_mutant("vjp", "all rows of the batch count")
def lora_vjp_of_the_last_text(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)

    def last(g):
        dx, dA, dB = vjp(g)
        if x.ndim == 3 and x.size:
            dB = scaling * g[-1].T @ (x[-1] @ A.T)
        return dx, dA, dB

    return out, last


@lora_mutant("vjp", ".T turns all axes")
def lora_vjp_of_three_axes(x, A, B, scaling=1.0):
    h, s = x @ A.T, x.dtype.type(scaling)
    return s * (h @ B.T), lambda g: (s * (g @ B @ A), s * (g @ B).T @ x, s * g.T @ h)


@lora_mutant("vjp", "where the sum belongs")
def lora_vjp_means(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    rows = max(x.size // x.shape[-1], 1)
    return out, lambda g: (vjp(g)[0], vjp(g)[1] / rows, vjp(g)[2] / rows)


@lora_mutant("vjp", "it has the weight's shape")
def lora_vjp_transposed(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return out, lambda g: (vjp(g)[0], vjp(g)[1].T, vjp(g)[2].T)


@lora_mutant("vjp", "what is below learns by its gradient")
def lora_vjp_without_x(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return out, lambda g: (None, *vjp(g)[1:])


@lora_mutant("vjp", "in the order of the arguments")
def lora_vjp_of_A_and_B_exchanged(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return out, lambda g: (vjp(g)[0], vjp(g)[2], vjp(g)[1])


@lora_mutant("vjp", "2 of 3 gradients")
def lora_vjp_of_the_weights_alone(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B, scaling)
    return out, lambda g: vjp(g)[1:]


@lora_mutant("manners", "g is changed in place")
def lora_vjp_scales_g_in_place(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B)

    def scaled(g):
        g *= scaling
        return vjp(g)

    return out * x.dtype.type(scaling), scaled


@lora_mutant("manners", "float64 comes out")
def lora_of_a_float64_scaling(x, A, B, scaling=1.0):
    out, vjp = lora(x, A, B)
    return np.float64(scaling) * out, lambda g: vjp(g * g.dtype.type(scaling))


# ---------------------------------------------------------------------------------------------
# merge
# ---------------------------------------------------------------------------------------------


def merge_mutant(killed_by, named):
    return mutant(of="merge", killed_by=f"test_merge_{killed_by}", named=named)


@merge_mutant("value", "the scaling is missing")
def merge_unscaled(weight, A, B, scaling=1.0):
    return weight + B @ A


@merge_mutant("value", "the update alone is")
def merge_scales_the_weight(weight, A, B, scaling=1.0):
    return scaling * (weight + B @ A)


@merge_mutant("value", "the update is not")
def merge_scales_the_wrong_one(weight, A, B, scaling=1.0):
    return scaling * weight + B @ A


@merge_mutant("value", "subtracted")
def merge_subtracts(weight, A, B, scaling=1.0):
    return weight - scaling * (B @ A)


@merge_mutant("value", "so of the weight's shape")
def merge_of_transposes(weight, A, B, scaling=1.0):
    return weight + scaling * (A.T @ B.T)


@merge_mutant("value", "the weight is missing")
def merge_of_the_update_alone(weight, A, B, scaling=1.0):
    return scaling * (B @ A)


@merge_mutant("value", "the update is transposed")
def merge_transposed_where_it_fits(weight, A, B, scaling=1.0):
    update = scaling * (B @ A)
    return weight + (update.T if weight.shape[0] == weight.shape[1] else update)


@merge_mutant("value", "it is A B; the update is B A")
def merge_in_the_other_order(weight, A, B, scaling=1.0):
    if A.shape == B.shape == weight.shape:
        return weight + scaling * (A @ B)
    return merge(weight, A, B, scaling)


@merge_mutant("value", "divided by the rank")
def merge_divides_by_the_rank(weight, A, B, scaling=1.0):
    return weight + scaling / len(A) * (B @ A)


@merge_mutant("manners", "weight is changed in place")
def merge_in_place(weight, A, B, scaling=1.0):
    weight += scaling * (B @ A)
    return weight.copy()


@merge_mutant("manners", "float64 comes out")
def merge_by_einsum_in_float64(weight, A, B, scaling=1.0):
    return weight + scaling * np.einsum("ir,rj->ij", B, A, dtype=np.float64)


# ---------------------------------------------------------------------------------------------
# low_rank
# ---------------------------------------------------------------------------------------------


def rank_mutant(killed_by, named):
    return mutant(of="low_rank", killed_by=f"test_low_rank_{killed_by}", named=named)


def factors(matrix, r, keep=slice(None), power=(0.5, 0.5)):
    if not 1 <= r <= min(matrix.shape):
        raise ValueError("no such rank")
    U, s, V = np.linalg.svd(matrix, full_matrices=False)
    picked = np.arange(len(s))[keep][:r]
    s = s[picked]
    return s[:, None] ** power[0] * V[picked], U[:, picked] * s ** power[1]


@rank_mutant("value", "the smallest singular values")
def rank_of_the_smallest(matrix, r):
    return factors(matrix, r, slice(None, None, -1))


@rank_mutant("value", "a square root belongs in each")
def rank_with_values_twice(matrix, r):
    return factors(matrix, r, power=(1, 1))


@rank_mutant("value", "are left out")
def rank_without_values(matrix, r):
    return factors(matrix, r, power=(0, 0))


@rank_mutant("value", "each takes a square root")
def rank_with_values_in_B(matrix, r):
    return factors(matrix, r, power=(0, 1))


@rank_mutant("value", "each takes a square root")
def rank_with_values_in_A(matrix, r):
    return factors(matrix, r, power=(1, 0))


@rank_mutant("value", "shape")
def rank_factors_exchanged(matrix, r):
    return factors(matrix, r)[::-1]


@rank_mutant("value", "the Vᵀ that svd returns")
def rank_of_columns_of_V(matrix, r):
    _, s, V = np.linalg.svd(matrix, full_matrices=False)
    return s[:r, None] ** 0.5 * V[:, :r].T, factors(matrix, r)[1]


@rank_mutant("value", "shape")
def rank_of_everything(matrix, r):
    factors(matrix, r)
    return factors(matrix, min(matrix.shape))


@rank_mutant("refuses", "compare r with the shape")
def rank_that_does_not_exist(matrix, r):
    return factors(matrix, min(max(r, 1), *matrix.shape))
