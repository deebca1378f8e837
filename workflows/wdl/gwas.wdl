version 1.0

# Association in parts: a task for each, and one that joins them.
workflow gwas {
    input {
        File bed
        File bim
        File fam
        File pheno
        File? covar
        String options = ""
        Int parts = 22
        String container = "securegen"
    }

    scatter (i in range(parts)) {
        call part {
            input:
                bed = bed, bim = bim, fam = fam, pheno = pheno, covar = covar, options = options, number = i + 1,
                parts = parts, container = container
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
        Int cpu = 2
        Int memory_gb = 4
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
        memory: "~{memory_gb} GB"
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
