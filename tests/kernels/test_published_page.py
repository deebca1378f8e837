"""The table of published settings is that of the run that is kept, and each row says where the other figure stands."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import published  # noqa: E402
import published_page  # noqa: E402

RESULTS = json.loads((ROOT / "benchmarks" / "results" / "published.json").read_text())
PAGE = (ROOT / "docs" / "explanation" / "other-systems.md").read_text()


def test_the_page_has_what_is_kept():
    assert published_page.written(PAGE, RESULTS) == PAGE
    changed = json.loads(json.dumps(RESULTS))
    changed["settings"][0]["wall"] += 10
    assert published_page.written(PAGE, changed) != PAGE


def test_every_setting_was_run_and_has_a_source():
    of_settings = {s.name: (s.what, s.published, s.source, s.run) for s in published.SETTINGS}
    of_results = {s["name"]: (s["what"], s["published"], s["source"], s["run"]) for s in RESULTS["settings"]}
    assert of_results == of_settings
    assert all("](https://" in source for _, _, source, _ in of_settings.values())
