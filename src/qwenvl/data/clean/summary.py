"""What a cleaning run did, as lines for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from qwenvl.data.clean.judge import FAILED
from qwenvl.data.clean.statistics import READING, Statistics

_REASONS = 3


def summary_lines(found: Statistics, rules: Sequence[str]) -> list[str]:
    """Pairs by source, then by rule in the order in which the rules ran, and the sum that must be right."""
    width = max([len(READING), *map(len, rules), *map(len, found.sources)])
    lines = [f"{'source':{width}}  {'read':>13}  {'kept':>13}  {'share':>6}  {'changed':>13}"]
    for name, counts in sorted(found.sources.items()):
        lines.append(
            f"{name:{width}}  {counts.read:13,}  {counts.kept:13,}  {_share(counts.kept, counts.read):>6}  "
            f"{counts.changed:13,}"
        )
    lines += ["", f"{'rule':{width}}  {'dropped':>13}  {'of read':>13}  {'':6}  {'changed':>13}  most often"]
    for rule in (READING, *rules):
        dropped, changed, reasons = _of_rule(found, rule)
        if rule == READING and not dropped:
            continue
        most = ", ".join(f"{why} {count:,}" for why, count in reasons[:_REASONS])
        share = _share(dropped, found.read)
        lines.append(f"{rule:{width}}  {dropped:13,}  {share:>13}  {'':6}  {changed:13,}  {most}".rstrip())
    lines += ["", f"{found.kept:,} kept + {found.dropped:,} dropped = {found.read:,} read"]
    return lines + _warnings(found, rules)


def _of_rule(found: Statistics, rule: str) -> tuple[int, int, list[tuple[str, int]]]:
    """Pairs dropped, captions changed, and the reasons, the most frequent first."""
    reasons: dict[str, int] = {}
    changed = 0
    for counts in found.sources.values():
        changed += counts.changed_by.get(rule, 0)
        for why, count in counts.dropped.get(rule, {}).items():
            reasons[why] = reasons.get(why, 0) + count
    return sum(reasons.values()), changed, sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def _warnings(found: Statistics, rules: Sequence[str]) -> list[str]:
    """What looks like cleaning and is none."""
    lines = []
    for rule in rules:
        failed = dict(_of_rule(found, rule)[2]).get(FAILED, 0)
        if failed:
            lines.append(
                f"warning: the rule {rule} failed on {failed:,} pairs, which were dropped; see `value` in dropped/"
            )
    return lines


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
