"""Bytes of every message of encrypted scores: `python benchmarks/messages.py` runs the four settings at the size below.

Files of results are those of `protocols/encrypted_prs.py`, which runs every step as a process of its party; a minute or
two each. docs/explanation/prs-protocols.md has the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import HERE, RESULTS, Made, keep, measured, source

from securegen.plot.run import human_bytes

SAMPLES, VARIANTS = 1_146, 110_258
CONTENT = {
    "public": {
        "cohort": "cohort: ciphertexts, seeds",
        "model": "model: weights",
        "results": "results",
    },
    "private": {
        "request": "request: variants of the cohort, number of people, sometimes allele counts",
        "invitation": "invitation: which variants, parameters, nonce, scale, bounds",
        "cohort": "cohort",
        "publickey": "encryption key",
        "replies": "replies",
    },
    "encrypted": {
        "challenge": "challenge: a nonce",
        "request": "request",
        "invitation": "invitation",
        "publickey": "encryption key",
        "cohort": "cohort",
        "encmodel": "encrypted model",
        "replies": "replies",
    },
    "vendor": {
        "request": "request",
        "challenge": "challenge: a nonce",
        "offer": "offer: for every batch of people, its key and the model encrypted under it",
        "blinded": "blinded products: a polynomial and a coefficient for each person and score",
        "rounded": "rounded: one integer for each person and score",
    },
}
PARTIES = {"modeller": "model owner"}
OF_PEOPLE = ("cohort", "blinded")


def line(setting: str, told: dict[str, Any], people: int) -> str:
    size = human_bytes(told["bytes"])
    if told["message"] in OF_PEOPLE:
        size += f" ({human_bytes(told['bytes'] / people)} per person)"
    parties = (PARTIES.get(told[end], told[end]) for end in ("from", "to"))
    return f"| {' | '.join([CONTENT[setting][told['message']], *parties, size])} |"


def made(results: dict[str, Any]) -> Made:
    people, variants, sections = results["samples"], results["variants"], {}
    for setting in CONTENT:
        sections[f"messages of {setting}"] = "\n".join([
            f"| message | from | to | {variants:,} variants × {people:,} people |",
            "|---|---|---|---:|",
            *(line(setting, m, people) for m in results["settings"][setting]),
        ])  # fmt: skip
    sections["messages"] = source(results["measured"])
    return Made("explanation/prs-protocols", sections)


def sizes(samples: int, variants: int, settings: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The messages of each setting, in order, of a simulated cohort."""
    sys.path.insert(0, str(HERE.parent / "protocols"))
    from encrypted_prs import rehearse
    from published import scored

    environment = os.environ | {"SECUREGEN_PASSPHRASE": secrets.token_hex(32)}

    def execute(folder: Path, words: list[str]) -> None:
        subprocess.run([sys.executable, "-m", "securegen", *words, "--quiet"], cwd=folder, env=environment, check=True)

    out = {}
    for setting in settings:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scored(folder, samples, variants)
            (folder / "parties").mkdir()
            cohort, score = str(folder / "cohort"), str(folder / "cohort.score.tsv")
            found = rehearse(setting, folder / "parties", execute, bfile=cohort, score=score, out=str(folder / "table"))
        out[setting] = [dict(zip(("message", "from", "to", "bytes"), m, strict=True)) for m in found]
        print(f"{setting}: {sum(m['bytes'] for m in out[setting]):,} bytes", file=sys.stderr, flush=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "messages.json")
    parser.add_argument("--only", action="append", choices=list(CONTENT))
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--variants", type=int, default=VARIANTS)
    o = parser.parse_args()
    before = json.loads(o.out.read_text())["settings"] if o.only and o.out.exists() else {}
    about = measured()
    found = before | sizes(o.samples, o.variants, o.only or list(CONTENT))
    keep(o.out, {"measured": about, "samples": o.samples, "variants": o.variants, "settings": found})


if __name__ == "__main__":
    main()
