"""The example of every help text, as one walk: a line uses what the lines before it wrote. Tests run them."""

from __future__ import annotations

COHORT = "--bfile cohort"
STUDY = f"{COHORT} --pheno cohort.pheno.tsv --pheno-name QT --covar cohort.covar.tsv"
SCORE = "--score cohort.score.tsv"
LEDGER = "--ledger ledger.json"
PATIENTS = f"{COHORT} --keep patients.txt"  # a private model answers few people per client
STEWARD = "--key rules/steward.secret"
PASS = "--passphrase-file pass.txt"

EXAMPLES = {
    "": f"run-local gwas --engine ckks {STUDY} --compare-plain --out result",
    "example": "example study",
    "run-local": f"run-local gwas --engine ckks {STUDY} --compare-plain --out result",
    "run-local gwas": f"run-local gwas --engine ckks {STUDY} --out result",
    "run-local prs": f"run-local prs --engine ckks {COHORT} {SCORE} --out scores",
    "run-local qc": f"run-local qc --engine ckks {COHORT} --out quality",
    "plan": f"plan {STUDY} --out study",
    "keygen": f"keygen --plan study.plan.json {PASS} --out key",
    "key": f"key backup key.secret {PASS} --new-passphrase-file safe.txt --out safe/key.secret",
    "key backup": f"key backup key.secret {PASS} --new-passphrase-file safe.txt --out safe/key.secret",
    "key passphrase": "key passphrase safe/key.secret --passphrase-file safe.txt --new-passphrase-file new.txt",
    "encrypt": f"encrypt --key key.secret {PASS} {STUDY} --out study",
    "gwas": "gwas --cohort study.cohort --design study.design --public key.public --out study",
    "decrypt": f"decrypt --key key.secret {PASS} --owner study.owner --results study.results --out result",
    "prs": f"prs {COHORT} {SCORE} --out scores",
    "qc": f"qc {COHORT} --out quality",
    "kinship": f"kinship {COHORT} --king-table-filter 0.0442 --king-cutoff 0.0884 --out kin",
    "pca": f"pca {COHORT} --pcs 4 --out components",
    "step1": f"step1 {STUDY} --block 200 --out model",
    "ld": f"ld {COHORT} --clump result.QT.glm.linear --ld-window 100 --out near",
    "dp": f"dp counts {COHORT} --pheno cohort.pheno.tsv --pheno-name CC --sexes --dp-epsilon 0.5 --out released",
    "dp counts": f"dp counts {COHORT} --pheno cohort.pheno.tsv --pheno-name CC --sexes --dp-epsilon 0.5 --out released",
    "dp frequencies": f"dp frequencies {COHORT} --chr 1 --to-bp 40000 --dp-epsilon 0.5 --dp-delta 1e-6 --out released",
    "dp hits": f"dp hits {COHORT} --pheno cohort.pheno.tsv --pheno-name CC --k 5 --dp-epsilon 1 --out released",
    "dp histogram": f"dp histogram {COHORT} --pheno cohort.pheno.tsv --pheno-name QT --edges 15,20,25,30 --dp-epsilon 0.5 "
    "--out released",
    "report": "report result",
    "plot": "plot result --format png,svg --width 1600",
    "risk": f"risk result {COHORT} --max-power 0.95",
    "check": "check result.QT.glm.linear plain.QT.glm.linear",
    "merge": "merge array",
    "meta": "meta result.QT.glm.linear plain.QT.glm.linear --genomic-control --out both",
    "prs-step": f"prs-step encrypt {COHORT} {SCORE} {PASS} --out enc",
    "prs-step encrypt": f"prs-step encrypt {COHORT} {SCORE} {PASS} --out enc",
    "prs-step decrypt": f"prs-step decrypt --key enc.secret {PASS} --owner enc.owner --results enc.results --out scores",
    "prs-step request": f"prs-step request {PATIENTS} --imputation none --out mine",
    "prs-step invite": f"prs-step invite --request mine.request {SCORE} {LEDGER} --out model",
    "prs-step accept": f"prs-step accept --invitation model.invitation {PATIENTS} {PASS} --out mine",
    "prs-step reply": "prs-step reply --cohort mine.cohort --publickey mine.publickey --private model.private "
    f"{SCORE} {LEDGER} --out model",
    "prs-step open": f"prs-step open --key mine.secret {PASS} --owner mine.owner --invitation model.invitation "
    f"--replies model.replies {PATIENTS} --out scores",
    "prs-step challenge": "prs-step challenge --out evaluator",
    "prs-step encrypt-model": "prs-step encrypt-model --publickey person.publickey --private hidden.private "
    f"{SCORE} {LEDGER} --out hidden",
    "prs-step evaluate": "prs-step evaluate --cohort person.cohort --publickey person.publickey "
    "--model hidden.encmodel --challenge evaluator.challenge --out evaluator",
    "prs-step withdraw": f"prs-step withdraw --private unwanted.private {LEDGER} --out unwanted",
    "prs-step offer": "prs-step offer --request mine.request --challenge hospital.challenge --client hospital "
    f"{SCORE} {LEDGER} {PASS} --out vendor",
    "prs-step blind": f"prs-step blind --offer vendor.offer --challenge hospital.challenge {PATIENTS} --out hospital",
    "prs-step answer": "prs-step answer --blinded hospital.blinded --private vendor.private "
    f"{SCORE} {LEDGER} {PASS} --out vendor",
    "prs-step unmask": f"prs-step unmask --rounded vendor.rounded --offer vendor.offer --masks hospital.masks "
    f"{PATIENTS} --out scores",
    "site": "site keygen --state private --out uppsala.public",
    "site keygen": "site keygen --state private --out uppsala.public",
    "site variants": f"site variants {COHORT} --out uppsala.variants.tsv",
    "site run": f"site run --dir shared --state private {STUDY.replace(' --pheno-name QT', '')} --wait 60 --out result",
    "study": "study status --dir shared",
    "study init": "study init --dir shared --key coordinator.secret --site uppsala=uppsala.public "
    "--site oslo=oslo.public --site turku=turku.public --variants uppsala.variants.tsv --variants oslo.variants.tsv "
    "--variants turku.variants.tsv --phenotype QT=quantitative --covariate AGE --covariate SEX",
    "study join": "study join --dir shared --state private --coordinator 0123-4567-89ab-cdef-0123-4567-89ab-cdef "
    "--site oslo=0123-4567-89ab-cdef-0123-4567-89ab-cdef --site turku=0123-4567-89ab-cdef-0123-4567-89ab-cdef",
    "study status": "study status --dir shared",
    "study continue": "study continue --dir shared --key coordinator.secret --without turku --two-sites-learn-each-other "
    "--out onward",
    "study leave": "study leave --dir shared --state private",
    "certs": "certs init-ca --dir authority",
    "certs init-ca": "certs init-ca --dir authority",
    "certs request": "certs request --dir keys --name hospital",
    "certs issue": "certs issue --ca authority --csr keys/hospital.csr --name hospital --rank 0 --out keys/hospital.pem",
    "certs pin": "certs pin keys/hospital.pem",
    "party": "party --parties parties.toml --role phenotypes --pheno cohort.pheno.tsv --pheno-name QT "
    "--covar cohort.covar.tsv --reveal hits --out result",
    "dealer": "dealer --parties parties.toml --out dealer",
    "policy": f"policy init --name Biobank {STEWARD} --out rules/policy.toml",
    "policy init": f"policy init --name Biobank {STEWARD} --set limits.smallest_cohort=20 --out rules/policy.toml",
    "policy sign": f"policy sign rules/policy.toml {STEWARD}",
    "policy check": "policy check rules/policy.toml",
    "policy explain": "policy explain rules/policy.toml --purpose HMB --samples 491 --variants 5000 --columns 7",
    "policy countersign": f"policy countersign --request {'0' * 64} {STEWARD} --out rules/request.signed",
    "pseudonyms": "pseudonyms make --key names.key --out away cohort.fam",
    "pseudonyms make": "pseudonyms make --key names.key --out away cohort.fam",
    "pseudonyms open": "pseudonyms open --key names.key --people cohort.fam --out opened.fam away/cohort.fam",
    "consent": f"consent check --register consent.tsv {COHORT} --purpose DS:MONDO:0005148",
    "consent import": "consent import --register consent.tsv --table consents.tsv",
    "consent withdraw": "consent withdraw --register consent.tsv --people leaving.txt",
    "consent check": f"consent check --register consent.tsv {COHORT} --purpose DS:MONDO:0005148",
    "consent list": "consent list --register consent.tsv",
    "audit": "audit verify governed --auditor seen.json",
    "audit verify": "audit verify governed --auditor seen.json",
    "audit show": "audit show governed --kind key --last 10",
    "audit prove": "audit prove governed --entry 0 --from 1 --out entry0.tlog-proof",
    "audit export": "audit export governed --html --out log.html",
    "audit alerts": "audit alerts governed",
    "pia": "pia result --out result.pia.html",
    "crate": "crate result --project Height --person Analyst --out result.crate",
    "receipt": "receipt verify result --key analyst.pub",
    "receipt sign": "receipt sign result --key analyst.secret",
    "receipt show": "receipt show result",
    "receipt verify": "receipt verify result --key analyst.pub",
    "inspect": "inspect study.cohort --public key.public",
    "rerun": "rerun result.run.json --out again",
    "consent apply": f"consent apply --register consent.tsv --key key.secret {PASS} {COHORT} --out study",
    "twin": "twin --like result --variants 500 --out rehearsal",
    "doctor": "doctor",
    "completion": "completion bash",
}
