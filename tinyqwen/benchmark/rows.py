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
