"""Every published setting was run, and its row says where the other figure stands."""

import published
import record


def test_every_setting_was_run_and_has_a_source():
    of_settings = {s.name: (s.what, s.published, s.source, s.run) for s in published.SETTINGS}
    of_results = {
        s["name"]: (s["what"], s["published"], s["source"], s["run"]) for s in record.read("published")["settings"]
    }
    assert of_results == of_settings
    assert all("](https://" in source for _, _, source, _ in of_settings.values())
