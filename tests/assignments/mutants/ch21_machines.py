"""Plausible wrong solutions of chapter 21."""

import math
from itertools import pairwise

import numpy as np

from tinyqwen import optim
from tinyqwen.course import mutant, reference

chunk_bounds = reference("chunk_bounds")
split_rows = reference("split_rows")
reduce_scatter_step = reference("reduce_scatter_step")
all_gather_step = reference("all_gather_step")
sharded_adamw_step = reference("sharded_adamw_step")
step_seconds = reference("step_seconds")
zero_memory = reference("zero_memory")


def value_mutant(of, named):
    return mutant(of=of, killed_by=f"test_{of}_value", named=named)


# ---------------------------------------------------------------------------------------------
# split_rows
# ---------------------------------------------------------------------------------------------


def splitting(named):
    return value_mutant("split_rows", named)


def cut(batch, bounds):
    return [{name: x[a:b] for name, x in batch.items()} for a, b in pairwise(bounds)]


def count_rows(batch):
    return min(map(len, batch.values()))


@splitting("dealt out in turns")
def split_in_turns(batch, parts):
    parts = min(parts, count_rows(batch))
    return [{name: x[i::parts] for name, x in batch.items()} for i in range(parts)]


@splitting("are dropped")
def split_drops_the_rest(batch, parts):
    size = count_rows(batch) // parts
    return cut(batch, range(0, size * parts + 1, max(size, 1)))


@splitting("gets the whole rest")
def split_rest_to_the_last(batch, parts):
    rows = count_rows(batch)
    parts = min(parts, rows)
    return cut(batch, [*range(0, rows // parts * parts, rows // parts), rows])


@splitting("but the last is rounded up")
def split_rounds_up(batch, parts):
    rows = count_rows(batch)
    size = math.ceil(rows / parts)
    return cut(batch, [*range(0, rows, size), rows])


@splitting("some parts are empty")
def split_into_empty_parts(batch, parts):
    return cut(batch, chunk_bounds(count_rows(batch), parts))


@splitting("the longer parts come last")
def split_longer_last(batch, parts):
    rows = count_rows(batch)
    parts = min(parts, rows)
    return cut(batch, [rows - b for b in chunk_bounds(rows, parts)[::-1]])


@splitting("second axis")
def split_columns(batch, parts):
    columns = [np.array_split(x, parts, axis=-1) for x in batch.values()]
    return [dict(zip(batch, arrays)) for arrays in zip(*columns)]


@splitting("reverse order")
def split_backwards(batch, parts):
    return split_rows(batch, parts)[::-1]


@splitting("only the first array is cut")
def split_the_first_array_alone(batch, parts):
    return [{**batch, "input_ids": part["input_ids"]} for part in split_rows(batch, parts)]


@splitting("a part has the batch's names")
def split_loses_the_names(batch, parts):
    return [list(part.values()) for part in split_rows(batch, parts)]


# ---------------------------------------------------------------------------------------------
# chunk_bounds
# ---------------------------------------------------------------------------------------------


def bounding(named):
    return value_mutant("chunk_bounds", named)


@bounding("the last chunk gets the whole rest")
def bounds_rest_to_the_last(length, size):
    return [length // size * i for i in range(size)] + [length]


@bounding("the rest is lost")
def bounds_lose_the_rest(length, size):
    return [length // size * i for i in range(size + 1)]


@bounding("but the last is rounded up")
def bounds_rounded_up(length, size):
    step = math.ceil(length / size)
    return [min(step * i, length) for i in range(size + 1)]


@bounding("the longer chunks come last")
def bounds_longer_last(length, size):
    return [length // size * i + max(0, i - size + length % size) for i in range(size + 1)]


@bounding("longer chunks stand among the others")
def bounds_in_proportion(length, size):
    return [length * i // size for i in range(size + 1)]


@bounding("mixed by rounding")
def bounds_by_linspace(length, size):
    return np.linspace(0, length, size + 1).round().astype(int).tolist()


@bounding("the last position is missing")
def bounds_without_the_end(length, size):
    return chunk_bounds(length, size)[:-1]


@bounding("the first position, 0, is missing")
def bounds_without_the_beginning(length, size):
    return np.cumsum([length // size + (i < length % size) for i in range(size)]).tolist()


@bounding("sizes of the chunks")
def bounds_are_sizes(length, size):
    return [length // size + (i < length % size) for i in range(size)]


@bounding("pairs of (start, stop)")
def bounds_as_pairs(length, size):
    return list(pairwise(chunk_bounds(length, size)))


@bounding("the positions are floats")
def bounds_as_floats(length, size):
    return [float(b) for b in chunk_bounds(length, size)]


# ---------------------------------------------------------------------------------------------
# reduce_scatter_step
# ---------------------------------------------------------------------------------------------


def reducing(named):
    return value_mutant("reduce_scatter_step", named)


@reducing("the two are exchanged")
def reduce_exchanged(rank, size, step):
    return reduce_scatter_step(rank, size, step)[::-1]


@reducing("begins with its own chunk")
def reduce_begins_with_its_own(rank, size, step):
    return (rank - step) % size, (rank - step - 1) % size


@reducing("go up with the step")
def reduce_the_other_way(rank, size, step):
    return (rank + step + 1) % size, (rank + step + 2) % size


@reducing("a chunk below 0")
def reduce_without_modulo(rank, size, step):
    return rank - step - 1, rank - step - 2


@reducing("a chunk below 0")
def reduce_with_the_remainder_of_c(rank, size, step):
    return int(math.fmod(rank - step - 1, size)), int(math.fmod(rank - step - 2, size))


@reducing("counted from 0")
def reduce_counts_from_one(rank, size, step):
    return reduce_scatter_step(rank, size, step + 1)


@reducing("another chunk than it sends")
def reduce_receives_what_it_sends(rank, size, step):
    return (reduce_scatter_step(rank, size, step)[0],) * 2


@reducing("the step is not used")
def reduce_without_step(rank, size, step):
    return reduce_scatter_step(rank, size, 0)


@reducing("not after it")
def reduce_receives_the_one_after(rank, size, step):
    sent = (rank - step - 1) % size
    return sent, (sent + 1) % size


@reducing("these are ranks")
def reduce_gives_ranks(rank, size, step):
    return (rank + 1) % size, (rank - 1) % size


@reducing("a return statement is missing")
def reduce_returns_nothing(rank, size, step):
    reduce_scatter_step(rank, size, step)


# ---------------------------------------------------------------------------------------------
# all_gather_step
# ---------------------------------------------------------------------------------------------


def gathering(named):
    return value_mutant("all_gather_step", named)


@gathering("the two are exchanged")
def gather_exchanged(rank, size, step):
    return all_gather_step(rank, size, step)[::-1]


@gathering("has its own chunk at first")
def gather_as_reduce(rank, size, step):
    return reduce_scatter_step(rank, size, step)


@gathering("numbers go up with the step")
def gather_the_other_way(rank, size, step):
    return (rank + step) % size, (rank + step + 1) % size


@gathering("a chunk below 0")
def gather_without_modulo(rank, size, step):
    return rank - step, rank - step - 1


@gathering("a chunk below 0")
def gather_with_the_remainder_of_c(rank, size, step):
    return int(math.fmod(rank - step, size)), int(math.fmod(rank - step - 1, size))


@gathering("one step before")
def gather_a_step_late(rank, size, step):
    return all_gather_step(rank, size, step - 1)


@gathering("another chunk than it sends")
def gather_receives_what_it_sends(rank, size, step):
    return ((rank - step) % size,) * 2


@gathering("the step is not used")
def gather_sends_its_own_for_ever(rank, size, step):
    return rank, (rank - 1) % size


@gathering("not after it")
def gather_receives_the_one_after(rank, size, step):
    return (rank - step) % size, (rank - step + 1) % size


@gathering("is sent in every step")
def gather_sends_its_own_in_every_step(rank, size, step):
    return rank, (rank - step - 1) % size


@gathering("these are ranks")
def gather_gives_ranks(rank, size, step):
    return (rank + 1) % size, (rank - 1) % size


# ---------------------------------------------------------------------------------------------
# sharded_adamw_step
# ---------------------------------------------------------------------------------------------


def sharding(named):
    return value_mutant("sharded_adamw_step", named)


def own_chunk(parameter, rank, size):
    bounds = chunk_bounds(len(parameter), size)
    return slice(bounds[rank], bounds[rank + 1])


@sharding("the chunk of this rank alone")
def shard_returns_all_weights(parameter, gradient, m, v, step, rank, size, **settings):
    own, new = own_chunk(parameter, rank, size), parameter.copy()
    new[own], m, v = optim.adamw_step(parameter[own], gradient[own], m, v, step, **settings)
    return new, m, v


@sharding("divided by the number of ranks")
def shard_averages(parameter, gradient, m, v, step, rank, size, **settings):
    return sharded_adamw_step(parameter, gradient / size, m, v, step, rank, size, **settings)


@sharding("the gradient's first numbers")
def shard_takes_the_first_gradients(parameter, gradient, m, v, step, rank, size, **settings):
    own = own_chunk(parameter, rank, size)
    return optim.adamw_step(parameter[own], gradient[: len(m)], m, v, step, **settings)


@sharding("n // size long")
def shard_cut_by_division(parameter, gradient, m, v, step, rank, size, **settings):
    first = len(parameter) // size * rank
    own = slice(first, first + len(m))
    return optim.adamw_step(parameter[own], gradient[own], m, v, step, **settings)


@sharding("m and v are cut already")
def shard_cuts_the_moments_too(parameter, gradient, m, v, step, rank, size, **settings):
    own = own_chunk(parameter, rank, size)
    return optim.adamw_step(parameter[own], gradient[own], m[own], v[own], step, **settings)


@sharding("settings are not handed on")
def shard_without_settings(parameter, gradient, m, v, step, rank, size, **settings):
    return sharded_adamw_step(parameter, gradient, m, v, step, rank, size)


@sharding("lr alone is handed on")
def shard_with_the_rate_alone(parameter, gradient, m, v, step, rank, size, lr=1e-3, **settings):
    return sharded_adamw_step(parameter, gradient, m, v, step, rank, size, lr=lr)


@sharding("step is one too many")
def shard_counts_once_more(parameter, gradient, m, v, step, rank, size, **settings):
    return sharded_adamw_step(parameter, gradient, m, v, step + 1, rank, size, **settings)


@sharding("always taken for the first")
def shard_corrects_as_if_first(parameter, gradient, m, v, step, rank, size, **settings):
    return sharded_adamw_step(parameter, gradient, m, v, 1, rank, size, **settings)


@sharding("the old moments are not used")
def shard_forgets_the_moments(parameter, gradient, m, v, step, rank, size, **settings):
    m, v = np.zeros_like(m), np.zeros_like(v)
    return sharded_adamw_step(parameter, gradient, m, v, step, rank, size, **settings)


@sharding("the old moments come back")
def shard_returns_the_old_moments(parameter, gradient, m, v, step, rank, size, **settings):
    return sharded_adamw_step(parameter, gradient, m, v, step, rank, size, **settings)[0], m, v


@sharding("m and v are exchanged")
def shard_exchanges_the_moments(parameter, gradient, m, v, step, rank, size, **settings):
    return sharded_adamw_step(parameter, gradient, v, m, step, rank, size, **settings)


@mutant(
    of="sharded_adamw_step",
    killed_by="test_sharded_adamw_step_together",
    named="what sharded_adamw_step changed in place",
)
def shard_writes_into_the_weights(parameter, gradient, m, v, step, rank, size, **settings):
    own = own_chunk(parameter, rank, size)
    parameter[own], m, v = sharded_adamw_step(
        parameter, gradient, m, v, step, rank, size, **settings
    )
    return parameter[own].copy(), m, v


# ---------------------------------------------------------------------------------------------
# step_seconds
# ---------------------------------------------------------------------------------------------


def timing(named):
    return value_mutant("step_seconds", named)


def named_seconds(arithmetic, communication):
    return {"arithmetic": arithmetic, "communication": communication}


@timing("arithmetic is not shared out")
def seconds_of_all_the_arithmetic(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    parts = step_seconds(flops, nbytes, ranks, speed, bandwidth, latency, overlap)
    return parts | {"arithmetic": flops / speed}


@timing("multiplied by the speed")
def seconds_multiplied(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    parts = step_seconds(flops, nbytes, ranks, speed, bandwidth, latency, overlap)
    return parts | {"arithmetic": flops / ranks * speed}


@timing("one way around the ring")
def seconds_one_way(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    compute = flops / ranks / speed
    travel = (ranks - 1) * (nbytes / ranks / bandwidth + latency)
    return named_seconds(compute, max(0.0, travel - overlap * compute))


@timing("N messages each way")
def seconds_with_a_message_too_many(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    compute = flops / ranks / speed
    travel = 2 * ranks * (nbytes / ranks / bandwidth + latency)
    return named_seconds(compute, max(0.0, travel - overlap * compute))


@timing("counted as the whole array")
def seconds_of_whole_arrays(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    compute = flops / ranks / speed
    travel = 2 * (ranks - 1) * (nbytes / bandwidth + latency)
    return named_seconds(compute, max(0.0, travel - overlap * compute))


@timing("the latency is counted once")
def seconds_with_one_latency(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    compute = flops / ranks / speed
    travel = 2 * (ranks - 1) * nbytes / ranks / bandwidth + latency
    return named_seconds(compute, max(0.0, travel - overlap * compute))


@timing("the latency is missing")
def seconds_without_latency(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    return step_seconds(flops, nbytes, ranks, speed, bandwidth, 0.0, overlap)


@timing("taken off the arithmetic")
def seconds_of_less_arithmetic(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    parts = step_seconds(flops, nbytes, ranks, speed, bandwidth, latency)
    return parts | {"arithmetic": (1 - overlap) * parts["arithmetic"]}


@timing("the overlap is not used")
def seconds_without_overlap(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    return step_seconds(flops, nbytes, ranks, speed, bandwidth, latency)


@timing("a share of the arithmetic, not of the communication")
def seconds_overlap_of_communication(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    parts = step_seconds(flops, nbytes, ranks, speed, bandwidth, latency)
    return parts | {"communication": (1 - overlap) * parts["communication"]}


@timing("never below 0")
def seconds_below_zero(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    compute = flops / ranks / speed
    travel = 2 * (ranks - 1) * (nbytes / ranks / bandwidth + latency)
    return named_seconds(compute, travel - overlap * compute)


@timing("a rank has 1/N of it")
def seconds_hidden_under_all(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    travel = 2 * (ranks - 1) * (nbytes / ranks / bandwidth + latency)
    return named_seconds(flops / ranks / speed, max(0.0, travel - overlap * flops / speed))


@timing("counted in bits")
def seconds_of_bits(flops, nbytes, ranks, speed, bandwidth, latency, overlap=0.0):
    return step_seconds(flops, 8 * nbytes, ranks, speed, bandwidth, latency, overlap)


# ---------------------------------------------------------------------------------------------
# zero_memory
# ---------------------------------------------------------------------------------------------


def remembering(named):
    return value_mutant("zero_memory", named)


def shared(parameters, ranks, shares, sizes):
    held = [parameters * size / (ranks if share else 1) for size, share in zip(sizes, shares)]
    return dict(zip(("weights", "gradients", "optimizer"), held))


@remembering("the stages go the other way")
def memory_weights_first(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (stage >= 1, stage >= 2, stage >= 3), sizes)


@remembering("a stage shares out one thing alone")
def memory_one_thing_a_stage(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (stage == 3, stage == 2, stage == 1), sizes)


@remembering("the stages are one too many")
def memory_a_stage_ahead(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (stage >= 2, stage >= 1, True), sizes)


@remembering("nothing is shared out")
def memory_never_shared(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (False, False, False), sizes)


@remembering("at every stage")
def memory_always_shared(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (True, True, True), sizes)


@remembering("everything is shared out from stage 1 on")
def memory_all_at_once(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (stage > 0, stage > 0, stage > 0), sizes)


@remembering("gradients and optimizer are exchanged")
def memory_gradients_first(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (stage >= 3, stage >= 1, stage >= 2), sizes)


@remembering("weights are never shared out")
def memory_weights_stay(
    parameters, ranks, stage, weight_bytes=2, gradient_bytes=2, optimizer_bytes=12
):
    sizes = weight_bytes, gradient_bytes, optimizer_bytes
    return shared(parameters, ranks, (False, stage >= 2, stage >= 1), sizes)


@remembering("sizes that were given are not used")
def memory_of_its_own_sizes(parameters, ranks, stage, **sizes):
    return zero_memory(parameters, ranks, stage)


@remembering("and not with //")
def memory_of_whole_bytes(parameters, ranks, stage, **sizes):
    held = zero_memory(parameters, ranks, stage, **sizes)
    return {name: int(bytes_held) for name, bytes_held in held.items()}


@remembering("what all ranks hold together")
def memory_of_all_ranks(parameters, ranks, stage, **sizes):
    return {name: ranks * n for name, n in zero_memory(parameters, ranks, stage, **sizes).items()}


# ---------------------------------------------------------------------------------------------
# pipeline_bubble
# ---------------------------------------------------------------------------------------------


def bubbling(named):
    return value_mutant("pipeline_bubble", named)


@bubbling("by all turns, it is a share")
def bubble_over_work(stages, micro_batches):
    return (stages - 1) / micro_batches


@bubbling("waits p - 1 turns")
def bubble_of_all_stages(stages, micro_batches):
    return stages / (micro_batches + stages)


@bubbling("the share of work")
def bubble_is_work(stages, micro_batches):
    return micro_batches / (micro_batches + stages - 1)


@bubbling("exchanged")
def bubble_exchanged(stages, micro_batches):
    return (micro_batches - 1) / (stages + micro_batches - 1)


@bubbling("all turns are m + p - 1")
def bubble_with_a_turn_too_many(stages, micro_batches):
    return (stages - 1) / (micro_batches + stages)


@bubbling("both are worked in, too")
def bubble_counted_on_both_ways(stages, micro_batches):
    waits = 2 * (stages - 1)
    return waits / (micro_batches + waits)


@bubbling("not one stage's share")
def bubble_of_all_together(stages, micro_batches):
    return stages * (stages - 1) / (micro_batches + stages - 1)


@bubbling("micro-batches follow one another")
def bubble_without_micro_batches(stages, micro_batches):
    return (stages - 1) / stages
