#!/bin/bash
# Submit n parts of a command of securegen, and what joins them when all have ended:
#
#   securegen plan --bfile cohort --pheno cohort.pheno.tsv --covar cohort.covar.tsv --threads 2 --out study --json > plan.json
#   workflows/slurm/submit.sh plan.json gwas --bfile cohort --pheno cohort.pheno.tsv --covar cohort.covar.tsv --out study
#   workflows/slurm/submit.sh plan.json encrypt --key key.secret --passphrase-file pass.txt --bfile cohort … --out study
#   workflows/slurm/submit.sh plan.json gwas --cohort study.cohort --design study.design --public key.public --out study
#
# plan.json says how many parts, and the memory, time and cores of each; a number in its place is that of the parts, with
# what part.sbatch asks for. SBATCH holds further options of sbatch, such as SBATCH="--partition=short". Prints the numbers of
# the two jobs. The second one names parts that are not there: ONLY=2,7 in front of the same line submits these alone, and
# what joins them again.
set -euo pipefail
usage() {
    echo "usage: submit.sh PARTS|plan.json COMMAND OPTIONS… --out PREFIX" >&2
    exit 2
}
[ $# -ge 2 ] || usage
here=$(cd "$(dirname "$0")" && pwd)
parts=$1
shift
asked=()
if [ -f "$parts" ]; then
    step=$1
    case "$step $* " in gwas*" --cohort"[\ =]*) step=server ;; *" --cohort"[\ =]*) step="$step --cohort" ;; esac
    read -r parts cores memory minutes < <(
        python3 -c '
import json, sys
step = json.load(open(sys.argv[1]))["steps"][sys.argv[2]]
print(step["blocks"], step["cores"], step["request"]["memory_mb"], step["request"]["minutes"])' "$parts" "$step"
    ) || { echo "submit.sh: that is not what securegen plan --json printed, or $step is no step of it" >&2; exit 2; }
    asked=("--cpus-per-task=$cores" "--mem=${memory}M" "--time=$minutes")
fi
[ "$parts" -ge 1 ] 2>/dev/null || usage
read -ra more <<<"${SBATCH:-}"
more=("${asked[@]}" "${more[@]}")
array=$(PARTS=$parts sbatch --parsable --array="${ONLY:-1-$parts}" "${more[@]}" "$here/part.sbatch" "$@")
finish=$(sbatch --parsable --dependency="afterany:$array" "${more[@]}" "$here/finish.sbatch" "$@")
echo "$array $finish"
