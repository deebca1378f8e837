"""Options of noise on phenotypes, of commands that read these."""

from __future__ import annotations

import click

noise_options = [
    click.option(
        "--dp-epsilon", type=float, metavar="E",
        help="Add noise to every phenotype: ε for a person's value, and for nothing else about them.",
    ),
    click.option("--dp-delta", type=float, metavar="D",
                 help="δ for quantitative phenotypes: Gaussian noise [without it: Laplace]."),
    click.option(
        "--dp-bounds", metavar="LO,HI", help="Smallest and largest value of quantitative phenotypes, known without the data."
    ),
]  # fmt: skip
