"""Structure of a cohort: who is related, its principal components, and the whole-genome model of a phenotype."""
