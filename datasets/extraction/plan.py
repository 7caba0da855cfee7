"""The plans of a store: what it will contain, written before extraction, so that jobs can resume and stores can grow.

Each time recordings are added to a store, the shards of the new ones are written to a plan of their own,
``_shards/plan-NNNN-HASH.json``, which never changes. A planned shard without a report is still to do. Two stores are
merged by combining their plans, reports and parts. The hash is that of the plan: two extractions that start at the same
time write two plans, and none is lost.

Recordings that are retried, because they changed or could not be used, get new shards; the plan lists the shards that
these replace.
"""

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from datasets.extraction.shard import WORK, PlannedShard, Shard, plan
from datasets.extraction.shard_report import ShardReport, read_contents
from datasets.files import url_to_fs
from datasets.sequences import Recording
from datasets.store.json_form import STRICT, from_json, to_json
from datasets.store.manifest import StoreError
from datasets.store.parquet import write_whole

_SHOWN = 3
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Shards that are added to a store together."""

    command: str
    """The command that was run."""
    licence: str | None
    """The licence that the user stated for sources without one."""
    licensed: tuple[str, ...] = ()
    """Names of the sources that this licence is for."""
    shards: tuple[Shard, ...]
    replaces: tuple[str, ...] = ()
    """Ids of the shards of earlier plans that this plan replaces."""


@dataclass(frozen=True, kw_only=True)
class _PlanFile:
    """A plan in JSON."""

    __pydantic_config__ = STRICT

    command: str
    licence: str | None
    licensed: tuple[str, ...]
    shards: tuple[PlannedShard, ...]
    replaces: tuple[str, ...]


def extend(
    store: str,
    recordings: Iterable[Recording],
    *,
    fps: float,
    command: str,
    licence: str | None = None,
    retry: bool = False,
) -> list[Plan]:
    """Return the plans of a store, with one more for the recordings that are not in it yet.

    With ``retry``, shards with quarantined or changed recordings are planned again if all of their recordings are
    given.

    Raises:
        StoreError: Recordings changed since they were extracted, the frame rates differ, or ``store`` is not a store.
    """
    plans = read_plans(store)
    if other := {shard.fps for each in plans for shard in each.shards} - {fps}:
        raise StoreError(f"{store}: expected sequences at {fps} Hz, found {other.pop()} Hz. Pass another --store.")
    given = {recording.path: recording for recording in recordings}
    again = {shard.id: shard for shard in _to_try_again(store, plans, given)} if retry else {}
    shards = [shard for each in plans for shard in each.shards if shard.id not in again]
    known = {recording.path: recording for shard in shards for recording in shard.recordings}
    changed = [each for path, each in given.items() if each != known.get(path, each)]
    if changed:
        some = "; ".join(_difference(known[each.path], each) for each in changed[:_SHOWN])
        raise StoreError(
            f"{store}: expected its recordings to be unchanged, found {len(changed)} changed: {some}. "
            "Extract them again with --retry, or pass another --store."
        )
    attempt = max((shard.attempt + 1 for shard in again.values()), default=0)
    new = plan((each for path, each in given.items() if path not in known), fps=fps, attempt=attempt)
    licensed = sorted({each.source.name for each in given.values() if licence and each.source.licence is None})
    if not new and all(licence in stated_licences(source, plans) for source in licensed):
        return plans
    plans.append(
        Plan(
            command=command,
            licence=licence,
            licensed=tuple(licensed),
            shards=tuple(new),
            replaces=tuple(sorted(again)),
        )
    )
    write_plan(store, len(plans) - 1, plans[-1])
    return without_repeats(plans)


def _to_try_again(store: str, plans: Sequence[Plan], given: Mapping[str, Recording]) -> list[Shard]:
    """Return the shards with quarantined or changed recordings, if all of their recordings are given.

    The shards with duplicates of their sequences are included, since the store has only the names of duplicates.
    """
    shards = (shard for each in plans for shard in each.shards)
    complete = [shard for shard in shards if all(each.path in given for each in shard.recordings)]
    changed = {shard.id: shard for shard in complete if any(given[each.path] != each for each in shard.recordings)}
    again, names, before = dict(changed), set[str](), -1
    done = _begun(complete, store)
    while before < len(names):
        before = len(names)
        for shard, report in zip(done, read_reports(done, store), strict=True):
            if report.lost or shard.id in changed or _has_duplicate(store, report, names):
                again[shard.id] = shard
                names |= {f"{report.source}/{each.sequence_id}" for each in read_contents(store, report)}
    return list(again.values())


def _has_duplicate(store: str, report: ShardReport, names: Container[str | None]) -> bool:
    """Whether the shard has a duplicate of one of these sequences."""
    return report.duplicates > 0 and any(each.duplicate_of in names for each in read_contents(store, report))


def stated_licences(source: str, plans: Iterable[Plan]) -> list[str]:
    """Return the licences that users stated for a source, each once, the oldest first."""
    return list(dict.fromkeys(plan.licence for plan in plans if plan.licence and source in plan.licensed))


def _difference(before: Recording, now: Recording) -> str:
    if before.size != now.size:
        return f"{now.path} had {before.size:,} bytes, has {now.size:,}"
    if before.reader != now.reader:
        return f"{now.path} was read by {before.reader}, now by {now.reader}"
    if other := sorted(set(before.companions) ^ set(now.companions)):
        change = "was added" if other[0] in now.companions else "was removed"
        return f"{now.path}: the companion file {other[0]} {change}"
    return f"{now.path}: a companion file changed (one of {', '.join(now.companions[-_SHOWN:])})"


def read_plans(store: str) -> list[Plan]:
    """Read all plans of a store in order; empty if there is no store yet.

    Raises:
        StoreError: There is a file at ``store``, or a store of an older version.
    """
    filesystem, root = url_to_fs(store)
    if filesystem.isfile(root):
        raise StoreError(f"{store}: expected a folder for the store, found a file. Pass another --store.")
    found = [f"{WORK}/{name}" for name in list_stored_sizes(f"{store}/{WORK}")]
    paths = sorted(path for path in found if path.startswith(f"{WORK}/plan-"))
    if not paths and found:
        raise StoreError(
            f"{store}: expected a store of this version, found an older one. Extract again, to another --store."
        )
    plans = (_from_json(text, f"{store}/{path}") for path, text in zip(paths, _read(store, paths), strict=True))
    return without_repeats(plans)


def without_repeats(plans: Iterable[Plan]) -> list[Plan]:
    """Keep each shard only in the first plan that has it, and drop shards that another plan replaces."""
    plans = list(plans)
    seen = {shard for each in plans for shard in each.replaces}
    result = []
    for each in plans:
        new = [shard for shard in each.shards if shard.id not in seen]
        seen.update(shard.id for shard in new)
        result.append(replace(each, shards=tuple(new)))
    return result


def write_plan(store: str, number: int, plan: Plan) -> None:
    """Write a plan to the store."""
    planned = _PlanFile(
        command=plan.command,
        licence=plan.licence,
        licensed=plan.licensed,
        shards=tuple(shard.planned() for shard in plan.shards),
        replaces=plan.replaces,
    )
    text = to_json(planned).encode()
    name = f"plan-{number:04}-{hashlib.sha256(text).hexdigest()[:8]}.json"
    write_whole(f"{store}/{WORK}/{name}", text)


def _from_json(text: bytes, where: str) -> Plan:
    try:
        planned = from_json(_PlanFile, text)
        return Plan(
            command=planned.command,
            licence=planned.licence,
            licensed=planned.licensed,
            shards=tuple(each.shard() for each in planned.shards),
            replaces=planned.replaces,
        )
    except ValueError as error:
        raise StoreError(f"{where}: expected a store's plan, found something else ({error}). Extract again.") from error


def find_unfinished(shards: Sequence[Shard], store: str) -> list[Shard]:
    """Return the shards that are still to do: their report, or a file that it lists, is missing."""
    sizes, begun = list_stored_sizes(store), _begun(shards, store)
    done = {
        shard.id
        for shard, report in zip(begun, read_reports(begun, store), strict=True)
        if all(sizes.get(entry.path) == entry.bytes for entry in (*report.files, report.contents))
    }
    return [shard for shard in shards if shard.id not in done]


def _begun(shards: Sequence[Shard], store: str) -> list[Shard]:
    """The shards that have a report; files that it lists may have been deleted since."""
    reports = list_stored_sizes(f"{store}/{WORK}")
    return [shard for shard in shards if shard.report_path.removeprefix(f"{WORK}/") in reports]


def read_reports(shards: Sequence[Shard], store: str) -> Iterator[ShardReport]:
    """Yield the reports of finished shards in order, reading a few at a time."""
    for start in range(0, len(shards), _AT_ONCE):
        paths = [shard.report_path for shard in shards[start : start + _AT_ONCE]]
        for path, text in zip(paths, _read(store, paths), strict=True):
            yield _report(text, f"{store}/{path}")


def _report(text: bytes, where: str) -> ShardReport:
    try:
        return ShardReport.from_json(text)
    except ValueError as error:
        raise StoreError(
            f"{where}: expected a shard's report, found something else ({error}). Delete it and extract again."
        ) from error


def list_stored_sizes(store: str) -> dict[str, int]:
    """Return the size of every file in the store by its path inside the store."""
    filesystem, root = url_to_fs(store)
    filesystem.invalidate_cache()
    found = filesystem.find(root, detail=True)
    return {path[len(root) :].lstrip("/"): int(entry["size"]) for path, entry in found.items()}


def _read(store: str, paths: Sequence[str]) -> list[bytes]:
    """Read small files, many at a time if the file system can; brackets in a name are not a pattern."""
    filesystem, root = url_to_fs(store)
    full = [f"{root}/{path}" for path in paths]
    whole = [None] * len(full)
    return filesystem.cat_ranges(full, whole, whole, on_error="raise") if full else []
