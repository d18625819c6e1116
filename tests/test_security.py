"""What a config, a file of results or a working directory may not do: run code, leave results/, reach a shell."""

import ast
import io
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from pretrained_models import sign_model
from safetensors.torch import save_file
from synthetic import write_results
from tokenizers import Tokenizer
from tree import HANGS, ROOT, tiny

from progsem.errors import UserError
from progsem.jobs.job import Job
from progsem.lm import model
from progsem.lm.codegen import model as codegen
from progsem.lm.pretrained import Pretrained
from progsem.lm.resume import RollingState
from progsem.measures import statistics
from progsem.plots import style
from progsem.plots.figures import FIGURES
from progsem.storage import manifest
from progsem.storage.files import load_tensors, read_json, read_table
from progsem.study import configfiles
from progsem.study.config import Study, load
from progsem.study.plan import Plan
from progsem.workflow.rules import COMMAND, command

# ------------------------------------------------- what the sources do not do

# Modules that make objects out of bytes by running what the bytes say.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# Calls that run text, or unpickle unless told not to.
FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.save", "numpy.save", "yaml.load"}
FORBIDDEN |= {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "subprocess.getoutput", "pandas.read_pickle"}
FORBIDDEN |= {
    f"os.{family}{kind}" for family in ("exec", "spawn") for kind in ("l", "le", "lp", "lpe", "v", "ve", "vp")
}


def offences(source: str) -> list[str]:
    """What in a module could run code that comes from a file or from text, as `line: what`."""
    tree = ast.parse(source)
    names: dict[str, str] = {}  # as written -> as imported
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names if alias.asname}
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        else:
            continue
        found += [f"{node.lineno}: {module}" for module in modules if module.split(".")[0] in UNPICKLERS]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        written = ast.unparse(node.func)
        first, *rest = written.split(".")
        called = ".".join([names.get(first, first), *rest])
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        loads_any = called in ("torch.load", "numpy.load") or "allow_pickle" in said
        if (
            called in FORBIDDEN
            or said.get("shell", "False") != "False"
            or said.get("trust_remote_code", "False") != "False"
            or (loads_any and "True" not in said.get("weights_only", "") and said.get("allow_pickle") != "False")
        ):
            found.append(f"{node.lineno}: {called}")
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "from torch import load as read\nread('x', weights_only=False)",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import os as system\nsystem.system('x')",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "def f():\n    eval('1')",
        "exec(compile('1', 'x', 'exec'))",
    ],
)
def test_the_scanner_finds(source):
    assert offences(source)


def test_no_source_unpickles_or_runs_text():
    sources = [*ROOT.glob("src/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    assert len(sources) > 40
    assert {str(path): found for path in sources if (found := offences(path.read_text(encoding="utf-8")))} == {}


def test_rules_quote_what_comes_from_the_config():
    """Every rule runs a command that is put together and quoted in one place, whatever stands in a slice."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow" / "rules").glob("*.smk")]
    rules = [rule for text in texts for rule in re.split(r"^ *rule(?: \w+)?:", text, flags=re.MULTILINE)[1:]]
    assert len(rules) == 18
    for rule in rules:
        assert rule.split("shell:")[1].split()[:1] == ["COMMAND"]
    assert COMMAND == "{params.command} 2>&1 | log {log}"  # a log is named by digests and names
    hostile = '\'; touch pwned; $(touch pwned) `touch pwned` "{x}" \\ \n'
    made = command("corpus", hostile, threads=2)(None, {"a": "b c"}, {}, 1)
    assert shlex.split(made) == [
        *"python -m progsem corpus --slice".split(),
        hostile,
        *"--threads 2 --input a".split(),
        "b c",
    ]


# ---------------------------------------------------------------------- names

HOSTILE_NAMES = [
    *("", ".", "..", "../x", "/etc", "a/b", "a b", "a.b", "-rf", "--help", "_x", "~", "~root", "*", "a\\b", "C:x"),
    *(
        "$(touch pwned)",
        "`touch pwned`",
        "$HOME",
        "a;b",
        "a|b",
        "a&b",
        "a'b",
        'a"b',
        "a\nb",
        "x\n",
        "\nx",
        "x\r",
        "x\0",
    ),
    *("{seed}", "{wildcards.seed}", "%s", "\u0430lt", "\uff58", "x\u2044y", "x\u202ey", "e\u0301", "\u0661", "x" * 41),
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_hostile_names_are_refused(name):
    with pytest.raises(UserError, match="^config: study: given"):
        load({"study": name})
    alternatives = {"alternatives": {name: {"move": "turn_left"}}, "difficulty_matched": name}
    with pytest.raises(UserError, match=r"^config: interventions\.alternatives"):
        load({"interventions": alternatives})


def paths_of(study: Study) -> list[str]:
    """Every path that the plan of a study names."""
    plan = Plan(study)
    artifacts = [plan.corpus, plan.tokens, plan.lm, plan.traces, plan.probes, plan.statistics, *plan.probed()]
    return [
        *(artifact.folder for artifact in artifacts),
        *plan.shards(plan.corpus, "train"),
        *plan.shards(plan.tokens, "test"),
        *plan.everywhere([plan.lm, plan.traces, *plan.probed()], "manifest"),
        *plan.before(str(study.lm.seeds[0]), str(study.lm.steps), "manifest"),
        *plan.files(plan.statistics).values(),
        *plan.manifests(),
    ]


def test_paths_of_odd_studies_stay_inside_results():
    odd = ["0", "a-", "a_", "a--b", "con", "x" * 40, "results", "figures"]
    study = {
        "lm": {"seeds": [0, 2**63 - 1]},
        "interventions": {
            "alternatives": {
                name: dict(zip(("move", "turn_left"), (meaning, other), strict=True))
                for name, (meaning, other) in zip(
                    odd,
                    [(a, b) for a in ("turn_left", "turn_right", "pick_marker") for b in ("move", "put_marker", a)],
                    strict=False,
                )
            },
            "difficulty_matched": "0",
        },
        "figures": {"title": "../../x /etc/passwd $(touch pwned)"},
    }
    for name in odd:
        for path in paths_of(load({"study": name, **study})):
            assert re.fullmatch(r"results(/[A-Za-z0-9][A-Za-z0-9._-]*)+", path)
            assert os.path.normpath(path) == path and ".." not in path


# -------------------------------------------------------------- hostile files


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path) -> Path:
    """The file that must not come about."""
    return tmp_path / "pwned"


def bombs(folder: Path, mark: Path) -> list[Path]:
    """A pickle, the same in torch's archive, and one behind the header of safetensors and of Arrow."""
    pickled = pickle.dumps(Bomb(mark))
    archive = io.BytesIO()
    torch.save({"x": Bomb(mark)}, archive)
    header = json.dumps({"__metadata__": {"x": "y"}}).encode()
    contents = {
        "plain": pickled,
        "archive": archive.getvalue(),
        "safetensors": len(header).to_bytes(8, "little") + header + pickled,
        "arrow": b"ARROW1\0\0" + pickled + b"ARROW1",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_bombs_go_off_where_they_are_unpickled(tmp_path, mark):
    plain, archive, *_ = bombs(tmp_path, mark)
    pickle.loads(plain.read_bytes())
    assert mark.exists()
    mark.unlink()
    torch.load(archive, weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("bomb", ["plain", "archive", "code"])
def test_a_pretrained_model_runs_nothing(bomb, tmp_path, mark):
    """Neither what its weights are pickled with, nor code of its own."""
    folder = sign_model(tmp_path / "given")
    if bomb == "code":
        (folder / "theirs.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\n", encoding="utf-8")
        told = {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config"}}
        (folder / "config.json").write_text(json.dumps(told), encoding="utf-8")
    else:
        bombs(tmp_path, mark)
        (folder / "model.safetensors").unlink()
        shutil.copyfile(tmp_path / bomb, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read") as caught:
        Pretrained.load(folder)
    assert "\n" not in str(caught.value) and not mark.exists()


def test_no_reader_sets_off_a_bomb(tmp_path, mark):
    shape = codegen.Shape(vocabulary=9, layers=1, width=8, heads=4, rotary=2)
    whole = tmp_path / "config.json", tmp_path / "model.safetensors"
    codegen.CodeGen(shape).save(whole[1], whole[0])
    for bomb in bombs(tmp_path, mark):
        readers = {
            "weights": lambda path=bomb: model.load(path, whole[0], torch.device("cpu")),
            "model config": lambda path=bomb: model.load(whole[1], path, torch.device("cpu")),
            "training state": lambda path=bomb: load_tensors(path),
            "table": lambda path=bomb: read_table(path),
            "json": lambda path=bomb: read_json(path),
            "manifest": lambda path=bomb: manifest.read(path),
            "study": lambda path=bomb: configfiles.read_config(path),
        }
        for name, read in readers.items():
            with pytest.raises(UserError) as caught:
                read()
            assert str(bomb) in str(caught.value) and "\n" not in str(caught.value), name
        with pytest.raises(Exception, match="."):  # the library's own error: no job reads a tokenizer
            Tokenizer.from_file(str(bomb))
        assert not mark.exists()
    assert model.load(whole[1], whole[0], torch.device("cpu"))  # so it is not the reading that fails


def test_a_rolling_state_that_is_a_bomb_is_refused(tmp_path, mark):
    for bomb in bombs(tmp_path, mark):
        state = RollingState(Job("train", {}, {}, {"weights": [tmp_path / "step" / "model.safetensors"]}), 0)
        state.path.parent.mkdir(exist_ok=True)
        bomb.replace(state.path)
        with pytest.raises(UserError, match=re.escape(str(state.path))):
            state.load()
        assert not mark.exists()


def test_a_bomb_in_the_place_of_an_input_is_refused_by_its_checksum(tmp_path, mark):
    """Whatever it is that would read it."""
    made = tmp_path / "model.safetensors"
    save_file({"x": torch.zeros(2)}, made)
    manifest.write(Job("train", {}, {}, {}), tmp_path, [made])
    job = Job("traces", {}, {"weights": [made]}, {})
    assert manifest.verify_inputs(job)
    for bomb in bombs(tmp_path, mark):
        bomb.replace(made)
        with pytest.raises(UserError, match="model.safetensors: damaged"):
            manifest.verify_inputs(job)
    assert not mark.exists()


def test_an_arrow_file_with_pickles_in_its_metadata_does_nothing(tmp_path, mark):
    """pyarrow once unpickled the metadata of such a type (CVE-2023-47248)."""
    pickled = pickle.dumps(Bomb(mark))
    for name in (b"arrow.py_extension_type", b"pandas", b"no.such.type"):
        told = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": pickled}
        field = pa.field("x", pa.int64(), metadata=told)
        for about in ({b"progsem": b"{}"}, {b"progsem": pickled}, {b"pandas": pickled}):
            table = pa.table([pa.array([1, 2, 3])], schema=pa.schema([field], metadata=about))
            path = tmp_path / "table.arrow"
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
            if about.get(b"progsem") == pickled:
                with pytest.raises(UserError, match=re.escape(str(path))):
                    read_table(path)
            else:
                assert read_table(path)[0]["x"].tolist() == [1, 2, 3]
            assert not mark.exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!!python/module:os"])
def test_a_config_that_calls_python_is_refused(tag, tmp_path, mark):
    path = tmp_path / "config.yaml"
    path.write_text(f"study: {tag} ['touch {mark}']\n", encoding="utf-8")
    with pytest.raises(UserError, match="not valid YAML"):
        configfiles.read_config(path)
    assert not mark.exists()


# --------------------------------------------------------------------- titles

TITLES = [
    *("$x^2$", "$", "$$", r"\$5", r"$\frac{ and a % $", "a_b^c {} {seed} {0}", "100 % of $(x) `x`", "\"'\\"),
    *("<b>&amp;</b>", "漢字 é ß ﷽ \U0001f600 e\u0301", " ", "W" * 200),
]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("title", TITLES, ids=ascii)
def test_titles_are_drawn_as_they_are_written(title):
    load({"figures": {"title": title}})
    figure = style.new_figure(style.Results({}, {}, {}, title, sections={}), 9, 4, "heading", "a note", intervals=False)
    (head, _) = figure.texts
    assert head.get_text().replace("\n", "").replace(" ", "").startswith(title.replace(" ", ""))
    # Every sign takes room, so none was taken for the mark of a formula.
    if "$" in title:
        plain = Figure(figsize=(9, 4)).text(0, 0, head.get_text().replace("$", "S"), fontsize=13, weight="bold")
        assert head.get_window_extent().width == pytest.approx(plain.get_window_extent().width, rel=0.05)
    for kind in ("png", "pdf"):
        figure.savefig(io.BytesIO(), format=kind)


# ------------------------------------------------------- the workflow, for real

TITLE = "$(touch pwned) `touch pwned` '; touch pwned; ' \" {seed} {wildcards.step} {} %s \\ & | > pwned <é漢> $x$ !! *"
MODULES = ("json", "torch", "numpy", "matplotlib", "pyarrow", "yaml", "progsem", "sitecustomize", "usercustomize")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> tuple[Path, Path, subprocess.CompletedProcess]:
    """The figures of a tiny study, drawn by Snakemake where everything is named and titled to do harm.

    The sources are in a folder whose name is a command, the working directory is another with modules that
    leave a mark where they are imported. Returns both, and what Snakemake answered.
    """
    top = tmp_path_factory.mktemp("hostile")
    sources, here = top / "it's $(touch pwned) ; `touch pwned`", top / "a 'working' directory; touch pwned"
    sources.mkdir()
    here.mkdir()
    for name in ("Snakefile", "config.yaml", "src", "workflow", "profiles", "envs"):
        (sources / name).symlink_to(ROOT / name)
    study = tiny({"figures": {"title": TITLE}})
    plan = Plan(study)
    # Statistics of results that nobody computed, as if the workflow had come this far.
    job = write_results(top / "synthetic", study)
    for paths in job.outputs.values():
        paths[:] = [here / plan.statistics.file(path.name) for path in paths]
    job.slice |= json.loads(plan.statistics.slice())
    statistics.run(job)
    job.inputs.clear()
    made = [path for name, paths in job.outputs.items() for path in paths if name != "manifest"]
    manifest.write(job, here / plan.statistics.folder, made)
    for module in MODULES:
        trap = f"open({str(top / f'imported-{module}')!r}, 'w')\n"
        (here / f"{module}.py").write_text(trap, encoding="utf-8")
        (here / "results" / f"{module}.py").write_text(trap, encoding="utf-8")
    own = yaml.safe_load((ROOT / "studies" / "tiny.yaml").read_text(encoding="utf-8"))
    own["figures"]["title"] = TITLE
    (here / "study.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    answer = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(sources / "Snakefile")),
            *("--configfile", "study.yaml", "--cores", "1", "--printshellcmds", "results/figures"),
        ],
        cwd=here,
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=HANGS,
    )
    assert answer.returncode == 0, answer.stdout[-6000:]
    return top, here, answer


def test_a_hostile_title_arrives_as_it_is_and_runs_nothing(hostile):
    top, here, answer = hostile
    (command,) = (line for line in answer.stdout.splitlines() if "python -m progsem figures" in line)
    words = shlex.split(command.split(" 2>&1")[0])
    given = words[words.index("--slice") + 1]
    assert json.loads(given) == json.loads(Plan(tiny({"figures": {"title": TITLE}})).figures_slice)
    assert json.loads(given)["figures"]["title"] == TITLE
    drawn = manifest.read(here / "results" / "figures" / "manifest.json")
    assert drawn["slice"]["figures"]["title"] == TITLE
    figures = {path.stem for path in (here / "results" / "figures").glob("*.png")}
    # The tiny study has nothing for these: too few checkpoints with controls, edits and writers, alternatives at one
    # offset, no variants.
    assert set(FIGURES) - figures == {
        *("baselines_over_training", "alternatives_by_offset", "edits_over_training", "synthesis_over_training"),
        "variants",
        "scale",
    }


def test_nothing_came_about_outside_results(hostile):
    top, here, _ = hostile
    # "pwned" stands in the names of folders as well, but is none itself.
    assert [path for path in top.rglob("*") if path.name == "pwned"] == []
    assert not (ROOT / "pwned").exists()
    expected = {"results", ".snakemake", "study.yaml", *(f"{module}.py" for module in MODULES)}
    assert {path.name for path in here.iterdir()} <= expected


def test_modules_in_the_working_directory_are_not_imported(hostile):
    top, _, _ = hostile
    assert sorted(path.name for path in top.glob("imported-*")) == []
