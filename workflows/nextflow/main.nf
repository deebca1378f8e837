// Association in parts: a job for each, and one that joins them. Genotypes stay in the folder where they are.
//
//   securegen plan --bfile cohort --pheno cohort.pheno.tsv --covar cohort.covar.tsv --threads 2 --out study --json > plan.json
//   nextflow run workflows/nextflow/main.nf -c workflows/nextflow/nextflow.config -params-file plan.json \
//       --bfile cohort --pheno cohort.pheno.tsv --covar cohort.covar.tsv --out study
//
// plan.json says how many parts, and the memory, time and cores of each; --parts 22 is another number of them. Other options
// of securegen gwas go into --options, in quotes.

params.bfile = null
params.pheno = null
params.covar = null
params.options = ''
params.out = 'study'

process GWAS_PART {
    label 'securegen'
    tag "${part}/${params.parts}"

    input:
    val part
    tuple path(bed), path(bim), path(fam)
    path pheno
    path covar

    output:
    path "${params.out}.${part}of${params.parts}*"

    script:
    def covariates = covar ? "--covar ${covar}" : ''
    """
    securegen gwas --bfile ${bed.baseName} --pheno ${pheno} ${covariates} ${params.options} \
        --blocks ${part}/${params.parts} --threads ${task.cpus} --quiet --out ${params.out}
    """
}

process MERGE {
    label 'securegen_small'
    publishDir '.', mode: 'copy', saveAs: { name -> name - 'joined/' }

    input:
    path parts

    output:
    path "joined/*"

    script:
    """
    securegen merge ${params.out} --quiet
    mkdir joined
    for file in ${params.out}.*; do
        [[ \$file =~ ^${params.out}[.][0-9]+of[0-9]+[.] ]] || mv "\$file" joined
    done
    """
}

workflow {
    if (!params.bfile || !params.pheno) {
        error 'give --bfile PREFIX and --pheno FILE'
    }
    def fileset = ['bed', 'bim', 'fam'].collect { suffix -> file("${params.bfile}.${suffix}", checkIfExists: true) }
    def pheno = file(params.pheno, checkIfExists: true)
    def covar = params.covar ? file(params.covar, checkIfExists: true) : []
    def parts = GWAS_PART(channel.of(1..params.parts), fileset, pheno, covar)
    MERGE(parts.collect())
}
