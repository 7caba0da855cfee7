"""Merge several stores into one: their plans, reports and parts are combined, and a new manifest is written.

Recordings are not read again and sequences do not change, except that duplicates of one motion in two stores become one
sequence. A shard that two stores have in common is copied once. After an interruption, the same call resumes where it
stopped.
"""

from collections.abc import Sequence

from datasets.extraction.finish import finish
from datasets.extraction.plan import (
    Plan,
    find_unfinished,
    list_stored_sizes,
    read_plans,
    read_reports,
    without_repeats,
    write_plan,
)
from datasets.extraction.shard import Shard
from datasets.extraction.shard_report import write_report
from datasets.store.manifest import Manifest, StoreError
from datasets.store.parquet import Store, open_store, read_file, write_whole


def merge(stores: Sequence[str], into: str) -> Manifest:
    """Merge finished stores into a new one.

    Raises:
        StoreError: There are fewer than two stores, one is incomplete, their frame rates differ, or ``into`` is not
            empty.
    """
    if len(stores) < 2:
        raise StoreError(f"merge: expected at least two stores, found {len(stores)}. Pass them one after the other.")
    if into in stores:
        raise StoreError(
            f"{into}: expected another folder than the stores themselves, found one of them. Pass a new folder."
        )
    opened = [open_store(url) for url in stores]
    if len(rates := sorted({store.manifest.fps for store in opened})) > 1:
        found = ", ".join(f"{rate:g}" for rate in rates)
        raise StoreError(
            f"merge: expected stores with the same frame rate, found {found} Hz. Extract them with the same --fps."
        )
    plans, owners = _together(opened)
    _write_plans(plans, into)
    for shard in find_unfinished([shard for plan in plans for shard in plan.shards], into):
        _copy(shard, owners[shard.id], into)
    return finish(into)


def _together(stores: Sequence[Store]) -> tuple[list[Plan], dict[str, Store]]:
    """All plans, and for each shard the first store that has it."""
    plans = [(store, plan) for store in stores for plan in read_plans(store.url)]
    owners = {shard.id: store for store, plan in reversed(plans) for shard in plan.shards}
    together = without_repeats(plan for _, plan in plans)
    return [plan for plan in together if plan.shards or plan.licensed], owners


def _write_plans(plans: Sequence[Plan], into: str) -> None:
    there = read_plans(into)
    if list(plans[: len(there)]) != there:
        raise StoreError(
            f"{into}: expected an empty folder or an interrupted merge of the same stores, found another store."
        )
    if not there and list_stored_sizes(into):
        raise StoreError(f"{into}: expected an empty folder, found other files. Pass another folder.")
    for number in range(len(there), len(plans)):
        write_plan(into, number, plans[number])


def _copy(shard: Shard, store: Store, into: str) -> None:
    [report] = read_reports([shard], store.url)
    for entry in (*report.files, report.contents):
        write_whole(f"{into}/{entry.path}", read_file(store.url, entry))
    write_report(shard, into, report)
