"""Finds the patterns of masked lines with Drain, and gives each an identity that lasts.

Drain (https://doi.org/10.1109/ICWS.2017.13; package drain3) makes a template of lines that differ in some words. Its
templates depend on the order in which it sees lines, and on what it saw before. So that the same lines give the same
patterns on every machine and in every week

- different lines are mined once each, in sorted order, whatever the order and number in which they were logged;
- the patterns of earlier weeks are there before the first line is mined. A line that one of them matches is that
  pattern, and a pattern that grows a wild card stays the pattern that it was.

An identity is a hash of service, level and template as these were first seen.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.analysis.log_tally import LineCount, LineKey
from tasks.log_models import Known, PatternWeek

#: Lines are one pattern where at least so many of their words are the same.
SIMILAR = 0.7
WILD = "<*>"
#: So many patterns that differ in one word alone are one pattern: the word is a name.
NAMES = 8
_ID_LENGTH = 12


def identity(service: str, level: str, template: str) -> str:
    """The name of a pattern for good."""
    return hashlib.sha256("\n".join((service, level, template)).encode(errors="replace")).hexdigest()[:_ID_LENGTH]


def patterns(lines: Mapping[LineKey, LineCount], known: Sequence[Known] = ()) -> tuple[PatternWeek, ...]:
    """The patterns of a week's lines, sorted by identity."""
    merged: dict[str, LineCount] = {}
    names: dict[str, tuple[LineKey, str]] = {}
    for key, (name, template) in assign(lines, known).items():
        if name in merged:
            merged[name].merge(lines[key])
        else:
            merged[name] = LineCount(lines[key].first)
            merged[name].last = lines[key].last
            merged[name].merge(lines[key])
        names[name] = (key, template)
    return tuple(_pattern(name, *names[name], merged[name]) for name in sorted(merged))


def folded(keys: Iterable[tuple[LineKey, int]]) -> dict[LineKey, LineKey]:
    """What each line is called once the lines of a pattern are one line: by the pattern's template."""
    lines = dict(keys)
    return {key: key._replace(text=template) for key, (_, template) in assign(lines, ()).items()}


def assign(lines: Iterable[LineKey], known: Sequence[Known]) -> dict[LineKey, tuple[str, str]]:
    """For each line, its pattern's identity and template."""
    groups: dict[tuple[str, str], list[LineKey]] = defaultdict(list)
    found: dict[LineKey, tuple[str, str]] = {}
    for key in lines:
        if key.kind == "line":
            groups[key.service, key.level].append(key)
        else:  # a trace's template has no words that vary
            found[key] = (identity(key.service, key.level, key.text), key.text)
    for (service, level), keys in sorted(groups.items()):
        before = [one for one in known if (one.service, one.level, one.kind) == (service, level, "line")]
        found |= _Group(service, level, before).assign(sorted(keys, key=lambda key: key.text))
    return found


class _Group:
    """The lines of one service and level."""

    def __init__(self, service: str, level: str, known: Iterable[Known]) -> None:
        from drain3.drain import Drain

        self._service, self._level = service, level
        self._drain: Any = Drain(sim_th=SIMILAR, param_str=WILD, parametrize_numeric_tokens=False)
        self._names: dict[int, str] = {}
        for pattern in sorted(known, key=lambda one: one.id):
            self._names[self._add(pattern.template.split()).cluster_id] = pattern.id

    def assign(self, keys: Sequence[LineKey]) -> dict[LineKey, tuple[str, str]]:
        clusters = {key: self._cluster(key.text) for key in keys}
        templates = self._without_names()
        return {key: templates[cluster.cluster_id] for key, cluster in clusters.items()}

    def _cluster(self, text: str) -> Any:
        """The cluster of a line: one that matches it as it is, else the most similar one, else one of its own."""
        exact = self._drain.tree_search(self._drain.root_node, text.split(), 1.0, True)
        return exact or self._drain.add_log_message(text)[0]

    def _add(self, tokens: Sequence[str]) -> Any:
        from drain3.drain import LogCluster

        self._drain.clusters_counter += 1
        cluster = LogCluster(tokens, self._drain.clusters_counter)
        self._drain.id_to_cluster[cluster.cluster_id] = cluster
        self._drain.add_seq_to_prefix_tree(self._drain.root_node, cluster)
        return cluster

    def _without_names(self) -> dict[int, tuple[str, str]]:
        """Identity and template of each cluster, once words that are names have become wild cards."""
        templates = {cluster.cluster_id: tuple(cluster.log_template_tokens) for cluster in self._drain.clusters}
        fresh = {number: tokens for number, tokens in templates.items() if number not in self._names}
        templates |= generalised(fresh)
        return {number: self._named(number, " ".join(tokens)) for number, tokens in templates.items()}

    def _named(self, number: int, template: str) -> tuple[str, str]:
        return self._names.get(number) or identity(self._service, self._level, template), template


def generalised(templates: Mapping[int, tuple[str, ...]]) -> dict[int, tuple[str, ...]]:
    """The templates, where many that differ in one word alone have a wild card there."""
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, tokens in templates.items():
        for place, token in enumerate(tokens):
            if token != WILD and len(tokens) > 1:
                places[(*tokens[:place], WILD, *tokens[place + 1 :])].append(number)
    made = dict(templates)
    for blank, numbers in sorted(places.items(), key=lambda item: (-len(item[1]), item[0])):
        left = [number for number in numbers if made[number] == templates[number]]
        if len({templates[number] for number in left}) >= NAMES:
            made |= dict.fromkeys(left, blank)
    return made


def _pattern(name: str, key: LineKey, template: str, line: LineCount) -> PatternWeek:
    return PatternWeek(
        id=name, service=key.service, level=key.level, kind="stack" if key.kind == "stack" else "line",
        template=template, count=line.count, size=line.size, first=line.first, last=line.last,
        hourly=dict(sorted(line.hourly.items())),
    )  # fmt: skip
