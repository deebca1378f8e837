#!/bin/bash
# Submit n parts of a command of securegen, and what joins them when all have ended well:
#
#   workflows/slurm/submit.sh 22 gwas --bfile cohort --pheno cohort.pheno.tsv --covar cohort.covar.tsv --out study
#   workflows/slurm/submit.sh 22 encrypt --key key.secret --passphrase-file pass.txt --bfile cohort … --out study
#   workflows/slurm/submit.sh 22 gwas --cohort study.cohort --design study.design --public key.public --out study
#
# SBATCH holds further options of sbatch, such as SBATCH="--partition=short --mem=8G". Prints the two numbers of jobs.
set -euo pipefail
if [ $# -lt 2 ] || ! [ "$1" -ge 1 ] 2>/dev/null; then
    echo "usage: submit.sh PARTS COMMAND OPTIONS… --out PREFIX" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
parts=$1
shift
read -ra more <<<"${SBATCH:-}"
array=$(sbatch --parsable --array="1-$parts" "${more[@]}" "$here/part.sbatch" "$@")
finish=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes "${more[@]}" "$here/finish.sbatch" "$@")
echo "$array $finish"
