"""What README promises of a quiet machine, row by row, and which rows fall short of it here."""

# (row, against whom, how many times faster at least), and (row, how many times its limit at most)
FASTER = (
    ("step at xs", "transformers", 1.15),
    ("step at s", "transformers", 1.15),
    ("step at m", "transformers", 1.15),
    ("128 tokens after 8 at s", "transformers", 4.0),
    ("a decoded token at 0.5b", "transformers", 1.3),
    ("prefill of 256 tokens at 0.5b", "transformers", 1.0),
    ("0.5b from bfloat16", "transformers", 1.0),
)
OVER_LIMIT = (
    ("step at s", 1.5),
    ("step at m", 1.5),
    ("a decoded token at 0.5b", 1.3),
    ("peak memory of it", 1.05),
)


def fallen_short(rows):
    """A sentence for each promise that the rows break; a row that was not measured breaks none."""
    found = {r["name"]: r for r in rows}
    sentences = []
    for name, peer, least in FASTER:
        speedup = found.get(name, {"speedups": {}})["speedups"].get(peer)
        if speedup is not None and speedup < least:
            sentences.append(
                f"short of README's promise: {name} is {speedup:.2f} times as fast as {peer}, "
                f"{least:g} are promised"
            )
    for name, most in OVER_LIMIT:
        over = found.get(name, {"over_limit": None})["over_limit"]
        if over is not None and over > most:
            sentences.append(
                f"short of README's promise: {name} takes {over:.2f} times its limit, "
                f"{most:g} at most are promised"
            )
    return sentences
