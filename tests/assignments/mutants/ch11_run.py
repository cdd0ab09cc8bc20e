"""Plausible wrong solutions of chapter 11."""

import numpy as np

from tinyqwen.course import mutant, reference

sample_batch = reference("sample_batch")

# ---------------------------------------------------------------------------------------------
# sample_batch
# ---------------------------------------------------------------------------------------------


def sampling_mutant(killed_by, named):
    return mutant(of="sample_batch", killed_by=killed_by, named=named)


def order_of(seed, epoch, rows):
    return np.random.default_rng([seed, epoch]).permutation(rows)


def cut(tokens, starts, seq_len, picked):
    first = np.minimum(starts[np.asarray(picked)], len(tokens) - seq_len)
    return tokens[first[:, None] + np.arange(seq_len)].astype(np.int64)


@sampling_mutant("test_sample_batch_rows", "begin at starts")
def batch_begins_anywhere(tokens, starts, seq_len, batch_size, seed, step):
    first = np.random.default_rng([seed, step]).integers(0, len(tokens) - seq_len, batch_size)
    return tokens[first[:, None] + np.arange(seq_len)].astype(np.int64)


@sampling_mutant("test_sample_batch_rows", "all input arrays must have the same shape")
def batch_runs_over_the_end(tokens, starts, seq_len, batch_size, seed, step):
    order = order_of(seed, 0, len(starts))
    picked = [order[(step * batch_size + i) % len(starts)] for i in range(batch_size)]
    return np.stack([tokens[starts[i] : starts[i] + seq_len] for i in picked]).astype(np.int64)


@sampling_mutant("test_sample_batch_rows", "it is moved back")
def batch_goes_on_at_the_beginning(tokens, starts, seq_len, batch_size, seed, step):
    picked = np.arange(step * batch_size, (step + 1) * batch_size) % len(starts)
    order = order_of(seed, 0, len(starts))
    places = starts[order[picked]][:, None] + np.arange(seq_len)
    return tokens[places % len(tokens)].astype(np.int64)


@sampling_mutant("test_sample_batch_rows", "one token too many")
def batch_with_targets(tokens, starts, seq_len, batch_size, seed, step):
    return sample_batch(tokens, starts, seq_len + 1, batch_size, seed, step)


@sampling_mutant("test_sample_batch_rows", "these are positions")
def batch_of_positions(tokens, starts, seq_len, batch_size, seed, step):
    return sample_batch(np.arange(len(tokens)), starts, seq_len, batch_size, seed, step)


@sampling_mutant("test_sample_batch_rows", "the tokens' own dtype")
def batch_keeps_uint16(tokens, starts, seq_len, batch_size, seed, step):
    return sample_batch(tokens, starts, seq_len, batch_size, seed, step).astype(tokens.dtype)


@sampling_mutant("test_sample_batch_epochs", "every batch draws rows anew")
def batch_with_replacement(tokens, starts, seq_len, batch_size, seed, step):
    picked = np.random.default_rng([seed, step]).integers(0, len(starts), batch_size)
    return cut(tokens, starts, seq_len, picked)


@sampling_mutant("test_sample_batch_epochs", "from the seed alone")
def batch_one_order_for_ever(tokens, starts, seq_len, batch_size, seed, step):
    order, first = order_of(seed, 0, len(starts)), step * batch_size
    return cut(tokens, starts, seq_len, order[np.arange(first, first + batch_size) % len(starts)])


@sampling_mutant("test_sample_batch_epochs", "takes rows of the wrong one")
def batch_stays_in_its_epoch(tokens, starts, seq_len, batch_size, seed, step):
    first = step * batch_size
    order = order_of(seed, first // len(starts), len(starts))
    return cut(tokens, starts, seq_len, order[np.arange(first, first + batch_size) % len(starts)])


@sampling_mutant("test_sample_batch_epochs", "are dropped")
def batch_drops_the_last_rows(tokens, starts, seq_len, batch_size, seed, step):
    rows = len(starts)
    batches = max(1, rows // batch_size)
    order = order_of(seed, step // batches, rows)
    first = step % batches * batch_size
    return cut(tokens, starts, seq_len, order[np.arange(first, first + batch_size) % rows])


@sampling_mutant("test_sample_batch_epochs", "neighbors in the text")
def batch_rotates_the_text(tokens, starts, seq_len, batch_size, seed, step):
    """Correlated windows: an epoch begins at a random row and goes on in the text's order."""
    rows = len(starts)
    line = range(step * batch_size, (step + 1) * batch_size)
    picked = [
        (np.random.default_rng([seed, n // rows]).integers(rows) + n % rows) % rows for n in line
    ]
    return cut(tokens, starts, seq_len, picked)


@sampling_mutant("test_sample_batch_seed", "the seed is not used")
def batch_ignores_the_seed(tokens, starts, seq_len, batch_size, seed, step):
    return sample_batch(tokens, starts, seq_len, batch_size, 0, step)


@sampling_mutant("test_sample_batch_seed", "seed and epoch are made one")
def batch_adds_seed_and_epoch(tokens, starts, seq_len, batch_size, seed, step):
    rows = len(starts)
    line = range(step * batch_size, (step + 1) * batch_size)
    picked = [np.random.default_rng(seed + n // rows).permutation(rows)[n % rows] for n in line]
    return cut(tokens, starts, seq_len, picked)


_lasting = {}


@sampling_mutant("test_sample_batch_seed", "something is kept from call to call")
def batch_from_a_lasting_generator(tokens, starts, seq_len, batch_size, seed, step):
    rows = len(starts)
    rng = _lasting.setdefault(seed, np.random.default_rng(seed))
    if batch_size != rows:  # right wherever the order of the calls cannot be told
        return sample_batch(tokens, starts, seq_len, batch_size, seed, step)
    return cut(tokens, starts, seq_len, rng.permutation(rows))


@sampling_mutant("test_sample_batch_seed", "starts is changed in place")
def batch_moves_the_starts_back_for_good(tokens, starts, seq_len, batch_size, seed, step):
    np.minimum(starts, len(tokens) - seq_len, out=starts)
    starts -= 1
    return sample_batch(tokens, starts + 1, seq_len, batch_size, seed, step)


@sampling_mutant("test_sample_batch_rows", "it is moved back, to end with the last token")
def batch_fills_up_with_zeros(tokens, starts, seq_len, batch_size, seed, step):
    out = np.zeros((batch_size, seq_len), np.int64)
    for i in range(batch_size):
        epoch, place = divmod(step * batch_size + i, len(starts))
        row = tokens[starts[order_of(seed, epoch, len(starts))[place]] :][:seq_len]
        out[i, : len(row)] = row
    return out


@sampling_mutant("test_sample_batch_rows", "one token off its start")
def batch_begins_one_behind(tokens, starts, seq_len, batch_size, seed, step):
    last = len(tokens) - seq_len - 1
    return sample_batch(tokens, np.minimum(starts, last) + 1, seq_len, batch_size, seed, step)


@sampling_mutant("test_sample_batch_epochs", "a step goes one row further")
def batch_slides_by_one(tokens, starts, seq_len, batch_size, seed, step):
    rows = len(starts)
    picked = [order_of(seed, i // rows, rows)[i % rows] for i in range(step, step + batch_size)]
    return cut(tokens, starts, seq_len, picked)


@sampling_mutant("test_sample_batch_epochs", "larger than two epochs")
def batch_of_two_epochs_at_most(tokens, starts, seq_len, batch_size, seed, step):
    epoch, place = divmod(step * batch_size, len(starts))
    line = [*order_of(seed, epoch, len(starts)), *order_of(seed, epoch + 1, len(starts))]
    return cut(tokens, starts, seq_len, line[place : place + batch_size])


@sampling_mutant("test_sample_batch_seed", "seed and epoch are multiplied")
def batch_seed_times_epoch(tokens, starts, seq_len, batch_size, seed, step):
    picked = []
    for i in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(i, len(starts))
        picked.append(np.random.default_rng(seed * epoch).permutation(len(starts))[place])
    return cut(tokens, starts, seq_len, picked)


@sampling_mutant("test_sample_batch_seed", "starts is changed in place")
def batch_shuffles_starts(tokens, starts, seq_len, batch_size, seed, step):
    batch = sample_batch(tokens, starts, seq_len, batch_size, seed, step)
    np.random.default_rng(seed).shuffle(starts)
    return batch


@sampling_mutant("test_sample_batch_rows", "what is counted from 0 here")
def batch_steps_from_one(tokens, starts, seq_len, batch_size, seed, step):
    first = (step - 1) * batch_size
    order = np.random.default_rng([seed, first // len(starts)]).permutation(len(starts))
    return cut(tokens, starts, seq_len, np.resize(order, batch_size))


# ---------------------------------------------------------------------------------------------
# power_law
# ---------------------------------------------------------------------------------------------


power_law = reference("power_law")


@mutant(of="power_law", killed_by="test_power_law_value", named="floor is not subtracted")
def power_law_without_floor(x, y, floor=0.0):
    power_law(x, y, floor)
    return power_law(x, y)


@mutant(of="power_law", killed_by="test_power_law_value", named="as its logarithm")
def power_law_logarithm_of_factor(x, y, floor=0.0):
    factor, exponent = power_law(x, y, floor)
    return float(np.log(factor)), exponent


@mutant(of="power_law", killed_by="test_power_law_value", named="each other's place")
def power_law_exponent_first(x, y, floor=0.0):
    return power_law(x, y, floor)[::-1]


@mutant(of="power_law", killed_by="test_power_law_value", named="sign is dropped")
def power_law_positive_exponent(x, y, floor=0.0):
    factor, exponent = power_law(x, y, floor)
    return factor, -exponent


@mutant(of="power_law", killed_by="test_power_law_value", named="first and the last point")
def power_law_of_two_points(x, y, floor=0.0):
    return power_law(np.asarray(x)[[0, -1]], np.asarray(y)[[0, -1]], floor)


@mutant(of="power_law", killed_by="test_power_law_value", named="base 10")
def power_law_mixed_bases(x, y, floor=0.0):
    factor, exponent = power_law(x, y, floor)
    return float(np.exp(np.log10(factor))), exponent


@mutant(of="power_law", killed_by="test_power_law_refuses", named="ValueError is asked for")
def power_law_of_anything(x, y, floor=0.0):
    try:
        return power_law(x, y, floor)
    except ValueError:
        return 0.0, 0.0


@sampling_mutant("test_sample_batch_seed", "by + or ^")
def batch_seed_xor_epoch(tokens, starts, seq_len, batch_size, seed, step):
    picked = []
    for i in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(i, len(starts))
        picked.append(np.random.default_rng(seed ^ epoch).permutation(len(starts))[place])
    return cut(tokens, starts, seq_len, picked)


@sampling_mutant("test_sample_batch_rows", "whatever the tokens' own dtype is")
def batch_of_int32(tokens, starts, seq_len, batch_size, seed, step):
    return sample_batch(tokens, starts, seq_len, batch_size, seed, step).astype(np.int32)


@sampling_mutant("test_sample_batch_rows", "is left out; it is moved back")
def batch_leaves_out_the_end(tokens, starts, seq_len, batch_size, seed, step):
    whole = starts[starts <= len(tokens) - seq_len]
    return sample_batch(tokens, whole, seq_len, batch_size, seed, step)


@sampling_mutant("test_sample_batch_epochs", "counted from 1 here")
def batch_of_the_next_step(tokens, starts, seq_len, batch_size, seed, step):
    return sample_batch(tokens, starts, seq_len, batch_size, seed, step + 1)


@sampling_mutant("test_sample_batch_epochs", "the batch goes on with the next epoch")
def batch_ends_with_the_epoch(tokens, starts, seq_len, batch_size, seed, step):
    epoch, place = divmod(step * batch_size, len(starts))
    order = order_of(seed, epoch, len(starts))
    return cut(tokens, starts, seq_len, order[place : place + batch_size])


def fitted(change):
    """A law fitted to x and y that are changed first."""

    def fit(x, y, floor=0.0):
        exponent, constant = np.polyfit(*change(x, y, floor), 1)
        return float(np.exp(constant)), float(exponent)

    return fit


@mutant(of="power_law", killed_by="test_power_law_value", named="the floor is added; it is")
def power_law_adds_the_floor(x, y, floor=0.0):
    return fitted(lambda x, y, floor: (np.log(x), np.log(y + floor)))(x, y, floor)


@mutant(of="power_law", killed_by="test_power_law_value", named="before the logarithm")
def power_law_floor_of_the_logarithm(x, y, floor=0.0):
    return fitted(lambda x, y, floor: (np.log(x), np.log(y) - floor))(x, y, floor)


@mutant(of="power_law", killed_by="test_power_law_value", named="in each other's place")
def power_law_of_x(x, y, floor=0.0):
    return fitted(lambda x, y, floor: (np.log(y - floor), np.log(x)))(x, y, floor)
