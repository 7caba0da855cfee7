"""Process shards on a Ray cluster: one task per shard, with results in the order of completion.

A task whose node is lost is retried without limit; a task that cannot reach its input is retried three times.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray.data

from datasets.extraction.shard import Shard
from datasets.readers.registry import all_formats
from pipelines.runtime.cluster import connect

_RETRIES = 3
_WORTH_ANOTHER_TRY = [r"Connection\w*Error", "TimeoutError"]


def run_shards(shards: Sequence[Shard], work: Callable[[Shard], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the result of ``work`` for each shard (any JSON value), in the order of completion."""
    connect(outside={shard.reader for shard in shards} - set(all_formats()))
    context = ray.data.DataContext.get_current()
    context.retried_map_errors, context.max_map_retries = _WORTH_ANOTHER_TRY, _RETRIES
    context.enable_progress_bars = False  # the jobs show a bar of their own, which counts shards
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that its progress bars are switched off

    def task(row: dict[str, str]) -> dict[str, str]:
        return {"result": json.dumps(work(Shard.from_json(row["shard"])))}

    items = ray.data.from_items([{"shard": shard.to_json()} for shard in shards], override_num_blocks=len(shards))
    for row in items.map(task).iter_rows():
        yield json.loads(row["result"])
