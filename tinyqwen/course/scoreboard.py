"""What stands at the end of a grading run: a line for each chapter.

Tests worth no points belong to the chapter's stretch function: they are not counted, and earn it a
star when all of them pass.
"""

from tinyqwen.course.registry import chapters


def by_chapter(results) -> dict:
    """{chapter's key: its results}, in order."""
    grouped = {}
    for result in results:
        grouped.setdefault(result.chapter, []).append(result)
    return dict(sorted(grouped.items()))


def total(results) -> tuple[int, int]:
    """Points earned and possible."""
    return sum(r.earned for r in results), sum(r.possible for r in results)


def count(results, *statuses) -> int:
    """How many tests have one of these statuses."""
    return sum(r.status in statuses for r in results)


def scoreboard(results) -> list[tuple[str, str]]:
    """Lines of text, each with its color: "green", "yellow", "red" or "" (none)."""
    grouped = by_chapter(results)
    titles = {key: f"{key[2:]} {chapters()[key].title}" for key in grouped}
    width = max([len(title) for title in titles.values()] + [20])
    lines = [(f"{'chapter':<{width}}    points               to do  failed  stretch", "")]
    for key, group in grouped.items():
        lines.append(_line(titles[key], group, width, "★" * _starred(group)))
    if len(grouped) > 1:
        stars = sum(map(_starred, grouped.values()))
        lines.append(_line("all", results, width, f"{stars} ★" if stars else ""))
    return lines


def _starred(group):
    """True if a chapter's tests for honor have all passed."""
    honor = [r for r in group if not r.possible]
    return bool(honor) and count(honor, "passed") == len(honor)


def _line(title, group, width, stars):
    group = [r for r in group if r.possible]
    earned, possible = total(group)
    filled = round(10 * earned / possible) if possible else 0
    if earned and not filled:
        filled = 1
    if earned < possible and filled == 10:
        filled = 9
    bar = "█" * filled + "░" * (10 - filled)
    to_do, failed = count(group, "todo", "waiting"), count(group, "failed", "error")
    color = "red" if failed else "green" if earned == possible else "yellow" if earned else ""
    line = f"{title:<{width}}   {f'{earned}/{possible}':>7}  {bar}   {to_do or '':>5}  "
    return f"{line}{failed or '':>6}  {stars:>7}".rstrip(), color
