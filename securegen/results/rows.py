"""Result tables in plink2's columns: tab separated, one header line, NA where missing; and reading them back.

`read_sumstats` knows plink2's, regenie's and GWAS-SSF's columns by their header and gives all of them plink2's names.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from securegen.errors import InputError
from securegen.io.output import atomic
from securegen.io.text import read_text
from securegen.kernels.decimal_text import float_text, integer_text, join_rows, put_text
from securegen.model import Variants
from securegen.results.cells import MISSING, are_whole, log10p_of_text, numbers, positions, refuse_impossible
from securegen.vocabulary import ADD, ADDITIVE, CODINGS, OK

if TYPE_CHECKING:
    import pandas as pd

FULL_DIGITS = 17


Cells = tuple[np.ndarray, np.ndarray, np.ndarray]  # bytes (B,) uint8; where each row's text begins, and its length


def column_text(values: np.ndarray, digits: int = FULL_DIGITS) -> list[str]:
    """Text of one column: integers and text as they are, floats with `digits` significant digits, NaN as NA."""
    data, starts, lengths = _cells(values, digits)
    return [data[a : a + n].tobytes().decode() for a, n in zip(starts.tolist(), lengths.tolist(), strict=True)]


def _cells(values: np.ndarray, digits: int) -> Cells:
    if values.dtype.kind == "f":
        return _fixed(*float_text(values.astype(np.float64, copy=False), digits))
    if values.dtype.kind in "iu":
        return _fixed(*integer_text(values.astype(np.int64, copy=False)))
    words = [str(v) for v in values.tolist()]
    data = np.frombuffer("\n".join([*words, ""]).encode(), np.uint8)
    ends = np.flatnonzero(data == 10)
    if len(ends) != len(words):  # a word holds a line's end
        raw = [word.encode() for word in words]
        data, ends = np.frombuffer(b"\n".join([*raw, b""]), np.uint8), np.cumsum([len(r) + 1 for r in raw]) - 1
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    return data, starts, ends - starts


def _p_cells(p: np.ndarray, log10p: np.ndarray, digits: int) -> Cells:
    """As `_cells`. Where p underflows, mantissa and exponent come from −log10 p, so that no p is ever 0."""
    text, lengths = float_text(p.astype(np.float64, copy=False), digits)
    for i in np.flatnonzero(p < 1e-300).tolist():
        exponent = int(np.ceil(log10p[i]))
        mantissa = f"%.{min(digits, 12) - 1}f" % 10 ** (exponent - log10p[i])
        put_text(text, lengths, i, f"{mantissa}e-{exponent}" if not mantissa.startswith("10") else f"1e-{exponent - 1}")
    return _fixed(text, lengths)


def _fixed(text: np.ndarray, lengths: np.ndarray) -> Cells:
    return text.reshape(-1), np.arange(len(text), dtype=np.int64) * text.shape[1], lengths


def table_text(
    variants: Variants, columns: dict[str, np.ndarray], names: Sequence[str], digits: int = FULL_DIGITS
) -> bytes:
    """Lines of a table for the variants of one block, in the order of `names`."""
    own = {
        "#CHROM": variants.chromosome, "POS": variants.position, "ID": variants.id,
        "REF": variants.other_allele, "ALT": variants.effect_allele, "A1": variants.effect_allele,
    }  # fmt: skip
    if not len(variants):
        return b""
    cells = []
    for name in names:
        values = columns[name] if name in columns else own[name]
        if len(values) != len(variants):
            raise ValueError(f"column {name} has {len(values)} rows, {len(variants)} expected")
        cells.append(_p_cells(values, columns["LOG10_P"], digits) if name == "P" else _cells(values, digits))
    return _joined(cells)


def lines_text(columns: Sequence[np.ndarray], digits: int = FULL_DIGITS) -> bytes:
    """Lines of columns that have one row each: text, integers, or floats with so many significant digits."""
    return _joined([_cells(values, digits) for values in columns]) if len(columns[0]) else b""


def _joined(cells: Sequence[Cells]) -> bytes:
    offsets = np.cumsum([0, *(len(data) for data, _, _ in cells[:-1])])
    starts = np.stack([start + offset for (_, start, _), offset in zip(cells, offsets, strict=True)])
    lengths = np.stack([length for _, _, length in cells])
    return join_rows(np.concatenate([data for data, _, _ in cells]), starts, lengths).tobytes()


def write_table(path: str | Path, names: Sequence[str], parts: Iterable[bytes]) -> None:
    """Write header and lines (`table_text` of each block), whole or not at all."""
    with atomic(path) as stream:
        stream.write(("\t".join(names) + "\n").encode())
        for part in parts:
            stream.write(part)


# Column of another program -> its plink2 name.
REGENIE_NAMES: Final = {
    "CHROM": "#CHROM", "GENPOS": "POS", "ID": "ID", "ALLELE0": "REF", "ALLELE1": "ALT", "A1FREQ": "A1_FREQ", "N": "OBS_CT",
    "TEST": "TEST", "BETA": "BETA", "SE": "SE", "CHISQ": "CHISQ", "LOG10P": "LOG10_P", "EXTRA": "ERRCODE",
}  # fmt: skip
GWAS_SSF_NAMES: Final = {
    "chromosome": "#CHROM", "base_pair_location": "POS", "source_id": "ID", "other_allele": "REF", "effect_allele": "ALT",
    "effect_allele_frequency": "A1_FREQ", "n": "OBS_CT", "beta": "BETA", "odds_ratio": "OR", "standard_error": "SE",
    "ci_lower": "L95", "ci_upper": "U95", "p_value": "P", "neg_log_10_p_value": "LOG10_P", "errcode": "ERRCODE",
}  # fmt: skip
GWAS_SSF_CHROMOSOMES: Final = {"23": "X", "24": "Y", "25": "MT"}
PLINK2_NAMES: Final = {"LOG(OR)_SE": "SE", "NEG_LOG10_P": "LOG10_P", "CHROM": "#CHROM", "A1FREQ": "A1_FREQ"}
_TEXT: Final = ("#CHROM", "ID", "REF", "ALT", "ALT1", "A1", "AX", "OMITTED", "TEST", "ERRCODE")
_INTEGERS: Final = ("POS", "OBS_CT", "CASE_CT", "CTRL_CT")
INTERACTS: Final = f"{ADD}x"  # begins TEST of a product with a covariate
JOINT: Final = "DF"  # ends TEST of several coefficients
_OF_TWO: Final = ("HOM", "DOMDEV")  # terms of plink2's models of two degrees of freedom
_UNUSED: Final = ("rsid", "variant_id", "ref_allele")


def read_sumstats(path: str | Path) -> pd.DataFrame:
    """A table of summary statistics under plink2's names, one row per variant.

    Knows plink2's tables (ours too), regenie's step 2 and GWAS-SSF by their header; plain, gzip or zstd. Always there:
    `#CHROM POS ID REF ALT A1 LOG10_P`; statistics as in the file, float64, NaN where missing. LOG10_P is computed from the
    text of P where the file has none, so that a P below 1e-308 keeps its rank. Of the tests of a file one is kept
    (`kept_test`), rows of covariates are left out. `frame.attrs["format"]` names the format. Raises InputError naming the
    file, the line or the column.
    """
    import pandas as pd

    text, first_row = read_text(path), 2
    while text.startswith("##"):
        text, first_row = text.partition("\n")[2], first_row + 1
    first = text.partition("\n")[0]
    header = first.split()
    if {"CHROM", "GENPOS", "ALLELE1", "LOG10P"} <= set(header):
        kind, names = "regenie", REGENIE_NAMES
    elif {"chromosome", "base_pair_location", "effect_allele"} <= set(header):
        kind, names = "gwas-ssf", GWAS_SSF_NAMES
    elif (
        {"ID", "A1"} <= set(header)
        and header[0] in ("#CHROM", "CHROM")
        and {"P", "LOG10_P", "NEG_LOG10_P"} & set(header)
    ):
        kind, names = "plink2", PLINK2_NAMES
    else:
        raise InputError(
            f"{path} is not a table of results: its header is neither plink2's (#CHROM … ID … A1 … P), regenie's "
            "(CHROM GENPOS …) nor GWAS-SSF's (chromosome base_pair_location …)"
        )
    separator = "\t" if "\t" in first else None
    rows = 0
    for number, line in enumerate(io.StringIO(text), 1):
        where = f"{path}, line {number + first_row - 2}"
        if "\r" in line.removesuffix("\n").removesuffix("\r"):
            raise InputError(f"{where}: a carriage return inside the line")
        if (found := len(line.rstrip("\n").split(separator))) != len(header):
            raise InputError(f"{where}: {found} fields, the header has {len(header)}")
        rows = number - 1
    if not rows:
        raise InputError(f"{path} has no rows: a header line and a line per variant are expected")
    cells = pd.read_csv(
        io.StringIO(text), sep=separator or r"\s+", dtype=object, keep_default_na=False, quoting=csv.QUOTE_NONE
    ).rename(columns=names)
    if kind == "gwas-ssf":  # 25 is MT there, and XY elsewhere
        numbered = [GWAS_SSF_CHROMOSOMES.get(name, name) for name in cells.get("#CHROM", ())]
        cells["#CHROM"] = pd.Series(numbered, dtype=object)
    if kind == "gwas-ssf" and "ID" not in cells:
        cells["ID"] = _first_known([cells[n] for n in ("rsid", "variant_id") if n in cells], len(cells))
    frame = pd.DataFrame(
        {n: cells[n] if n in _TEXT or n.endswith("?") else numbers(cells[n], path, n, first_row)
         for n in cells if n not in _UNUSED}
    )  # fmt: skip
    absent = [n for n in ("#CHROM", "POS", "ID", "ALT" if kind != "plink2" else "A1") if n not in frame]
    if absent:
        raise InputError(f"{path} has no column for {', '.join(absent)}")
    if "A1" not in frame:
        frame["A1"] = frame["ALT"]
    if "LOG10_P" not in frame and "P" not in cells:
        raise InputError(f"{path} has no column for P")
    if "LOG10_P" not in frame:
        frame["LOG10_P"] = log10p_of_text(cells["P"], path, first_row)
    else:
        refuse_impossible(frame["LOG10_P"], path, first_row)
    if "P" not in frame:
        frame["P"] = 10.0 ** -frame["LOG10_P"]
    if "ERRCODE" in frame:
        frame["ERRCODE"] = [OK if code in MISSING else code for code in frame["ERRCODE"]]
    if "TEST" in frame:
        frame = frame[frame["TEST"] == kept_test(frame["TEST"].unique(), path)].reset_index(drop=True)
    for name in _INTEGERS:
        if name in frame and (are_whole(frame[name]) or name == "POS" and bool(frame[name].notna().all())):
            frame[name] = positions(frame[name], path, first_row) if name == "POS" else frame[name].astype(np.int64)
    frame.attrs["format"] = kind
    return frame


def kept_test(found: Sequence[str], path: str | Path) -> str:
    """The word of TEST whose rows are read: of the one product with a covariate, else ADD, or in a table of another genetic
    model its one. Raises InputError.

    >>> kept_test(["AGE", "ADD"], "t"), kept_test(["DOM", "SEX"], "t"), kept_test(["ADD", "ADDxAGE", "USER_2DF"], "t")
    ('ADD', 'DOM', 'ADDxAGE')
    """
    products = [word for word in found if word.startswith(INTERACTS)]
    if len(products) == 1 and ADD in found:
        return products[0]
    words = [word for word in (*CODINGS.values(), *_OF_TWO) if word in found]
    if words[:1] == [CODINGS[ADDITIVE]] or len(words) == 1 and words[0] not in _OF_TWO:
        return words[0]
    listed = ", ".join(map(str, found[:5]))
    raise InputError(f"{path} has no row of the additive test, or of one other genetic model: TEST is {listed}")


def compared_tests(found: Sequence[str], path: str | Path) -> list[str]:
    """The words of TEST whose rows are about the variant, not about covariates alone. Raises InputError."""
    kept = kept_test(found, path)
    if not kept.startswith(INTERACTS):
        return [kept]
    return [word for word in found if word in (ADD, kept) or word.endswith(JOINT)]


def _first_known(columns: Sequence[pd.Series], count: int) -> list[str]:
    """(count,) the first value of each row that is not missing, else `.`."""
    return [next((c[i] for c in columns if c[i] not in MISSING), ".") for i in range(count)]
