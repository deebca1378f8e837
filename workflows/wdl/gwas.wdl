version 1.0

# Association in parts: a task for each, and one that joins them.
#
#   securegen plan --bfile cohort --pheno cohort.pheno.tsv --covar cohort.covar.tsv --threads 2 --out study --json > plan.json
#
# plan says how many parts, and the memory, time and cores of each.
struct Request {
    Int memory_mb
    Int minutes
}

struct Step {
    Int blocks
    Int cores
    Request request
}

struct Steps {
    Step gwas
}

struct Plan {
    Steps steps
}

workflow gwas {
    input {
        File bed
        File bim
        File fam
        File pheno
        File? covar
        String options = ""
        File plan
        String container = "securegen"
    }
    Plan planned = read_json(plan)
    Step step = planned.steps.gwas

    scatter (i in range(step.blocks)) {
        call part {
            input:
                bed = bed, bim = bim, fam = fam, pheno = pheno, covar = covar, options = options, number = i + 1,
                parts = step.blocks, container = container, cpu = step.cores, memory_mb = step.request.memory_mb,
                minutes = step.request.minutes
        }
    }
    call merge { input: files = flatten(part.files), container = container }

    output {
        Array[File] tables = merge.tables
        File record = merge.record
    }
}

task part {
    input {
        File bed
        File bim
        File fam
        File pheno
        File? covar
        String options
        Int number
        Int parts
        String container
        Int cpu
        Int memory_mb
        Int minutes
    }

    command <<<
        set -euo pipefail
        ln -s ~{bed} cohort.bed && ln -s ~{bim} cohort.bim && ln -s ~{fam} cohort.fam
        securegen gwas --bfile cohort --pheno ~{pheno} ~{"--covar " + covar} ~{options} \
            --blocks ~{number}/~{parts} --threads ~{cpu} --quiet --out study
    >>>

    output {
        Array[File] files = glob("study.*")
    }

    runtime {
        container: container
        docker: container
        cpu: cpu
        memory: "~{memory_mb} MiB"
        runtime_minutes: minutes
        preemptible: 3
    }
}

task merge {
    input {
        Array[File] files
        String container
    }

    command <<<
        set -euo pipefail
        for file in ~{sep=" " files}; do ln -s "$file" .; done
        securegen merge study --quiet
        mkdir joined
        for file in study.*; do [[ $file =~ ^study\.[0-9]+of[0-9]+\. ]] || mv "$file" joined; done
    >>>

    output {
        Array[File] tables = glob("joined/study.*.glm.*")
        File record = "joined/study.run.json"
    }

    runtime {
        container: container
        docker: container
        cpu: 1
        memory: "2 GB"
    }
}
