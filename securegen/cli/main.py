"""The `securegen` command: subcommands are imported when called, errors become one line and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from securegen.cli import crash
from securegen.cli.command import JSON, Group, example, print_record, refuse_repeats
from securegen.cli.examples import EXAMPLES
from securegen.cli.lockdown import lock_down_process
from securegen.cli.manners import hint, kinder, name_numbers
from securegen.cli.signals import Ended, orderly_end
from securegen.cli.stores import refuse_stores
from securegen.errors import SecuregenError, StorageError
from securegen.io.schema import one_line
from securegen.local.processes import end_with_parent
from securegen.version import VERSION

# In the order in which people meet them.
SECTIONS = {
    "Everything on this machine": {
        "example": "Write the example cohort, to try things on.",
        "run-local": "Run every role of a study on this machine, each as its own process.",
    },
    "A server that sees ciphertexts alone": {
        "plan": "Choose parameters and print time, bytes and precision before anything is encrypted.",
        "keygen": "Make a key for a plan.",
        "key": "Passphrases and backups of key files.",
        "encrypt": "Encrypt a cohort and its design (the owner's side).",
        "gwas": "Association: on genotypes in the clear or, as the server, on an encrypted cohort.",
        "prs": "Polygenic scores: on genotypes in the clear or, as the server, on an encrypted cohort.",
        "decrypt": "Decrypt, verify and write the tables (the owner's side).",
        "prs-step": "One party's step of encrypted scores.",
    },
    "Your own genotypes, in the clear": {
        "qc": "Allele frequencies, missingness and Hardy–Weinberg tests in the clear.",
        "kinship": "Kinship of all pairs of samples, and which relatives to leave out.",
        "pca": "Principal components.",
        "ld": "Correlations of variants, clumps of a table, credible sets.",
        "dp": "Counts, frequencies, hits and histograms with noise that protects whole people.",
        "step1": "The whole-genome model of phenotypes, whose predictions --pred reads.",
    },
    "Several sites, one table": {
        "study": "A federated study: set it up, accept it, see how far it is.",
        "site": "Take part in a federated study as one site.",
    },
    "Parties that share secrets": {
        "certs": "Keys and certificates of the parties of a multi-party run.",
        "party": "Be one party of a multi-party run.",
        "dealer": "Deal correlated randomness to the parties of a multi-party run.",
    },
    "People, and what they allow": {
        "consent": "A register of consent: import, withdraw, check, list.",
        "pseudonyms": "Replace ids by keyed pseudonyms, and reverse it.",
    },
    "Who may ask what, and what was done": {
        "policy": "What a data steward allows: write it, sign it, ask what it would decide.",
        "audit": "The audit log of a policy: whether it is whole, what it says, proofs, alerts, a page.",
        "receipt": "Signed receipts of runs: show, verify, sign.",
        "pia": "An impact assessment of a finished run, in the parts of Article 35(7) GDPR.",
        "crate": "Package a finished run for others: a Five Safes RO-Crate.",
    },
    "Results: look at them, compare, repeat": {
        "report": "A report of a finished run as one HTML file: results, precision, cost, who learned what.",
        "plot": "Pictures of a finished run: Manhattan, QQ, scores, cost, planned noise.",
        "check": "Compare two tables of results.",
        "merge": "Join the parts of a run that --blocks made.",
        "meta": "Meta-analysis of finished tables.",
        "risk": "What a finished run would give away: power of membership tests, columns per sample, small scores.",
        "inspect": "Say what a file or folder is, without any key.",
        "rerun": "Run again what a PREFIX.run.json records.",
        "twin": "A simulated cohort of a study's public shape, to rehearse on.",
        "doctor": "Check this installation.",
        "completion": "Print a script for the shell that completes commands and options.",
    },
}
GO_ON = "what was written whole is kept, run the command again to go on"
# Three lines to copy.
WELCOME = f"""securegen {VERSION}: association and polygenic scores on genotypes that stay hidden. To see it work:

  securegen example study && cd study
  securegen {EXAMPLES["run-local"]}
  securegen report result

The second line encrypts 500 simulated people, computes on the ciphertexts, decrypts, and compares with the clear.
All commands: securegen --help. One of them: securegen COMMAND --help.
"""
COMMANDS = {name: text for section in SECTIONS.values() for name, text in section.items()}


class PathText(click.types.StringParamType):
    """Text that the shell completes as a file or a folder."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self._kind)]


def _complete_paths(command: click.Command) -> None:
    for p in command.params:
        if isinstance(p.type, click.types.StringParamType) and str(p.metavar or "").startswith(("F", "PREFIX")):
            p.type = PathText("dir" if str(p.metavar).startswith("FOLDER") else "file")


def finished(command: click.Command, name: str) -> click.Command:
    """A command with its example, and paths that the shell completes; of a group, every command in it."""
    command.name = name.rpartition(" ")[2]
    if name in EXAMPLES:
        command.epilog = example(f"securegen {EXAMPLES[name]}")
    _complete_paths(command)
    name_numbers(command)
    kinder(command)
    refuse_repeats(command)
    refuse_stores(command)
    for inner, below in command.commands.items() if isinstance(command, click.Group) else ():
        finished(below, f"{name} {inner}")
    return command


class Welcome(click.exceptions.NoArgsIsHelpError):
    """`securegen` alone."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(WELCOME, file=file, nl=False, err=True)


class LazyGroup(Group):
    """Finds `securegen.cli.<name>:command` when the subcommand is used; prints the record that --json asks for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"securegen.cli.{cmd_name.replace('-', '_')}")
        return finished(module.command, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands without importing them."""
        found = [CompletionItem(n, help=text) for n, text in COMMANDS.items() if n.startswith(incomplete)]
        return found + [item for item in super().shell_complete(ctx, incomplete) if item.value.startswith("-")]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            raise Welcome(ctx)
        ctx.meta[JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        lock_down_process()
        if not ctx.meta[JSON]:
            with crash.no_traceback():
                return super().invoke(ctx)
        try:
            with crash.no_traceback():
                result = super().invoke(ctx)
        except click.exceptions.Exit:
            print_record(ctx)
            raise
        except BaseException as error:
            print_record(ctx, error)
            raise
        print_record(ctx)
        return result


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=example(f"securegen {EXAMPLES['']}"),
)
@click.version_option(VERSION, prog_name="securegen")
def main() -> None:
    """Genome-wide association and polygenic risk scores on genotypes that stay hidden.

    Flags use plink2's words. Every command has --help with an example, --dry-run, --json, and --config for its options
    in a file.
    """


def entry() -> None:
    """Run the command line. Whatever happens, one line on standard error and an exit code; never a traceback."""
    end_with_parent()
    crash.open_streams()
    code = _run()
    if (why := crash.settle_streams()) is not None and not code:
        if why:
            _say(f"Error: standard output did not take the result: {why}")
        code = StorageError.exit_code
    sys.exit(code)


def _run() -> int:
    try:
        with orderly_end(), crash.no_traceback():
            code = main(prog_name="securegen", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.NoSuchOption as error:
        here = hint(error.option_name)
        text = one_line(f"No such option {error.option_name!r}; here: {here}." if here else error.format_message())
        with contextlib.suppress(OSError, ValueError):
            click.UsageError(text, error.ctx).show()
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:  # its message is the help, of many lines
        with contextlib.suppress(OSError, ValueError):
            error.show()
        return error.exit_code
    except click.ClickException as error:
        error.message = one_line(error.message)  # type: ignore[misc]
        with contextlib.suppress(OSError, ValueError):
            error.show()
        return error.exit_code
    except SecuregenError as error:
        _say(f"Error: {error}")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say(f"Interrupted; {GO_ON}")
        return 130
    except Ended as error:
        _say(f"Ended by {error.name}; {GO_ON}")
        return error.exit_code


def _say(text: str) -> None:
    """Print to standard error, if it takes it: one line, whatever text of others is in it."""
    with contextlib.suppress(OSError, ValueError):
        print(one_line(text), file=sys.stderr, flush=True)
