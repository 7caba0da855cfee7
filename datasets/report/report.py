"""The report of a store: its content, and what was quarantined and why, in numbers and pictures.

    STORE/report.json     all numbers STORE/report.html     the same as a self-contained page, with skeletons and
    histograms

Both files are beside the manifest and not part of the store, so its digest does not depend on them; the same store
gives the same bytes. One core reads 250,000 to 550,000 frames a second, depending on the load of the machine (3 million
frames in parts of 80 MB, on a local disk); the process takes 0.6 GB for one such part, 0.9 to 1 GB for three and for
ten.
"""

import json
from dataclasses import asdict
from typing import Any

from datasets.report.measures import SourceReport, StoreReport, measure
from datasets.report.page import page
from datasets.store.parquet import open_store, write_whole

REPORT_JSON = "report.json"
REPORT_HTML = "report.html"


def write_report(url: str) -> StoreReport:
    """Measure a store and write its two reports beside the manifest.

    Raises:
        StoreError: There is no store, a part of it is missing or damaged, its counts differ from the manifest, or the
            disk is too full for the reports.
    """
    store = open_store(url)
    report = measure(store)
    write_whole(f"{store.url}/{REPORT_JSON}", to_json(report).encode())
    write_whole(f"{store.url}/{REPORT_HTML}", page(report).encode())
    return report


def to_json(report: StoreReport) -> str:
    """Return the text of ``report.json``."""
    head = {"store": report.digest, "fps": report.fps, "command": report.command}
    sources = {name: _source(source) for name, source in report.sources.items()}
    return json.dumps(head | {"sources": sources}, indent=1, ensure_ascii=False) + "\n"


def _source(source: SourceReport) -> dict[str, Any]:
    return asdict(source.entry) | {
        "observed": dict(source.observed),
        "histograms": {name: asdict(histogram) for name, histogram in source.histograms.items()},
        "repaired": source.repaired,
        "repairs": [asdict(kind) for kind in source.repairs],
        "quarantine": [asdict(kind) for kind in source.quarantine],
        "duplicate_groups": source.duplicates,
        "name_collisions": source.name_collisions,
        "pictures": [
            {"split": sample.split, "sequence_id": sample.sequence_id, "frames": sample.frame_F.tolist()}
            for sample in source.samples
        ],
    }
