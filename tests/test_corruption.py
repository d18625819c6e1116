"""Damaged results: whatever reads a file that is not what its job has written says so, in one line, and makes nothing.

Each row of the table damages one file of a finished study in one way and runs a
job that reads it, as Snakemake would.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jobs import Jobs
from tree import TINY, Tree, say

from progsem.storage import manifest

LAST, BEFORE = "seed-0/step-000020", "seed-0/step-000010"
# Jobs by the folder, below results/, of what they have made.
TOKENS, TRAIN, TRACES, PROBES = "tokens/*", f"lm/*/{LAST}", f"traces/*/{LAST}", f"probes/2x32-????????-*/{LAST}"
MIRROR, EDITS = f"interventions/mirror-*/{LAST}", f"edits/original-*/{LAST}"
STATISTICS, FIGURES = "statistics/*", "figures"

# --------------------------------------------------------------------- damages


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


def flipped(where: float):
    """One bit is another, that far into the file (0 to 1)."""

    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[round(where * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    damage.__name__ = f"flipped at {where}"
    return damage


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def unreadable(path: Path) -> None:
    """The disk fails to read it, even for root."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def missing(path: Path) -> None:
    path.unlink()


def another(source: str):
    """It is the file that `source` is a path of, from its own folder."""

    def damage(path: Path) -> None:
        (other,) = path.parent.glob(source)
        assert other.read_bytes() != path.read_bytes()
        shutil.copyfile(other, path)

    damage.__name__ = f"is {source}"
    return damage


def text(content: str):
    def damage(path: Path) -> None:
        path.write_text(content, encoding="utf-8")

    damage.__name__ = f"says {content}"
    return damage


def edited(old: str, new: str):
    """One passage of its text is another."""

    def damage(path: Path) -> None:
        before = path.read_text(encoding="utf-8")
        assert old in before
        path.write_text(before.replace(old, new, 1), encoding="utf-8")

    damage.__name__ = f"{old} edited"
    return damage


def other_number(path: Path) -> None:
    """One digit of a table or of a manifest's seconds is another."""
    content = path.read_text(encoding="utf-8")
    at = content.index(".", content.index('"seconds"') if path.name == manifest.NAME else 0) + 1
    path.write_text(content[:at] + str((int(content[at]) + 1) % 10) + content[at + 1 :], encoding="utf-8")


def other_checksum(path: Path) -> None:
    """A digit of its first file's checksum is another."""
    content = path.read_text(encoding="utf-8")
    (name, said), *_ = json.loads(content)["files"].items()
    path.write_text(content.replace(said, f"{'0' if said[0] != '0' else '1'}{said[1:]}"), encoding="utf-8")


# ----------------------------------------------------------------------- table

EARLIER = f"../step-{BEFORE[-6:]}"
# Job that reads, name of the input, which of its files, damages. The name `X/manifest` means that beside X.
# Whoever reads a file asks for its checksum, so that each input has a few damages, and each damage a few inputs.
TABLE = [
    (TOKENS, "train", 0, [empty, dangling]),
    (TOKENS, "test", 0, [another("../validation/00000.arrow"), a_folder]),
    (TRAIN, "train", 1, [longer, flipped(0.5), flipped(1), another("00000.arrow")]),
    (TRAIN, "model", 0, [half, flipped(0.01), another("../*20/model.*")]),
    (TRAIN, "config", 0, [empty, edited('"n_head": 4', '"n_head": 8'), text("{}"), text("null")]),
    (TRAIN, "state", 0, [flipped(0.5), another("model.safetensors"), missing]),
    (TRACES, "weights", 0, [garbage, flipped(0.001), another(f"{EARLIER}/model.safetensors")]),
    (TRACES, "config", 0, [edited('"rotary_dim": 8', '"rotary_dim": 4')]),
    (TRACES, "validation", 0, [short, another("../test/00000.arrow"), unreadable]),
    (PROBES, "programs", 0, [half, another(f"{EARLIER}/programs.arrow")]),
    (PROBES, "generated", 0, [flipped(0.99), another("forced.arrow")]),
    (MIRROR, "forced", 0, [longer, another(f"{EARLIER}/forced.arrow")]),
    (EDITS, "weights", 0, [flipped(0.5), another(f"{EARLIER}/model.safetensors")]),
    (EDITS, "train", 0, [short, another("../test/00000.arrow")]),
    (STATISTICS, "programs", 1, [garbage, missing]),
    (STATISTICS, "edits", 1, [half, another("counterfactuals.arrow")]),
    (STATISTICS, "counterfactuals", 0, [flipped(0.5)]),
    (STATISTICS, "predictions", 4, [half, another("../step-*20/predictions.arrow")]),
    (STATISTICS, "accuracy", 2, [short, other_number, a_folder]),
    (STATISTICS, "metrics", 2, [empty, another(f"{EARLIER}/metrics.csv")]),
    (STATISTICS, "corpus", 1, [flipped(0.5), another("00000.arrow")]),
    (FIGURES, "summary", 0, [half, other_number, unreadable]),
    (FIGURES, "gallery", 0, [text("[]"), flipped(0.5)]),
    (FIGURES, "checkpoints", 0, [short, another("probes.csv")]),
    (FIGURES, "probes", 0, [other_number]),
    (FIGURES, "regression", 0, [edited("\n", "\n\n"), dangling]),
    # Manifests: of corpus, tokens, checkpoints, traces, probes, statistics.
    (TOKENS, "train/manifest", 0, [empty, other_checksum, missing, a_folder]),
    (TRAIN, "train/manifest", 0, [text("[]"), text("{}"), text("null"), edited("tokens", "corpus"), dangling]),
    (TRAIN, "model/manifest", 0, [flipped(0.5), another("../step-*20/manifest.json")]),
    (TRACES, "weights/manifest", 0, [garbage, another(f"{EARLIER}/manifest.json")]),
    (PROBES, "programs/manifest", 0, [other_number, text("true"), unreadable]),
    (STATISTICS, "predictions/manifest", 4, [edited("{\n ", "{\n\0"), missing]),
    (STATISTICS, "manifests", 1, [other_number, another("../../corpus/*/manifest.json")]),
    (FIGURES, "summary/manifest", 0, [half, text('{"files": {}, "checksum": ""}')]),
]
CASES = [(job, name, which, damage) for job, name, which, damages in TABLE for damage in damages]


@pytest.fixture(scope="module")
def jobs(tree, tmp_path_factory):
    """The study's results in a folder of their own, with the optimizer's state that the last interval starts from."""
    root = tmp_path_factory.mktemp("study")
    shutil.copytree(tree.root / "results", root / "results")
    jobs = Jobs(tree, root)
    # state.safetensors has been deleted. The job that made it makes the same one again, byte for byte.
    assert jobs.ask(jobs.arguments(f"lm/*/{BEFORE}", "again")).status == 2
    (first,) = root.glob("results/lm/*/seed-0/step-000000")
    assert jobs.ask(jobs.arguments("lm/*/seed-0/step-000000", "again")).status == 0
    shutil.copy(root / "again" / first.relative_to(root / "results") / "state.safetensors", first)
    assert jobs.ask(jobs.arguments(f"lm/*/{BEFORE}", "again")).status == 0
    (before,) = root.glob(f"results/lm/*/{BEFORE}")
    shutil.copy(root / "again" / before.relative_to(root / "results") / "state.safetensors", before)
    shutil.rmtree(root / "again")
    yield jobs
    jobs.close()


@pytest.fixture
def mended(jobs):
    """After the test, results are what they were before it."""
    shutil.copytree(jobs.root / "results", jobs.root / "kept")
    yield
    shutil.rmtree(jobs.root / "results")
    (jobs.root / "kept").rename(jobs.root / "results")


def damaged_file(jobs: Jobs, job: str, name: str, which: int) -> Path:
    """Path, from the study's folder, of an input of a job, or of the manifest beside it."""
    name, _, beside = name.partition("/")
    path = Path(list(jobs.manifest(job)["inputs"][name])[which])
    if beside:
        path = next(folder / manifest.NAME for folder in path.parents if (jobs.root / folder / manifest.NAME).exists())
    return path


@contextlib.contextmanager
def damaged(path: Path, damage: Callable[[Path], None]) -> Iterator[None]:
    """Within it, a file is damaged."""
    kept = path.with_name(f"{path.name}.kept")
    shutil.copy2(path, kept)
    try:
        damage(path)
        yield
    finally:
        if path.is_dir():
            path.rmdir()
        kept.replace(path)


def standing(root: Path) -> dict[str, tuple]:
    """Every file below a folder with its time and size."""
    found = ((path, path.lstat()) for path in root.rglob("*") if path.is_symlink() or path.is_file())
    return {str(path): (about.st_mtime_ns, about.st_size) for path, about in found}


def refusal(jobs: Jobs, job: str) -> str:
    """The line that a job ends with, without having written anything, beside the earlier outputs or elsewhere."""
    for outputs in ("results", "elsewhere"):
        before = standing(jobs.root / "results")
        line = jobs.ask(jobs.arguments(job, outputs)).line
        assert standing(jobs.root / "results") == before
        assert not (jobs.root / "elsewhere").exists()
    return line


@pytest.mark.parametrize("job, name, which, damage", CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_damaged_input_is_refused(jobs, job, name, which, damage):
    path = damaged_file(jobs, job, name, which)
    with damaged(jobs.root / path, damage):
        line = refusal(jobs, job)
    assert line.startswith(f"progsem: {path}: ")
    assert "run snakemake" in line


def test_undamaged_inputs_are_taken(jobs):
    """Which is what makes the refusals worth something."""
    for job in (TOKENS, TRAIN, TRACES, PROBES, MIRROR, EDITS, STATISTICS, FIGURES):
        answer = jobs.ask(jobs.arguments(job, "elsewhere"))
        assert answer.status == 0, answer.said
    for path in (jobs.root / "elsewhere").rglob("*.arrow"):
        assert path.read_bytes() == Path(str(path).replace("/elsewhere/", "/results/")).read_bytes()
    shutil.rmtree(jobs.root / "elsewhere")


@pytest.mark.parametrize(
    "job, place, source",
    [
        (TRAIN, f"lm/*/{BEFORE}", f"lm/*/{LAST}"),
        (TRACES, f"lm/*/{LAST}", f"lm/*/{BEFORE}"),
        (PROBES, f"traces/*/{LAST}", f"traces/*/{BEFORE}"),
        (STATISTICS, f"interventions/mirror-*/{BEFORE}", f"interventions/shift-*/{BEFORE}"),
    ],
)
def test_a_whole_result_in_the_place_of_another_is_refused(jobs, mended, job, place, source):
    """All its files fit its manifest, which says where it belongs."""
    results = jobs.root / "results"
    (folder,), (other,) = results.glob(place), results.glob(source)
    arguments = jobs.arguments(job)
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    (folder / "state.safetensors").touch()  # the last one is not kept
    line = jobs.ask(arguments).line
    assert line.startswith(f"progsem: {folder.relative_to(jobs.root)}/manifest.json: ")
    assert "it is another result's" in line


def test_the_name_of_other_code_is_no_other_place(jobs, mended):
    """`progsem keep` puts results of earlier code, with their manifests, under the present names."""
    (folder,) = (jobs.root / "results" / "traces").glob("*-*-*")
    kept = folder.rename(folder.with_name(f"renamed-{folder.name.split('-')[1]}-01234567"))
    arguments = [word.replace(folder.name, kept.name) for word in jobs.arguments(PROBES, "elsewhere")]
    answer = jobs.ask(arguments)
    shutil.rmtree(jobs.root / "elsewhere")
    assert answer.status == 0, answer.said


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_what_no_job_reads_is_seen_by_verify(jobs, mended, name):
    """Tokenizers are for whoever uses the checkpoints."""
    (path,) = jobs.root.glob(f"results/tokens/*/tokenizer/{name}")
    flipped(0.5)(path)
    answer = jobs.ask(["verify"])
    assert answer.status == 1
    (line,) = (line for line in answer.said.splitlines() if line.startswith("damaged"))
    assert str(path.relative_to(jobs.root)) in line


@pytest.mark.parametrize("content", [b"", b"a,b\n1\n", b"a\n1,2\n", b'a,b\n"1,2\n', b"a,b\n\xff,1\n"])
def test_a_damaged_table_is_named(tmp_path, content):
    """For whoever reads one by hand."""
    from progsem.errors import UserError
    from progsem.storage.files import read_csv

    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(UserError, match="table.csv: "):
        read_csv(tmp_path / "table.csv")


def test_an_arrow_file_with_any_bit_flipped_is_read_or_named(jobs, tmp_path):
    """For whoever reads one by hand: never another exception, though numbers may be others."""
    from progsem.errors import UserError
    from progsem.storage.files import read_table

    (source,) = jobs.root.glob(f"results/traces/*/{LAST}/programs.arrow")
    content = source.read_bytes()
    target = tmp_path / "flipped.arrow"
    refused = 0
    for at in random.Random(0).sample(range(len(content)), 300) + list(range(len(content) - 2000, len(content), 7)):
        target.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        try:
            read_table(target)
        except UserError as error:
            refused += str(target) in str(error) and "\n" not in str(error)
    assert refused > 50


# --------------------------------------------------------------- the workflow


@pytest.fixture
def copy(tree, tmp_path) -> Tree:
    """Another copy of the repository, with the finished study and the compiled kernels."""
    shutil.copytree(tree.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".snakemake"))
    return Tree(tmp_path / "copy")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def complaints(output: str) -> list[str]:
    """The lines in Snakemake's output that are ours, but for how long it is going to take."""
    assert "Traceback" not in output
    return [line for line in output.splitlines() if line.startswith("progsem: ") and "progsem: about " not in line]


def test_no_figures_from_a_damaged_table(copy):
    """And the earlier ones stay as they are."""
    figures = copy.root / "results" / "figures"
    earlier = digests(figures)
    (table,) = copy.root.glob("results/statistics/*/probes.csv")
    other_number(table)
    answer = copy.ask("--cores", "2", *TINY, *say({"figures": {"title": "Another title"}}))
    assert answer.returncode != 0
    (line,) = complaints(answer.stdout)
    assert line.startswith(f"progsem: {table.relative_to(copy.root)}: damaged")
    assert digests(figures) == earlier


def test_doing_what_the_line_says_mends_the_results(copy):
    """A shard and a trace file are damaged when the statistics are needed; each is named, deleted, and made again."""
    (statistics,) = copy.root.glob("results/statistics/*")
    (shard,) = copy.root.glob("results/corpus/*/train/00001.arrow")
    (programs,) = copy.root.glob(f"results/traces/*/{LAST}/programs.arrow")
    expected = [digests(folder) for folder in (shard.parent, programs.parent, statistics)]
    shutil.rmtree(statistics)
    needed = ("--cores", "2", *TINY, "--until", "statistics")
    flipped(0.5)(shard)
    half(programs)
    for _ in range(2):
        answer = copy.ask(*needed)
        assert answer.returncode != 0 and not list(statistics.glob("*"))
        (line,) = complaints(answer.stdout)
        named = copy.root / line.split(": ")[1]
        assert named in (shard, programs) and "delete it and run snakemake again" in line
        named.unlink()
    copy.snakemake(*needed)
    found = [digests(folder) for folder in (shard.parent, programs.parent, statistics)]
    for before, after in zip(expected, found, strict=True):
        for name in before.keys() - {manifest.NAME, "summary.json"}:  # which say how long it took
            assert after[name] == before[name], name
    assert copy.planned(*TINY) == {}
