"""Tables of kinship, components and whole-genome models, as plink2 and regenie write them. Those with people in them are
readable by their owner alone. Each is a part of what passed the door (`Gate.passed`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from securegen.errors import InputError
from securegen.governance.gate import Gate
from securegen.io.output import PRIVATE, atomic, write_text
from securegen.model import FloatArray, Samples, Variants
from securegen.results.rows import lines_text
from securegen.structure.kinship import Pairs

KIN0: Final = ("#FID1", "IID1", "FID2", "IID2", "NSNP", "HETHET", "IBS0", "KINSHIP")
DIGITS: Final = 6  # as plink2 writes them
WEIGHT_DIGITS: Final = 9


def write_kin0(path: str | Path, samples: Samples, found: Iterable[Pairs], *, gate: Gate) -> int:
    """Write pairs as plink2's --make-king-table; returns how many. HETHET, IBS0: shares of NSNP. Raises StorageError."""
    gate.passed()
    written = 0
    with atomic(path, mode=PRIVATE) as stream:
        stream.write(("\t".join(KIN0) + "\n").encode())
        for part in found:
            both = np.maximum(part.variants, 1)
            stream.write(
                lines_text(
                    [
                        samples.fid[part.first], samples.iid[part.first], samples.fid[part.second],
                        samples.iid[part.second], part.variants, part.both_het / both, part.opposite / both, part.kinship,
                    ],
                    DIGITS,
                )
            )  # fmt: skip
            written += len(part)
    return written


def write_people(path: str | Path, samples: Samples, *, gate: Gate) -> None:
    """Write a list of samples, for --keep and --remove. Raises StorageError."""
    gate.passed()
    with atomic(path, mode=PRIVATE) as stream:
        stream.write(b"#FID\tIID\n" + lines_text([samples.fid, samples.iid]))


def write_numbers(path: str | Path, samples: Samples, names: Sequence[str], values: FloatArray, *, gate: Gate) -> None:
    """Write (N, C) float64 under #FID IID and these names. Raises StorageError."""
    gate.passed()
    with atomic(path, mode=PRIVATE) as stream:
        stream.write(("\t".join(("#FID", "IID", *names)) + "\n").encode())
        stream.write(lines_text([samples.fid, samples.iid, *np.ascontiguousarray(values.T)], DIGITS))


def write_eigenvalues(path: str | Path, values: FloatArray, *, gate: Gate) -> None:
    """Write one eigenvalue per line, as plink2. Raises StorageError."""
    gate.passed()
    with atomic(path) as stream:
        stream.write(lines_text([values], DIGITS))


def write_loadings(
    path: str | Path, variants: Variants, frequency: FloatArray, loadings: FloatArray, names: Sequence[str],
    used: np.ndarray, *, gate: Gate
) -> None:  # fmt: skip
    """Write public loadings, as the sites of a study read them. used: (M,) bool. Raises StorageError."""
    gate.passed()
    own = variants.take(np.flatnonzero(used))
    columns = [own.chromosome, own.position, own.id, own.effect_allele, own.other_allele, frequency[used]]
    header = ("#CHROM", "POS", "ID", "EFFECT_ALLELE", "OTHER_ALLELE", "FREQ", *names)
    with atomic(path) as stream:
        stream.write(("\t".join(header) + "\n").encode())
        stream.write(lines_text([*columns, *np.ascontiguousarray(loadings[used].T)]))


def write_loco(path: str | Path, samples: Samples, values: FloatArray, *, gate: Gate) -> None:
    """Write (23, N) predictions without each chromosome, as regenie's step 1: people as FID_IID in the order of this text,
    six digits, NA for who was not analysed. Raises StorageError; InputError where two samples have one such name."""
    gate.passed()
    names = [f"{fid}_{iid}" for fid, iid in zip(samples.fid, samples.iid, strict=True)]
    order = sorted(range(len(names)), key=names.__getitem__)
    for a, b in zip(order, order[1:], strict=False):
        if names[a] == names[b]:
            raise InputError(f"two samples are {names[a]} when FID and IID are joined by _: rename one of them")
    with atomic(path, mode=PRIVATE) as stream:
        stream.write((" ".join(["FID_IID", *(names[i] for i in order)]) + "\n").encode())
        for number, row in enumerate(values[:, order].tolist(), 1):
            cells = ("NA" if v != v else f"{v:.{DIGITS}g}" for v in row)
            stream.write((" ".join([str(number), *cells]) + "\n").encode())


def as_printed(values: FloatArray) -> FloatArray:
    """The same numbers as a reader finds them in a .loco file."""
    return np.array([float(f"{v:.{DIGITS}g}") for v in values.ravel().tolist()]).reshape(values.shape)


def write_prediction_list(path: str | Path, files: Mapping[str, str]) -> None:
    """Write a line per phenotype, with its .loco file; names are found from the list's own folder. Raises StorageError."""
    write_text(path, "".join(f"{phenotype} {name}\n" for phenotype, name in files.items()))


def write_score_file(path: str | Path, variants: Variants, effects: FloatArray, phenotype: str, *, gate: Gate) -> None:
    """Write weights of a polygenic score in the form of the PGS Catalog. effects: (M,) of a copy, of which the digits are
    written that every machine computes alike. Raises StorageError."""
    gate.passed()
    header = f"#pgs_name={phenotype}\n#trait_reported={phenotype}\n#weight_type=beta\n#variants_number={len(effects)}\n"
    names = ("rsID", "chr_name", "chr_position", "effect_allele", "other_allele", "effect_weight")
    columns = [
        variants.id,
        variants.chromosome,
        variants.position,
        variants.effect_allele,
        variants.other_allele,
        effects,
    ]
    with atomic(path) as stream:
        stream.write((header + "\t".join(names) + "\n").encode() + lines_text(columns, WEIGHT_DIGITS))
