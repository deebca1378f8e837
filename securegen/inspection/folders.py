"""Folders: artefacts with a manifest, the owner's boxes, and the shared folder of a federated study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securegen.engines.ckks import bodies
from securegen.engines.ckks.artefact import MANIFEST, Manifest, entry_for, open_manifest
from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import SecuregenError
from securegen.io.schema import printable, shown
from securegen.rlwe.ring import ERROR_MAX, STANDARD_128

BODIES = {"cohort": bodies.COHORT, "design": bodies.DESIGN, "results": bodies.RESULTS}
NUMBERS = {"cohort": bodies.check_cohort, "design": bodies.check_design}
DIGESTS = ("blake3", "sha256")
WHO = {
    "cohort": ("encrypted cohort", "owner → server"),
    "design": ("encrypted design", "owner → server"),
    "results": ("encrypted results", "server → owner"),
    "score model": ("public scoring model", "owner → server"),
    "scores": ("encrypted scores", "server → owner"),
    "score request": ("request for a private model", "genotype owner → model owner"),
    "score invitation": ("invitation to a private model", "model owner → genotype owner"),
    "encryption key": ("encryption key", "genotype owner → model owner"),
    "score replies": ("blinded scores", "model owner or evaluator → genotype owner"),
    "encrypted model": ("encrypted model", "model owner → evaluator"),
    "score offer": ("encrypted model of a vendor", "vendor → hospital"),
    "blinded scores": ("blinded scores", "hospital → vendor"),
    "rounded scores": ("rounded scores", "vendor → hospital"),
}


def parameters_facts(parameters: Parameters) -> dict[str, Any]:
    """Ring, layout, precision and security of public parameters."""
    p = parameters
    return {
        "ring": f"n = {p.ring.n}, {len(p.ring.primes)} data primes of {max(p.ring.primes).bit_length()} bits, one of "
        f"{p.ring.special.bit_length()} bits for keys",
        "security_bits": 128,
        "security": f"at least 128 bits: {_bits(p)} bits of modulus, at most {STANDARD_128[p.ring.n]} at n = {p.ring.n} "
        "(Homomorphic Encryption Standard, ternary secret)",
        "samples": p.samples,
        "layout": f"{p.pack} samples × {p.strand_variants} variants per ciphertext, {p.strands} of them per block, "
        f"{p.groups} groups of samples; {p.digits} variants per coefficient, columns in up to {p.column_digits} digits",
        "scales": f"genotypes 2^{p.genotype_scale}, columns 2^{p.design_scale}, stored values up to {p.dosage_max}",
        "noise_margin": f"{p.margin_bits:.1f} bits between 15 standard deviations of the noise and ½, as planned "
        f"(error of a coefficient at most {ERROR_MAX})",
    }


def _bits(p: Parameters) -> int:
    return (p.ring.modulus * p.ring.special).bit_length()


def public_key_facts(public: PublicKey) -> dict[str, Any]:
    """Fingerprint and parameters of a public key, by name."""
    return {"fingerprint": public.fingerprint, **parameters_facts(public.parameters)}


def entries(value: Any, name: str = "") -> Iterator[dict[str, Any]]:
    """Every {name, digest, size} in a manifest, wherever it stands."""
    if isinstance(value, dict):
        if set(DIGESTS) & set(value) and isinstance(value.get("name", name), str):
            yield {"name": name, **value}
            return
        for key, inner in value.items():
            yield from entries(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from entries(inner)


def _brief(value: Any) -> Any:
    """A manifest's value as one line: lists of entries by their number."""
    if isinstance(value, str) and len(value) == 64:
        return value[:16] + "…"
    if isinstance(value, list) and value:
        if any(isinstance(v, list | dict) for v in value):
            return f"{len(value)} entries"
        return value if len(value) <= 12 else f"{len(value)}: {', '.join(shown(v) for v in value[:6])}, …"
    return printable(value, 200) if isinstance(value, str) else value


def describe_manifest(folder: Path, public: PublicKey | None, *, digests: bool) -> dict[str, Any]:
    """An artefact: its manifest's public fields; digests of its files; its signature, where a key to check it is known."""
    problems: list[str] = []
    found = open_manifest(folder)
    body = found.body
    role = printable(body.get("role", "unknown role"), 40)
    kind, way = WHO.get(role, (f"artefact with the role {role!r}", ""))
    facts: dict[str, Any] = {"role": role, "version": body["version"]}
    if way:
        facts["travels"] = way
    own = None
    try:
        if "public" in body:
            own = PublicKey.from_json(body["public"])
            facts |= public_key_facts(own)
        elif "parameters" in body:
            facts |= parameters_facts(Parameters.from_json(body["parameters"]))
        _check_body(found, own or public)
    except SecuregenError as error:
        problems.append(str(error))
    skip = {"magic", "version", "role", "public", "parameters", "files", *facts}
    facts |= {k: _brief(v) for k, v in body.items() if k not in skip and not isinstance(v, dict) and _brief(v) != []}
    facts["digest"] = found.digest
    checks = {"signature": _signature(found, public or own, public is not None, problems)}
    listed = list(entries(body))
    sizes = [e["size"] for e in listed if type(e.get("size")) is int]
    facts["files"] = f"{len(listed)} of {sum(sizes) / 1e6:.1f} MB" if sum(sizes) < 1 << 62 else f"{len(listed)}"
    checks["digests"] = _digests(folder, listed, problems) if digests else "not checked"
    known = {str(e["name"]) for e in listed} | {MANIFEST}
    strangers = sorted(p.name for p in folder.iterdir() if p.is_file() and not _listed(p.name, known))
    notes = [f"the manifest does not name {', '.join(strangers[:5])}"] if strangers else []
    return {"kind": kind, "facts": facts, "checks": checks, "problems": tuple(problems), "notes": tuple(notes)}


def _check_body(found: Manifest, key: PublicKey | None) -> None:
    """Raise ArtefactError where a cohort, design or results say what theirs cannot."""
    role = found.body.get("role")
    if role in BODIES:
        body = found.checked(BODIES[role])
        if key is not None and role in NUMBERS:
            NUMBERS[role](body, key.parameters)


def _listed(name: str, known: set[str]) -> bool:
    return name in known or name.removesuffix(".npy") in known


def _signature(found: Manifest, key: PublicKey | None, given: bool, problems: list[str]) -> str:
    if key is None or (not found.signature and not given):
        return "there, not checked: give --public KEY.public" if found.signature else "none: results are verified"
    try:
        found.require_signature(key)
    except SecuregenError as error:
        problems.append(str(error))
        return "does NOT hold"
    return "holds" + ("" if given else " under the key it names: compare the fingerprint, or give --public")


def _digests(folder: Path, listed: list[dict[str, Any]], problems: list[str]) -> str:
    bad = 0
    for entry in listed:
        name = str(entry["name"])
        inside = os.path.basename(name) == name and name.isprintable()
        path = folder / name if inside and os.path.exists(folder / name) else folder / f"{name}.npy"
        if not inside or not os.path.isfile(path):
            problem = f"{folder / printable(name, 255)} is missing"
        elif "size" in entry and path.stat().st_size != entry["size"]:
            problem = f"{path} has {path.stat().st_size} bytes, its manifest says {shown(entry['size'])}"
        elif any(f in entry and entry[f] != d for f, d in vars(entry_for(folder, path.name)).items() if f in DIGESTS):
            problem = f"{path} does not have the digest its manifest names: it was altered"
        else:
            continue
        bad += 1
        if bad <= 5:
            problems.append(problem)
    return f"{bad} of {len(listed)} files do NOT match" if bad else f"hold: {len(listed)} files read"


def describe_boxes(folder: Path) -> dict[str, Any] | None:
    """The owner's folder: what is in it is encrypted under the key, so only sizes and modes are told."""
    boxes = sorted(folder.glob("*.box"))
    if not boxes:
        kept = [n for n in ("plan.json", "batches.json", "masks.npy") if (folder / n).is_file()]
        note = "stays with whoever made it; nothing in it was read"
        return (
            {"kind": "private folder of a score protocol", "facts": {"holds": kept}, "notes": (note,)} if kept else None
        )
    names = [p.name.removesuffix(".box") for p in boxes]
    count = {w: sum(n.startswith(w) for n in names) for w in ("block-", "design", "cohort")}
    facts = {
        "holds": f"{len(boxes)} boxes encrypted under the owner's key (AES-256-GCM): {count['block-']} blocks",
        "bytes": sum(p.stat().st_size for p in boxes), "complete": "cohort" in names,
    }  # fmt: skip
    problems = [f"{p} can be read by others: chmod 600 {p}" for p in boxes if p.stat().st_mode & 0o077][:3]
    note = "stays with the key; it says nothing without it, and results cannot be decrypted without both"
    return {"kind": "owner's folder", "facts": facts, "problems": tuple(problems), "notes": (note,)}


def describe_study_folder(folder: Path) -> dict[str, Any] | None:
    """The shared folder of a federated study, or the file of it."""
    from securegen.engines.federated.study_toml import read_study
    from securegen.engines.federated.studyfile import STUDY
    from securegen.engines.federated.terms import opened_by
    from securegen.governance.signing import fingerprint

    path = folder / STUDY if folder.is_dir() else folder
    if not path.is_file():
        return None
    study = read_study(path)
    facts = {
        "name": study.name, "digest": study.digest, **dict(study.notes),
        "phenotypes": [f"{t.name} ({study.test_of(t)})" for t in study.phenotypes],
        "covariates": list(study.covariates), "variants": study.variants, "missing": study.missing,
        "smallest_cohort": study.smallest_cohort, "commit": study.commit,
        "coordinator": fingerprint(study.coordinator),
        "sites": [f"{s.name} {fingerprint(s.verify_key)}" for s in study.sites], "opened": opened_by(study),
    }  # fmt: skip
    checks = {"signature": "holds under the coordinator it names: compare every fingerprint by telephone"}
    return {"kind": "federated study", "facts": facts, "checks": checks}
