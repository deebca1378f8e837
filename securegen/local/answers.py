"""What a role leaves for whoever started it, its run.json, read as another party's: checked before anything follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from securegen.errors import ArtefactError
from securegen.io.schema import has, integer, list_of, shown, text
from securegen.io.strict_json import read_json
from securegen.record.run_log import RECORD


class Answer(dict[str, Any]):
    """What a role says of its run: an ArtefactError where it does not say what is asked for."""

    def __missing__(self, name: str) -> Any:
        raise ArtefactError(f"the record of a role does not say {name}: it is damaged, or of another program")


_FILE = text(1 << 12, least=1, printable=False)
_ANSWER = has(
    "seconds", "peak_rss_bytes", peak_rss_bytes=integer(0, 1 << 62), samples_stored=integer(0, 1 << 62), opened=has(),
    summaries=list_of(has("path", path=_FILE), 0, 1 << 14), files=list_of(_FILE, 0, 1 << 14),
)  # fmt: skip


def read_answer(place: str | Path, name: str) -> Answer:
    """The record PLACE.run.json of role `name`, which may lie. Raises ArtefactError when it is absent, is not a record, or names
    files other than PLACE.*, or PLACE_*.regenie as that format calls its tables."""
    base = Path(place).absolute()
    try:
        found = read_json(
            f"{base}.run.json", f"the record of {name}", lambda v, where: _ANSWER(RECORD(v, where), where)
        )
    except FileNotFoundError:
        raise ArtefactError(f"{name} has ended and left no record {base}.run.json") from None
    for path in (*(s["path"] for s in found.get("summaries", ())), *found.get("files", ())):
        full = base.parent / path
        regenie = full.name.startswith(f"{base.name}_") and ".regenie" in full.suffixes
        if full.parent != base.parent or not (full.name.startswith(f"{base.name}.") or regenie):
            raise ArtefactError(f"the record of {name} names a file that is not its own: {shown(path, 80)}")
    answer: Answer = _answers(found)
    return answer


def _answers(value: Any) -> Any:
    if isinstance(value, dict):
        return Answer({name: _answers(v) for name, v in value.items()})
    return [_answers(v) for v in value] if isinstance(value, list) else value
