"""What a mistyped option is answered with: the nearest choice, the range of a number, and plink2's and regenie's flags
that are spelt another way here, or are not here."""

from __future__ import annotations

import difflib
from typing import Any

import click

# Flag of another program -> its counterpart. docs/howto/other-programs.md shows the same table; a test compares them.
FOREIGN = {
    "--ci": "L95 and U95, of 95 %, are always in a linear table",
    "--covar-variance-standardize": "covariates are scaled exactly by themselves",
    "--glm": "the command is gwas; --model chooses the test",
    "--assoc": "the command is gwas; --model chooses the test",
    "--pca": "the command is pca",
    "--make-king-table": "the command is kinship",
    "--firth": "--correction firth, of the score test's rows of small P",
    "--spa": "--correction spa, of the score test's rows of small P",
    "--logistic": "--model logistic (a score test)",
    "--linear": "--model linear",
    "--freq": "the command is qc",
    "--hardy": "the command is qc",
    "--clump": "the command is ld",
    "--r": "the command is ld, OUT.ld",
    "--r2": "the command is ld",
    "--r-unphased": "the command is ld, OUT.ld",
    "--ld-window-kb": "the command is ld, whose window is in kb",
    "--from-kb": "--from-bp",
    "--to-kb": "--to-bp",
    "--from-mb": "--from-bp",
    "--to-mb": "--to-bp",
    "--zs": "--gzip",
    "--gz": "--gzip",
    "--bed": "--bfile PREFIX",
    "--phenoFile": "--pheno",
    "--phenoCol": "--pheno-name",
    "--phenoColList": "--pheno-name",
    "--covarFile": "--covar",
    "--covarCol": "--covar-name",
    "--covarColList": "--covar-name",
    "--catCovarList": "--covar-categorical",
    "--bt": "--model logistic (cases and controls are recognised by themselves)",
    "--qt": "--model linear (quantitative traits are recognised by themselves)",
    "--step": "step 1 is the command step1, step 2 is gwas with --pred",
    "--test": "--dominant, --recessive",
    "--bsize": "blocks are chosen by --memory",
    "--minMAC": "--mac",
    "--pThresh": "--p-thresh, with --correction",
    "--vc-maxAAF": "--vc-max-aaf",
}
KINDS = (click.Choice, click.types.FloatParamType, click.types.IntParamType)


def hint(flag: str) -> str | None:
    """What stands here for a flag of another program; None for a flag that is not known."""
    return FOREIGN.get(flag)


def name_numbers(command: click.Command) -> None:
    """Let a number without a name of its own be N, or X where it is no count, in help texts."""
    for p in command.params:
        if p.metavar is None and isinstance(p.type, click.types.IntParamType | click.types.FloatParamType):
            p.metavar = "N" if isinstance(p.type, click.types.IntParamType) else "X"


def kinder(command: click.Command) -> None:
    """Let the options of a command answer a wrong value with what they expect."""
    for p in command.params:
        kind = p.type
        convert = kind.convert
        if getattr(convert, "kinder", False) or not isinstance(kind, KINDS):
            continue

        def answer(value: Any, param: Any, ctx: Any, kind: Any = kind, convert: Any = convert) -> Any:
            try:
                return convert(value, param, ctx)
            except click.BadParameter as error:
                raise click.BadParameter(expected(kind, value, error.message), ctx=ctx, param=param) from None

        answer.kinder = True  # type: ignore[attr-defined]
        kind.convert = answer  # type: ignore[method-assign]


def expected(kind: Any, value: Any, otherwise: str) -> str:
    """What a value should have been.

    >>> expected(click.FloatRange(0, 0.5), "5%", "")
    "expected a number from 0 to 0.5, found '5%'"
    >>> expected(click.IntRange(1), "0", "")
    "expected a whole number of at least 1, found '0'"
    >>> expected(click.Choice(["linear", "logistic"]), "linaer", "")
    "'linaer' is not one of 'linear', 'logistic'. Did you mean 'linear'?"
    """
    if isinstance(kind, click.Choice):
        names = [str(c) for c in kind.choices]
        near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
        more = f" Did you mean {near[0]!r}?" if near else ""
        return f"{value!r} is not one of {', '.join(map(repr, names))}.{more}"
    if isinstance(kind, click.types.FloatParamType | click.types.IntParamType):
        what = "a whole number" if isinstance(kind, click.types.IntParamType) else "a number"
        low, high = getattr(kind, "min", None), getattr(kind, "max", None)
        bounds = f" from {low} to {high}" if low is not None and high is not None else ""
        bounds = bounds or (
            f" of at least {low}" if low is not None else f" of at most {high}" if high is not None else ""
        )
        return f"expected {what}{bounds}, found {value!r}"
    return otherwise
