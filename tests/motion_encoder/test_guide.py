"""The examples of the guide run as they stand, one after the other."""

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"


def test_the_examples_run_one_after_the_other(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(examples) == 8
    names: dict[str, object] = {}
    for number, example in enumerate(examples, start=1):
        exec(compile(example, f"{GUIDE.name}, example {number}", "exec"), names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.safetensors", "motion.npz"]
