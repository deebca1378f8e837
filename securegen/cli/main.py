"""The `securegen` command: subcommands are imported when called, errors become one line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys

import click

from securegen.errors import SecuregenError, StorageError
from securegen.version import VERSION

COMMANDS = {
    "plan": "Choose parameters and print time, bytes and precision before anything is encrypted.",
    "keygen": "Make a key for a plan.",
    "encrypt": "Encrypt a cohort and its design (the owner's side).",
    "gwas": "Association: on --bfile in the clear, on an encrypted cohort as the server.",
    "prs": "Polygenic scores: on --bfile in the clear, on an encrypted cohort as the server.",
    "prs-step": "One party's step of encrypted scores.",
    "decrypt": "Decrypt, verify and write the tables (the owner's side).",
    "qc": "Allele frequencies, missingness and Hardy–Weinberg tests in the clear.",
    "report": "A report of a finished run as one HTML file: results, precision, cost, who learned what.",
    "plot": "Pictures of a finished run: Manhattan, QQ, scores, cost, planned noise.",
    "check": "Compare two tables of results.",
    "study": "A federated study: set it up, accept it, see how far it is.",
    "site": "Take part in a federated study as one site.",
    "party": "Be one party of a multi-party run.",
    "dealer": "Deal correlated randomness to the parties of a multi-party run.",
    "certs": "Keys and certificates of the parties of a multi-party run.",
    "run-local": "Run every role of a study on this machine, each as a process of its own.",
}


class LazyGroup(click.Group):
    """Finds `securegen.cli.NAME:command` when the subcommand is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"securegen.cli.{cmd_name.replace('-', '_')}")
        return module.command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="securegen")
def main() -> None:
    """Genome-wide association and polygenic risk scores on genotypes that stay hidden.

    Flags use plink2's words. Try:  securegen run-local gwas --engine ckks --bfile examples/cohort
    --pheno examples/cohort.pheno.tsv --pheno-name QT --covar examples/cohort.covar.tsv --out result
    """


def entry() -> None:
    """Run the command line; never a traceback for an error that securegen knows."""
    try:
        code = main(prog_name="securegen", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SecuregenError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(StorageError.exit_code)
    except MemoryError:
        print("Error: out of memory: use fewer threads or smaller blocks", file=sys.stderr)
        sys.exit(SecuregenError.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted; what was written whole is kept, run the command again to go on", file=sys.stderr)
        sys.exit(130)
