"""The genotypes of a study: files or a reader -> a reader of the samples and variants that the filters leave."""

from __future__ import annotations

import numpy as np

from securegen.errors import UsageError
from securegen.io.fileset_checks import refuse_control_characters
from securegen.io.filesets import apart
from securegen.io.genotypes import FORMATS
from securegen.io.text import count
from securegen.model import GenotypeReader, SelectableReader
from securegen.study import selection
from securegen.study.coding import recoded
from securegen.study.consented import consented
from securegen.study.held import Held, governing, held
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.ploidy import split_par
from securegen.study.relabelled import Relabelled
from securegen.vocabulary import ADDITIVE

DIPLOID = "genetic models need people with two copies, as in plink2"


def held_genotypes(inputs: Inputs, log: Log, *, haploid: bool = False) -> tuple[SelectableReader, Held]:
    """As `open_genotypes`, and the log, whose lines wait where a policy governs: `Held.tell` says them, once a door allows."""
    with held(inputs, log) as waiting:
        reader = open_genotypes(inputs, waiting, haploid=haploid)
    return reader, waiting


def open_genotypes(
    inputs: Inputs,
    log: Log = silent,
    opened: SelectableReader | None = None,
    *,
    haploid: bool = False,
    parts: bool = False,
) -> SelectableReader:
    """Open the genotypes (or take a reader), apply the sample and variant filters and settle the dosage grid.

    haploid: X, Y and MT too, for who has a design for each; with a genetic model X alone, where it is as regenie has it; parts:
    whoever asks takes the part that `blocks` names.
    Raises UsageError when nothing is left, and for a genetic model of fractional dosages.
    """
    return chosen_genotypes(inputs, log, opened, haploid=haploid, parts=parts)[0]


def chosen_genotypes(
    inputs: Inputs, log: Log, opened: SelectableReader | None, *, haploid: bool, parts: bool
) -> tuple[SelectableReader, SelectableReader | None]:
    """As `open_genotypes`, and for `everybody_in` the same variants of all people in the files, None where these are all or a
    reader was given. Both have one table of variants in memory."""
    if inputs.blocks is not None and not parts:
        raise UsageError("`blocks` is for tables of association and of quality control")
    files = inputs.genotypes
    reader = opened if opened is not None else files.open(log)
    if opened is not None:
        refuse_control_characters("genotypes in memory", reader.samples, reader.variants)
    log(
        f"{files.name if opened is None else 'genotypes in memory'}: {len(reader.samples)} samples, "
        f"{len(reader.variants)} variants"
    )
    if opened is None and files.form is FORMATS["bgen"]:
        log(f"REF is the {'last' if files.ref_last else 'first'} allele of the BGEN; --ref-last and --ref-first choose")
    if inputs.split_par is not None:
        named = split_par(reader.variants, inputs.split_par)
        ends = int((named.chromosome != reader.variants.chromosome).sum())
        log(f"--split-par {inputs.split_par}: {count(ends, 'variant')} of X on PAR1 and PAR2, as autosomal")
        if ends:
            reader = Relabelled(reader, reader.samples, named)
    policy = governing(inputs)
    fewest = 0 if policy is None else int(policy["limits.smallest_cohort"])
    keep = selection.chosen_samples(reader.samples, inputs.keep, inputs.remove, log, fewest)
    keep[keep] = consented(inputs, reader.samples.take(np.flatnonzero(keep)), log)
    wanted = selection.chosen_variants(reader.variants, inputs.extract, inputs.exclude, log)
    wanted &= selection.in_range(reader.variants, inputs.chr, inputs.from_bp, inputs.to_bp, log)
    coded = inputs.coding != ADDITIVE
    wanted &= selection.supported(
        reader.variants, wanted, log, haploid=haploid and not coded, xchr_model=inputs.x_model,
        why=DIPLOID if coded else selection.ONE_DESIGN, x=haploid and coded and inputs.x_as_stored,
    )  # fmt: skip
    if not wanted.any():
        raise UsageError(
            "the filters leave no variant: `extract`, `exclude`, `chr`, `from_bp` and `to_bp` act together"
        )
    everybody = None
    if (inputs.keep or inputs.remove) and opened is None and policy is not None:
        reader = everybody = reader if wanted.all() else reader.select(variants=np.flatnonzero(wanted))
        wanted = np.ones(len(reader.variants), bool)
    if not (keep.all() and wanted.all()):
        reader = reader.select(
            None if keep.all() else np.flatnonzero(keep), None if wanted.all() else np.flatnonzero(wanted)
        )
    return _settled(inputs, reader, log), everybody


def everybody_in(inputs: Inputs, reader: SelectableReader) -> SelectableReader:
    """Whose use is allowed of all people of `chosen_genotypes`, beside which these can be read."""
    people = consented(inputs, reader.samples, silent)
    reader = apart(reader if people.all() else reader.select(np.flatnonzero(people)))
    return _settled(inputs, reader, silent)


def everybody_beside(inputs: Inputs, reader: GenotypeReader) -> GenotypeReader:
    """As `everybody_in`, at the variants of a reader that these inputs opened; the reader, where these are all or no policy
    governs."""
    if not (inputs.keep or inputs.remove) or not inputs.genotypes.given or governing(inputs) is None:
        return reader
    for haploid in (False, True):
        others = chosen_genotypes(inputs, silent, None, haploid=haploid, parts=True)[1]
        if others is not None and others.variants.digest() == reader.variants.digest():
            return everybody_in(inputs, others)
    return reader


def _settled(inputs: Inputs, reader: SelectableReader, log: Log) -> SelectableReader:
    reader = reader.on_grid(inputs.dosage_grid)
    if reader.dosage_grid > 1:
        log(f"dosages are rounded to 1/{reader.dosage_grid}; the printed precision is that of everything else")
    return recoded(reader, inputs.coding, log)
