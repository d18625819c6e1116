"""`python -m reference`, at the root of the repository: write every generated file that differs from what is there."""

from progsem.study import baseline
from reference import conda, config, tables

TEXTS = {
    config.SCHEMA: config.schema_text,
    config.TABLE: config.table_text,
    baseline.FILE: baseline.baseline_text,
    tables.PAGE: tables.page_text,
    conda.CONDA: lambda: conda.conda_text(conda.LOCK.read_text(encoding="utf-8")),
}

for path, generate in TEXTS.items():
    text = generate()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
