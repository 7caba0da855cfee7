"""What a store is made of, written down before it is made: so a restart does what is missing, and a store can grow.

Each time that recordings come to a store, the shards of those it does not know yet are written to a plan of their own,
``_shards/plan-NNNN-HASH.json``, which never changes. What is planned and has no report is to do. Two stores become one
by putting their plans, reports and parts together. The hash is of the plan: two extractions that begin at once leave
two plans, and none is lost.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import fsspec

from datasets.manifest import StoreError
from datasets.sequences import Recording
from datasets.shards import WORK, Shard, ShardReport, plan
from datasets.store import write_whole

_SHOWN = 3
_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The shards that came to a store together."""

    command: str
    """What was typed."""
    licence: str | None
    """What was stated for the sources that do not state their own."""
    shards: tuple[Shard, ...]


def extend(
    store: str, recordings: Iterable[Recording], *, fps: float, command: str, licence: str | None = None
) -> list[Plan]:
    """Return the plans of a store, with one more for the recordings that it does not know yet.

    Raises:
        StoreError: recordings changed since the store took them, it has another frame rate, or it is no store.
    """
    plans = read_plans(store)
    if other := {shard.fps for each in plans for shard in each.shards} - {fps}:
        raise StoreError(f"{store}: expected sequences at {fps:g} Hz, found {other.pop():g} Hz. Name another --store.")
    known = {recording.path: recording for each in plans for shard in each.shards for recording in shard.recordings}
    recordings = list(recordings)
    changed = [each for each in recordings if each != known.get(each.path, each)]
    if changed:
        some = "; ".join(_difference(known[each.path], each) for each in changed[:_SHOWN])
        raise StoreError(
            f"{store}: expected the recordings that are in it as they were, found {len(changed)} changed: {some}. "
            "Name another --store, or delete this one."
        )
    shards = plan((each for each in recordings if each.path not in known), fps=fps)
    if shards:
        plans.append(Plan(command=command, licence=licence, shards=tuple(shards)))
        write_plan(store, len(plans) - 1, plans[-1])
    return plans


def _difference(before: Recording, now: Recording) -> str:
    if before.size != now.size:
        return f"{now.path} had {before.size:,} bytes, has {now.size:,}"
    return f"{now.path} had other companions or another reader ({before.reader}, {now.reader})"


def read_plans(store: str) -> list[Plan]:
    """Read all plans of a store in order; none of an empty place.

    Raises:
        StoreError: a file lies there, or a store of an older version.
    """
    sizes = stored_sizes(store)
    if "" in sizes:
        raise StoreError(f"{store}: expected a folder for the store, found a file. Name another --store.")
    paths = sorted(path for path in sizes if path.startswith(f"{WORK}/plan-"))
    if not paths and any(path.startswith(f"{WORK}/") for path in sizes):
        raise StoreError(f"{store}: made by an older version of this program. Extract anew, to another --store.")
    plans = (_from_json(text, f"{store}/{path}") for path, text in zip(paths, _read(store, paths), strict=True))
    return without_repeats(plans)


def without_repeats(plans: Iterable[Plan]) -> list[Plan]:
    """Leave each shard in the first plan that has it."""
    seen: set[str] = set()
    result = []
    for each in plans:
        new = [shard for shard in each.shards if shard.id not in seen]
        seen.update(shard.id for shard in new)
        result.append(replace(each, shards=tuple(new)))
    return result


def write_plan(store: str, number: int, plan: Plan) -> None:
    """Write a plan down."""
    text = json.dumps(asdict(plan)).encode()
    name = f"plan-{number:04}-{hashlib.sha256(text).hexdigest()[:8]}.json"
    write_whole(f"{store}/{WORK}/{name}", text)


def _from_json(text: bytes, where: str) -> Plan:
    try:
        raw = json.loads(text)
        shards = tuple(Shard.from_dict(each) for each in raw["shards"])
        return Plan(command=raw["command"], licence=raw["licence"], shards=shards)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{where}: expected a store's plan, found something else ({error!r}). Extract anew."
        ) from error


def unfinished(shards: Sequence[Shard], store: str) -> list[Shard]:
    """Return the shards that are still to do: their report, or a file that it lists, is not in the store."""
    sizes = stored_sizes(store)
    begun = [shard for shard in shards if shard.report_path in sizes]
    done = {
        shard.id
        for shard, report in zip(begun, read_reports(begun, store), strict=True)
        if all(sizes.get(entry.path) == entry.bytes for entry in report.files)
    }
    return [shard for shard in shards if shard.id not in done]


def read_reports(shards: Sequence[Shard], store: str) -> Iterator[ShardReport]:
    """Read the reports of finished shards, in order, a few at a time."""
    for start in range(0, len(shards), _AT_ONCE):
        paths = [shard.report_path for shard in shards[start : start + _AT_ONCE]]
        yield from map(ShardReport.from_json, _read(store, paths))


def stored_sizes(store: str) -> dict[str, int]:
    """Path inside the store and size of every file that is there."""
    filesystem, root = fsspec.url_to_fs(store)
    filesystem.invalidate_cache()
    found = filesystem.find(root, detail=True)
    return {path[len(root) :].lstrip("/"): int(entry["size"]) for path, entry in found.items()}


def _read(store: str, paths: Sequence[str]) -> list[bytes]:
    filesystem, _ = fsspec.url_to_fs(store)
    full = [fsspec.url_to_fs(f"{store}/{path}")[1] for path in paths]
    texts = filesystem.cat(full) if full else {}
    return [texts[path] for path in full]
