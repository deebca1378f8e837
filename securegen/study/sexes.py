"""The sex of people from a table, where the genotype file has none or another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.tables import SEXES, Table, all_of, read_header, read_table, sex_codes
from securegen.model import GenotypeReader, SelectableReader
from securegen.study import people
from securegen.study.inputs import Inputs, Log
from securegen.study.relabelled import Relabelled
from securegen.vocabulary import is_missing

MALE_WORDS, FEMALE_WORDS = ({word for word, sex in SEXES.items() if sex == code} for code in (1, 2))


def with_sexes(inputs: Inputs, reader: GenotypeReader, log: Log) -> GenotypeReader:
    """The same cohort with the sexes of the column that `sex_name` names: 1 or M male, 2 or F female, 0 or missing unknown.

    A person whom the table does not know keeps the sex of the genotype file. Raises UsageError and InputError.
    """
    if inputs.sex_name is None:
        return reader
    table = _table(inputs, inputs.sex_name)
    words = table.columns[inputs.sex_name]
    for i, word in enumerate(words):
        if word.lower() not in SEXES and word != "0" and not is_missing(word):
            raise InputError(
                f"{table.path}, line {table.line[i]}: sex {word!r} in column {inputs.sex_name}: 1 or M is male, 2 or F "
                "female, 0 or NA unknown"
            )
    codes = {word.lower() for word in words}
    if "0" in codes and not codes & FEMALE_WORDS and codes & MALE_WORDS:
        log(
            f"WARNING: column {inputs.sex_name} of {table.path} holds 0 and no female: 0 is read as unknown; if it means female, "
            "write 2 or F"
        )
    row = people.join(reader.samples, table).row
    told = np.where(row >= 0, sex_codes(words)[np.maximum(row, 0)], 0).astype(np.int8)
    own = reader.samples.sex
    sex = np.where(told > 0, told, own).astype(np.int8)
    other = int(((own > 0) & (sex != own)).sum())
    if other:
        log(f"WARNING: --sex-name: {other} people have another sex in the genotype file: the table counts")
    log(f"--sex-name {inputs.sex_name}: {int((sex == 1).sum())} males, {int((sex == 2).sum())} females, "
        f"{int((sex == 0).sum())} unknown")  # fmt: skip
    selectable: SelectableReader = reader  # type: ignore[assignment]
    return Relabelled(selectable, replace(reader.samples, sex=sex), reader.variants)


def _table(inputs: Inputs, name: str) -> Table:
    """The phenotype or the covariate table, whichever has the column. Raises UsageError where none or both do."""
    paths = [path for path in (inputs.pheno, inputs.covar) if path]
    found = [path for path in dict.fromkeys(paths) if name in read_header(path)]
    if len(found) != 1:
        raise UsageError(
            f"`sex_name` {name}: {'both tables have' if found else 'no table has'} this column ({', '.join(paths)})"
        )
    return read_table(found[0], all_of(found[0], [name]))
