"""Who learned what, in plain language, from the receipt of a run and its parameters."""

from __future__ import annotations

import math
from typing import Any

from securegen.errors import PlanError
from securegen.plot.run import costs, human_bytes
from securegen.record.receipt import FULL_TABLE
from securegen.report.html import Content, Markup, bullets, element, join, table
from securegen.rlwe.ring import STANDARD_128, Ring

OPENING = {
    "plain": "Nothing was hidden in this run: one party held all data and computed in the clear.",
    "ckks": "The numbers were computed on encrypted data, by a party that could read neither the genotypes nor the results.",
    "federated": "Each site kept its people's data. What the sites sent were sums under random masks, which cancel only in the "
    "totals over all sites; these were opened to every site.",
    "mpc": "Each party kept its data. What crossed the network were random shares or masked sums; no party saw another's "
    "genotypes or phenotypes, only the numbers listed below were opened.",
}
ENCRYPTORS = {
    "encryption by own": "the encryptor of this program does what its documentation says (SEAL's can be chosen in its place)",
    "encryption by seal": "Microsoft SEAL's encryption is right",
}
TRAVELS = {
    "cohort": "the encrypted cohort (a folder), from its owner to the server",
    "design": "the encrypted design (a folder), from its owner to the server",
    "model": "the model (a folder), to the server",
    "results": "the encrypted results (a folder), from the server to the owner",
    "public_key": "the public key (a file), from the owner to the server",
}
SCORES_PRIVATE = "Genotypes and weights belong to different parties, and neither saw the other's."


def security(record: dict[str, Any]) -> tuple[str, str]:
    """(short, long) statement of how hard the data are to read without a key."""
    engine, parameters = record.get("engine"), record.get("parameters") or {}
    if engine == "federated":
        return "128 bits", (
            "Masks come from AES-256 in counter mode under a key of every two sites, agreed by X25519 and ML-KEM-768 together: "
            "reading a site's sums needs both broken."
        )
    if engine == "mpc":
        return "128 bits", (
            "Shares and masks are uniform; they come from AES-128 in counter mode under keys of one study or session, and "
            "travel over mutual TLS 1.3. Telling them from random words is breaking AES-128."
        )
    ring = parameters.get("ring")
    if not isinstance(ring, dict):
        plain = "none" if engine == "plain" else "not recorded"
        return plain, "No encryption was used." if engine == "plain" else "This step's record names no parameters."
    try:
        checked = Ring(int(ring["n"]), tuple(int(p) for p in ring["primes"]), int(ring["special"]), int(ring["lanes"]))
    except (KeyError, TypeError, ValueError, PlanError):
        return "not recorded", "The recorded ring is not one that this program uses."
    data = math.log2(checked.modulus)
    return "128 bits", (
        f"Ring learning with errors in dimension {checked.n} with a modulus of {data + math.log2(checked.special):.0f} bits "
        f"({data:.0f} of them under the data); the Homomorphic Encryption Standard allows at most {STANDARD_128[checked.n]} "
        "for 128 bits against the best known classical attacks."
    )


def _opening(record: dict[str, Any], receipt: dict[str, Any]) -> str:
    text = OPENING.get(str(record.get("engine")), "")
    hidden = ("private model", "encrypted model", "vendor", "private weights")
    if any(word in str(receipt.get("scenario", "")) for word in hidden):
        return SCORES_PRIVATE
    return text


def _released(entry: Any) -> Content:
    """A path without its folders, which say nothing to a reader; other words as they are."""
    text = str(entry)
    return element("code", text.rpartition("/")[2]) if "/" in text and " " not in text.rpartition("/")[0][-3:] else text


def plainer(warning: str, samples: int, variants: int) -> Content:
    """A warning of a receipt, as it is for a run of so many people and variants."""
    if warning != FULL_TABLE or not samples or not variants:
        return f"{warning[:1].upper()}{warning[1:]}."
    if variants >= samples:
        return (
            f"The table has {variants:,} variants, at least as many as people ({samples:,}). Whoever holds the genotypes of "
            "the same people can solve it for their phenotypes, adjusted for covariates. Share it as you would share it "
            "had it been computed in the clear."
        )
    return (
        f"The table has {variants:,} variants for {samples:,} people, too few to solve for every phenotype; each row is "
        "still one equation in them for whoever holds the genotypes."
    )


def privacy_section(record: dict[str, Any]) -> Markup:
    """Parties, assumptions, what was released and what travelled, and what a reader of it could still work out."""
    receipt = record.get("receipt")
    if not isinstance(receipt, dict):
        return element(
            "p", "This step wrote no receipt. Who learned what stands in the report of the run as a whole, or in the threat "
            "model of its engine.",
        )  # fmt: skip
    parts: list[Content] = []
    opening = _opening(record, receipt)
    if opening:
        parts.append(element("p", opening, class_="plain"))
    rows = [[str(p.get(k, "")) for k in ("name", "holds", "learns")] for p in receipt.get("parties", [])]
    parts += [
        element("h3", "Who held what, who learned what"),
        table(["party", "held", "learned"], rows, class_="words"),
    ]
    released = [_released(r) for r in receipt.get("released", [])]
    parts += [
        element("h3", "What was released"),
        bullets(released) if released else element("p", "This party wrote no result."),
        *_travelled(record),
    ]
    short, long = security(record)
    parts += [element("h3", "What this rests on"), bullets([f"Security: {short}. {long}", *_assumptions(receipt)])]
    warnings = receipt.get("warnings", [])
    if warnings:
        samples, variants = (int(record.get(k) or 0) for k in ("samples", "variants"))
        known = bullets(plainer(str(w), samples, variants) for w in warnings)
        parts += [element("h3", "What can still be worked out"), element("div", known, class_="plain warn")]
    return join(parts)


def _travelled(record: dict[str, Any]) -> list[Content]:
    """What crossed between parties, with its bytes."""
    c = costs(record)
    if record.get("engine") == "plain":
        body: Content = element("p", "Nothing: one party held everything.")
    elif not c.size:
        body = element("p", "This step sent nothing itself; the folders of the other steps are in their records.")
    elif c.sent:
        body = bullets(f"{name}: {human_bytes(size)} of messages" for name, size in c.size)
    else:
        body = bullets(f"{TRAVELS.get(name, name.replace('_', ' '))}: {human_bytes(size)}" for name, size in c.size)
    return [element("h3", "What travelled"), body]


def _assumptions(receipt: dict[str, Any]) -> list[Content]:
    """The receipt's assumptions, each as a sentence."""
    text = [ENCRYPTORS.get(str(a), str(a)) for a in receipt.get("assumptions", [])]
    return [f"Assumed: {t}." for t in text]
