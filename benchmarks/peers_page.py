"""docs/explanation/benchmarks.md from a run of `make bench`: tables, and how many times as long as securegen the peers take."""

from __future__ import annotations

from typing import Any

from pictures import Picture, ratios, times
from record import Made, source
from table import Row, rows_of, show, table

KERNELS = ("residue_mac", "encrypt_block", "ntt", "residue_matmul_reach", "memory_read")
PASS = "server_pass"
SIZES = {"": "2,000 × 20,000, complete", "missing": "2,000 × 20,000, half a percent of the calls missing",
         "large": "10,000 × 50,000, complete"}  # fmt: skip
PEERS = {
    "seal": "SEAL", "seal_2x45": "SEAL, two primes", "tenseal_ckkstensor": "TenSEAL CKKSTensor", "openfhe": "OpenFHE",
    "tenseal_ckksvector": "TenSEAL CKKSVector", "seal_bfv_rotate_and_sum": "SEAL BFV, rotations", "seal_slots": "SEAL slots",
    "crypten": "CrypTen", "plink2": "plink2", "numpy": "NumPy",
}  # fmt: skip
TASKS = {
    "residue_mac K1": "products × 1 column", "residue_mac K4": "products × 4 columns",
    "residue_mac K13": "products × 13 columns", "encrypt_block": "encryption", "ntt": "number-theoretic transform",
    "prs_person public": "scores, public model", "integer_matmul K1": "integer product, 1 column",
    "integer_matmul K8": "integer product, 8 columns", "integer_matmul K32": "integer product, 32 columns",
    "randomness": "random words", "crypten_operation reciprocal": "CrypTen's reciprocal",
    "crypten_operation comparison": "CrypTen's comparison", "secure_sum": "sum of three sites",
    "secure_sum K8": "masks of a sum", "vertical K8": "two parties, every sum",
    "outsourced_batch K8": "two servers, second batch", "reveal K8 hits": "hits alone", "reveal K8 chi2": "χ² alone",
    "reveal K8 uv": "u and v",
}  # fmt: skip

MPC = (  # task, implementation of ours, threads, and what it is
    ("integer_matmul K1", "securegen", 2, "integer product, N = 2,000, M = 10,000, K = 1, two threads"),
    ("integer_matmul K8", "securegen", 2, "the same, K = 8"),
    ("integer_matmul K32", "securegen", 2, "the same, K = 32"),
    ("randomness", "securegen", 1, "5 million random words"),
    ("vertical K8", "securegen", 1, "vertical, N = 10,000, M = 2,000, K = 8, as `aggregates` runs it"),
    ("vertical K8", "securegen_ring32", 1, "the same in plain words of 32 bits"),
    ("vertical K8", "securegen_ring64", 1, "the same in plain words of 64 bits"),
    (
        "reveal K8 uv",
        "securegen",
        1,
        "`uv`, ours from files to the table and exact, CrypTen's from arrays in 16-bit fixed point",
    ),
    ("reveal K8 chi2", "securegen", 1, "`chi2`, likewise"),
    ("reveal K8 hits", "securegen", 1, "`hits`, likewise"),
    ("outsourced_batch K8", "securegen", 1, "outsourced, a second batch, K = 8"),
    (
        "crypten_operation comparison",
        "securegen",
        1,
        "CrypTen comparison of 20,000 numbers (ours over TLS, exact truncation)",
    ),
    (
        "crypten_operation reciprocal",
        "securegen",
        1,
        "CrypTen reciprocal of 20,000 numbers (ours over TLS, exact truncation)",
    ),
)


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of pytest-benchmark's report: where it was measured as `conftest.py` says, and of a benchmark its figures."""
    return {
        "measured": report["measured"],
        "benchmarks": [
            {
                "name": b["name"], "min": b["stats"]["min"], "median": b["stats"]["median"], "rounds": b["stats"]["rounds"],
                "extra_info": {"work": b["extra_info"]["work"]} if "work" in b["extra_info"] else {},
            }
            for b in report["benchmarks"]
        ],
    }  # fmt: skip


def passes(results: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Data -> implementation -> median seconds of a pass."""
    out: dict[str, dict[str, float]] = {}
    for row, one in zip(rows_of(results), results["benchmarks"], strict=True):
        name, _, data = row.task.partition(" ")
        if name == PASS:
            out.setdefault(data, {})[row.implementation] = one["median"]
    return out


def of_pass(results: dict[str, Any]) -> list[str]:
    """A line a cohort, and ratios to plink2's."""
    lines = [
        "| genotypes (12 covariates) | plink2 | NumPy | securegen, encrypted | of plink2's |",
        "|---|---:|---:|---:|---:|",
    ]
    for data, found in passes(results).items():
        cells = [show(found[name]) if name in found else "" for name in ("plink2", "numpy", "securegen")]
        both = "plink2" in found and "securegen" in found
        ratio = times(found["securegen"] / found["plink2"]) if both else ""
        lines.append(f"| {' | '.join([SIZES.get(data, data), *cells, ratio])} |")
    return lines if len(lines) > 2 else []


def beside(rows: list[Row]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Task -> peers and how many times as long they take for the same work; ours on as many threads, else on one."""
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    out = []
    for task, members in tasks.items():
        ours = {r.threads: r.cost for r in members if r.implementation == "securegen"}
        peers = {r.implementation: r for r in members if r.implementation in PEERS}
        found = [(PEERS[p], r.cost / ours[r.threads]) for p, r in peers.items() if r.threads in ours]
        if found:
            out.append((TASKS.get(task, task.replace("_", " ")), found))
    return out


def pictures(results: dict[str, Any]) -> dict[str, Picture]:
    """By the mark that each stands under."""
    rows, below = rows_of(results), "times as long as securegen, same work"
    of_kernels = [r for r in rows if r.task.split()[0] in KERNELS]
    of_others = [r for r in rows if r.task.split()[0] not in (*KERNELS, PASS)]
    in_passes = [
        (SIZES.get(data, data), [(PEERS[p], s / found["securegen"]) for p, s in found.items() if p in PEERS])
        for data, found in passes(results).items()
        if "securegen" in found
    ]
    drawn = {
        "results": ("peers-kernels", "Kernels beside other libraries", beside(of_kernels)),
        "pass": ("peers-pass", "A pass in the clear, ours encrypted", in_passes),
        "others": ("peers-others", "Protocols and other work", beside(of_others)),
    }
    return {mark: ratios(name, title, below, groups) for mark, (name, title, groups) in drawn.items() if groups}


def made(results: dict[str, Any]) -> Made:
    def of(wanted: Any) -> list[str]:
        rows: list[Row] = [r for r in rows_of(results) if wanted(r.task.split()[0])]
        return table(rows).splitlines() if rows else []

    tables = {
        "results": of(lambda task: task in KERNELS),
        "pass": of_pass(results),
        "others": of(lambda task: task not in (*KERNELS, PASS)),
    }
    shown = pictures(results)
    nothing = ["The run that is kept has none of these."]
    sections = {
        mark: "\n".join([
            *([shown[mark].link, ""] if mark in shown else []), *(lines or nothing), "", source(results["measured"]),
        ])
        for mark, lines in tables.items()
    }  # fmt: skip
    return Made("explanation/benchmarks", sections, {p.name: p for p in shown.values()})


def made_of_mpc(results: dict[str, Any]) -> Made:
    """Nothing of a run that has not all of it."""
    found = {(r.task, r.implementation, r.threads): r.seconds for r in rows_of(results)}
    lines = ["| benchmark | CrypTen | here | ratio |", "|---|---:|---:|---:|"]
    for task, ours, threads, what in MPC:
        pair = found.get((task, "crypten", threads)), found.get((task, ours, threads))
        if None in pair:
            return Made("howto/mpc", {})
        lines.append(f"| {what} | {show(pair[0])} | {show(pair[1])} | {times(pair[0] / pair[1])} |")
    return Made("howto/mpc", {"protocols": "\n".join([*lines, "", source(results["measured"])])})
