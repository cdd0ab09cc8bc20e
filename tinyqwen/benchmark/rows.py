"""A figure beside its peer's and its limit, and the table they make."""

from statistics import median


def row(subject, name, unit, times, **more):
    """One measured thing, smaller being better, as a dict that goes to JSON.

    times: {side: a figure for each round}; the sides are "ours", "limit", and peers by their names.
    `speedups` are peer ÷ ours and `over_limit` is ours ÷ limit, each the median over the rounds of
    the quotient within a round: what slows the whole machine for a while slows both, and cancels.
    """
    ours, limit = times["ours"], times.get("limit")
    peers = {side: rounds for side, rounds in times.items() if side not in ("ours", "limit")}
    return {
        "subject": subject,
        "name": name,
        "unit": unit,
        "ours": spread(ours),
        "peers": {peer: spread(rounds) for peer, rounds in peers.items()},
        "limit": spread(limit),
        "speedups": {
            peer: median(p / o for p, o in zip(rounds, ours)) for peer, rounds in peers.items()
        },
        "over_limit": limit and median(o / l for o, l in zip(ours, limit)),
        **more,
    }


def spread(rounds):
    """Median, least, most and all figures of a list; None of an empty one."""
    if not rounds:
        return None
    return {"median": median(rounds), "min": min(rounds), "max": max(rounds), "rounds": rounds}


def table(rows):
    """The rows as text, aligned: median and [least-most] of the rounds, then the quotients."""
    peers = list(dict.fromkeys(peer for r in rows for peer in r["peers"]))
    lines = [("", "tinyqwen", *peers, "limit", *("faster by" for _ in peers), "over limit", "")]
    lines += [
        (
            f"{r['subject']}: {r['name']}",
            *(_cell(side, r["unit"]) for side in (r["ours"], *map(r["peers"].get, peers))),
            _cell(r["limit"], r["unit"]),
            *(_times(r["speedups"].get(peer)) for peer in peers),
            _times(r["over_limit"]),
            r.get("note", ""),
        )
        for r in rows
    ]
    used = [i for i in range(len(lines[0])) if any(line[i] for line in lines[1:])]
    widths = {i: max(len(line[i]) for line in lines) for i in used}
    return "\n".join(
        "  ".join(
            line[i].ljust(widths[i]) if i in (0, len(line) - 1) else line[i].rjust(widths[i])
            for i in used
        ).rstrip()
        for line in lines
    )


def _times(quotient):
    return f"{quotient:.2f} x" if quotient else ""


def _cell(spread, unit):
    if spread is None:
        return ""
    if spread["min"] == spread["max"]:
        return f"{_number(spread['median'])} {unit}"
    least, most = _number(spread["min"]), _number(spread["max"])
    return f"{_number(spread['median'])} {unit} [{least}-{most}]"


def _number(x):
    """Three digits, but never an exponent."""
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def line(xs, ys):
    """Least squares y ≈ intercept + slope · x, and R², the share of y's variance it explains."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys))
    slope /= sum((x - mean_x) ** 2 for x in xs)
    intercept = mean_y - slope * mean_x
    left = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys))
    return intercept, slope, 1 - left / sum((y - mean_y) ** 2 for y in ys)


def curves(rows):
    """{axis: (xs, milliseconds of a step, of these in attention)} of the scaling rows."""
    found = {}
    for r in rows:
        if r["subject"] == "scaling":
            curve = found.setdefault(r["axis"], ([], [], []))
            for values, value in zip(
                curve, (r["x"], r["ours"]["median"], r["attention"]["median"])
            ):
                values.append(value)
    return found


def fits(rows):
    """What the scaling rows say, in sentences.

    The sequence lengths were measured at one number of tokens, so what is linear there is
    quadratic in the length of one sequence.
    """
    sentences = []
    for axis, (xs, steps, attention) in curves(rows).items():
        what, ys = "a step", steps
        if axis == "seq":
            what, ys = "attention", attention
            rest = [step - a for step, a in zip(steps, attention)]
            sentences.append(
                f"without attention a step takes {min(rest):.3g} to {max(rest):.3g} ms, "
                f"whether sequences have {xs[0]} tokens or {xs[-1]}"
            )
        power = 2 if axis == "hidden_size" else 1
        intercept, slope, r2 = line([x**power for x in xs], ys)
        x = axis if power == 1 else f"{axis}²"
        sentences.append(f"{what} takes {intercept:.3g} + {slope:.3g} · {x} ms (R² {r2:.4f})")
    return sentences
