"""A figure beside its peer's and its limit, and the table they make."""

from statistics import median


def row(subject, name, unit, ours, peer=None, limit=None, **more):
    """One measured thing, smaller being better, as a dict that goes to JSON.

    ours, peer, limit: lists with a figure for each round, or None where there is none.
    `speedup` is peer ÷ ours and `over_limit` ours ÷ limit, each the median over the rounds of the
    quotient within a round: what slows the whole machine for a while slows both, and cancels.
    """
    return {
        "subject": subject,
        "name": name,
        "unit": unit,
        "ours": spread(ours),
        "peer": spread(peer),
        "limit": spread(limit),
        "speedup": peer and median(p / o for p, o in zip(peer, ours)),
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
    lines = [("", "tinyqwen", "transformers", "limit", "faster by", "over limit", "")]
    lines += [
        (
            f"{r['subject']}: {r['name']}",
            *(_cell(r[side], r["unit"]) for side in ("ours", "peer", "limit")),
            f"{r['speedup']:.2f} x" if r["speedup"] else "",
            f"{r['over_limit']:.2f} x" if r["over_limit"] else "",
            r.get("note", ""),
        )
        for r in rows
    ]
    used = [i for i in range(len(lines[0])) if any(line[i] for line in lines[1:])]
    widths = {i: max(len(line[i]) for line in lines) for i in used}
    return "\n".join(
        "  ".join(
            line[i].ljust(widths[i]) if i in (0, used[-1]) else line[i].rjust(widths[i])
            for i in used
        ).rstrip()
        for line in lines
    )


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
        intercept, slope, r2 = line(xs, ys)
        sentences.append(f"{what} takes {intercept:.3g} + {slope:.3g} · {axis} ms (R² {r2:.4f})")
    return sentences
