"""The study's configuration: types, ranges, cross-field checks, stage slices.

`Study` is the single source of truth. The JSON schema in
`workflow/schemas/config.schema.json` and the table in `docs/config.md` are
generated from it. Nothing heavy is imported here: Snakemake reads the config
every time it starts.
"""

from __future__ import annotations

import difflib
import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from progsem.errors import UserError
from progsem.languages.karel import permutations
from progsem.languages.karel.codes import ACTIONS, most_codes
from progsem.limits import FEWEST_STATES, MAX_POSITIONS
from progsem.study.vocabulary import CONTROLS, DEPTHS, GENERATED, LAYER, LAYERS, MEAN, ORIGINAL, SOURCES, SPLITS

Action = Literal[ACTIONS]
FEATURES = (
    "facing",
    "offset_from_start",
    "offset_from_end",
    "wall_ahead",
    "position",
    "neighbour_walls",
    "markers",
    "branch",
)
MOST_STEPS = 999_999  # folders of checkpoints have six digits
# One command names all files that the statistics read, another all shards; the system takes 2 MB at most.
MOST_FILES = 9_000
MOST_SHARDS = 8_000
MOST_GIGABYTES = 16  # of one array, wherever a job holds all of it: what is more is rather a slip than a study
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
HIDDEN_STATE = rf"^({MEAN}|{LAYER}(0|[1-9][0-9]?))$"
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
Name = Annotated[str, Field(pattern=NAME)]
Probability = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1, le=16_384)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]  # more than this, torch does not take
Length = Annotated[int, Field(ge=1, le=60)]
Lengths = Annotated[tuple[Length, Length], Field(description="shortest and longest, inclusive")]
Offset = Annotated[int, Field(ge=-100, le=100)]
Position = Annotated[int, Field(ge=0, le=1000)]
Positions = Annotated[tuple[Position, Position], Field(description="first and last, inclusive")]


class Section(BaseModel):
    """A part of the config: unknown keys are refused, values are not coerced from text."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Worlds(Section):
    """How input worlds are drawn (paper §3, data)."""

    height: int = Field(4, ge=2, le=30, description="rows of the grid, border of walls not counted")
    width: int = Field(4, ge=2, le=30, description="columns of the grid, border of walls not counted")
    wall_probability: Probability = Field(0.1, description="chance that a cell is a wall")
    marker_probability: Probability = Field(0.1, description="chance that a free cell holds a marker")


class Weights(Section):
    """Relative frequency of each statement in sampled programs."""

    pick_marker: float = Field(2, ge=0, le=1_000_000, description="relative frequency of pick_marker()")
    put_marker: float = Field(2, ge=0, le=1_000_000, description="relative frequency of put_marker()")
    turn_left: float = Field(3, ge=0, le=1_000_000, description="relative frequency of turn_left()")
    turn_right: float = Field(3, ge=0, le=1_000_000, description="relative frequency of turn_right()")
    move: float = Field(5, ge=0, le=1_000_000, description="relative frequency of move()")

    @model_validator(mode="after")
    def _some_weight(self):
        if sum(self.model_dump().values()) <= 0:
            raise ValueError("programs.weights: all are 0; give at least one statement a positive weight")
        return self


class Programs(Section):
    """How programs are drawn."""

    train_length: Lengths = Field((1, 4), description="statements in a training program, uniform")
    test_length: Lengths = Field((1, 4), description="statements in a validation or test program, uniform")
    weights: Weights = Weights()
    control_flow: Probability = Field(
        0.0, description="chance that a statement is an if, ifelse, while or repeat instead of an action"
    )
    max_depth: int = Field(2, ge=1, le=4, description="deepest nesting of control flow")
    step_limit: int = Field(
        200, ge=1, le=100_000, description="executed actions and tests after which a program counts as not halting"
    )

    @model_validator(mode="after")
    def _ordered(self):
        for key in ("train_length", "test_length"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"programs.{key} is [{low}, {high}]; give the shorter length first")
        return self

    @property
    def longest(self) -> int:
        """Most statements of a program in any split."""
        return max(self.train_length[1], self.test_length[1])

    def codes(self, extra_statements: int = 0) -> int:
        """Most codes (`karel.codes`) of a program that has up to so many statements more than the longest."""
        return most_codes(self, extra_statements)


class Corpus(Section):
    """How many programs, each with how many worlds."""

    train: int = Field(400_000, ge=1, le=100_000_000, description="training programs")
    validation: int = Field(2_000, ge=1, le=1_000_000, description="validation specifications")
    test: int = Field(6_000, ge=1, le=1_000_000, description="test specifications")
    examples: int = Field(2, ge=1, le=20, description="input/output worlds shown in the text")
    held_out: int = Field(3, ge=0, le=20, description="further worlds, never shown, for strict correctness")
    shard: int = Field(50_000, ge=100, le=1_000_000, description="programs in one Arrow shard")
    seed: Seed = Field(0, description="of all random numbers of the corpus")

    @property
    def held_apart(self) -> int:
        """Specifications that no training program may have."""
        return self.validation + self.test

    @property
    def shards(self) -> int:
        """Arrow shards of all splits."""
        return sum(-(-programs // self.shard) for programs in (self.train, self.validation, self.test))


class Tokens(Section):
    """How the text is cut into tokens."""

    encoding: Literal["compact", "spaced"] = Field(
        "compact", description="compact: a token a cell and a statement; spaced: the authors', with space tokens"
    )


def _each_once(key: str, values: tuple) -> None:
    """Refuse a list that has something twice."""
    if len(set(values)) < len(values):
        raise ValueError(f"{key} {list(values)} repeat; give each once")


def _decay_that_shrinks(section: str, recipe: LM | Probes) -> None:
    """Refuse AdamW's decay where a step would take away more than the whole of a weight."""
    if recipe.weight_decay * recipe.learning_rate >= 1:
        raise ValueError(
            f"{section}.weight_decay {recipe.weight_decay:g} times {section}.learning_rate {recipe.learning_rate:g} is "
            "taken from each weight at each step; give values whose product is below 1"
        )


class LM(Section):
    """The CodeGen language model and its training."""

    layers: int = Field(3, ge=1, le=64, description="transformer blocks")
    width: int = Field(128, ge=8, le=8192, description="of the residual stream")
    heads: int = Field(4, ge=4, le=128, description="attention heads; CodeGen wants a multiple of 4")
    rotary: int = Field(32, ge=2, description="dimensions of each head that are rotated by position")
    batch: int = Field(32, ge=1, le=65_536, description="documents per step")
    steps: int = Field(8400, ge=1, le=MOST_STEPS, description="optimizer steps")
    checkpoint_every: int = Field(
        2100, ge=1, le=MOST_STEPS, description="steps between checkpoints; step 0 is always one"
    )
    extra_checkpoints: tuple[Annotated[int, Field(ge=1, le=10**9)], ...] = Field(
        (300, 600, 900, 1200, 1500, 3000),
        max_length=1000,
        description="further ones, where much happens; from `steps` on they are none",
    )
    decay_steps: int = Field(8400, ge=1, le=10**9, description="step at which the linear decay ends")
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="after warm-up")
    final_learning_rate: float = Field(4e-5, ge=0, lt=1, description="at decay_steps")
    warmup_steps: int = Field(200, ge=0, le=10**9, description="steps over which the learning rate rises from 0")
    betas: tuple[Decay, Decay] = Field((0.9, 0.98), description="AdamW's")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's, on matrices")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    initial_std: float = Field(0.08, gt=0, lt=1, description="of the normal that weights are drawn from")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="of matrix products, here and in tracing and probing; auto: bf16 where the hardware multiplies it",
    )
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, max_length=20, description="one language model each")

    @model_validator(mode="after")
    def _shape(self):
        if self.heads % 4:
            raise ValueError(f"lm.heads is {self.heads}; CodeGen's layout wants a multiple of 4")
        if self.width % self.heads:
            raise ValueError(f"lm.width {self.width} is not a multiple of lm.heads {self.heads}")
        size = self.width // self.heads
        if size < 2:
            raise ValueError(
                f"lm.width {self.width} over lm.heads {self.heads} leaves 1 dimension a head; give at least 2, as "
                "positions rotate pairs of them"
            )
        if self.rotary % 2 or self.rotary > size:
            raise ValueError(f"lm.rotary is {self.rotary}; give an even number up to the head size {size}")
        return self

    @model_validator(mode="after")
    def _schedule(self):
        if self.steps % self.checkpoint_every:
            raise ValueError(f"lm.steps {self.steps} is not a multiple of lm.checkpoint_every {self.checkpoint_every}")
        if self.decay_steps < self.steps:
            raise ValueError(
                f"lm.decay_steps {self.decay_steps} is before the last step; give at least lm.steps, {self.steps}"
            )
        if self.warmup_steps >= self.decay_steps:
            raise ValueError(f"lm.warmup_steps {self.warmup_steps} is not before lm.decay_steps {self.decay_steps}")
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"lm.final_learning_rate {self.final_learning_rate:g} is above lm.learning_rate "
                f"{self.learning_rate:g}, from which it decays; lower the first"
            )
        _decay_that_shrinks("lm", self)
        _each_once("lm.seeds", self.seeds)
        return self

    def checkpoints(self) -> list[int]:
        """Steps at which a checkpoint is written, in order, the untrained one first."""
        regular = range(0, self.steps + 1, self.checkpoint_every)
        return sorted({*regular, *(step for step in self.extra_checkpoints if step < self.steps)})

    def before(self, step: int) -> int:
        """The checkpoint from which the one at `step` is trained; the untrained one stands for itself."""
        return max((earlier for earlier in self.checkpoints() if earlier < step), default=step)


class Traces(Section):
    """What is decoded and read at each checkpoint."""

    train: int = Field(8_000, ge=1, le=1_000_000, description="training specifications whose states train the probes")
    validation: int = Field(2_000, ge=1, le=1_000_000, description="validation specifications that choose the probes")
    test: int = Field(6_000, ge=1, le=1_000_000, description="test specifications that are reported")
    layers: Literal["mean", "each"] = Field(
        "mean", description="hidden states kept: their mean over embedding and layers, or each one as well"
    )
    outputs: Literal["shown", "blank", "copied"] = Field(
        "shown", description="the examples' output worlds in the text: as they are, empty floor, or the inputs again"
    )
    extra_statements: int = Field(
        2, ge=0, le=1000, description="statements a generated program may have beyond the longest one in the corpus"
    )


class Probes(Section):
    """Which probes are fitted, and how."""

    features: tuple[Literal[FEATURES], ...] = Field(
        ("facing", "offset_from_start", "wall_ahead"), min_length=1, description="what is read out of a hidden state"
    )
    depths: dict[Literal[tuple(DEPTHS)], tuple[Width, ...]] = Field(
        {"linear": (), "mlp1": (64,), "mlp2": (64, 256)}, description="hidden widths of each probe"
    )
    sources: tuple[Literal[SOURCES], ...] = Field(
        SOURCES,
        min_length=1,
        description="states of the LM's own programs, of fixed reference programs fed to it",
    )
    offsets: tuple[Offset, ...] = Field(
        (-2, -1, 0, 1, 2), description="statements between state and world; 0 is needed"
    )
    seeds: int = Field(2, ge=1, le=100, description="probes of each kind, from different initialisations")
    steps: int = Field(600, ge=1, le=1_000_000, description="optimizer steps of a fit")
    batch: int = Field(512, ge=1, le=65_536, description="states per step")
    learning_rate: float = Field(1e-2, gt=0, lt=1, description="largest of a fit")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's")
    evaluations: int = Field(5, ge=1, description="times during a fit that validation accuracy is taken")
    layer: str = Field("mean", pattern=HIDDEN_STATE, description="which hidden state is read")
    drop_final: bool = Field(False, description="leave out the state of each program's last statement")
    positions: tuple[Positions, ...] = Field(
        (), max_length=30, description="statements whose states train and choose the probes, counted from 0; empty: all"
    )

    @model_validator(mode="after")
    def _consistent(self):
        for key in ("features", "sources", "offsets"):
            _each_once(f"probes.{key}", getattr(self, key))
        if 0 not in self.offsets:
            raise ValueError(
                f"probes.offsets {list(self.offsets)} lack 0, which the curves and alternatives are drawn from; add it"
            )
        if not self.depths:
            raise ValueError(f"probes.depths is empty; name at least one of {', '.join(DEPTHS)}")
        for name, widths in self.depths.items():
            if len(widths) != DEPTHS[name]:
                raise ValueError(f"probes.depths.{name} is {list(widths)}; give {DEPTHS[name]} hidden widths")
        for first, last in self.positions:
            if first > last:
                raise ValueError(f"probes.positions has [{first}, {last}]; give the earlier statement first")
        if self.evaluations > self.steps:
            raise ValueError(
                f"probes.evaluations {self.evaluations} are more than probes.steps {self.steps}; lower the first"
            )
        _decay_that_shrinks("probes", self)
        return self


# The alternatives of the authors' public code: token -> the statement it now means.
AUTHORS_ALTERNATIVES: dict[str, dict[str, str]] = {
    "alt-0": dict(zip(ACTIONS, ("put_marker", "pick_marker", "turn_right", "turn_left", "move"), strict=True)),
    "alt-3": dict(zip(ACTIONS, ("turn_right", "turn_left", "turn_right", "move", "turn_left"), strict=True)),
    "alt-5": dict(zip(ACTIONS, ("put_marker", "pick_marker", "turn_right", "move", "turn_left"), strict=True)),
    "alt-8": dict(zip(ACTIONS, ("put_marker", "pick_marker", "move", "turn_right", "turn_left"), strict=True)),
    "alt-11": dict(zip(ACTIONS, ("put_marker", "pick_marker", "move", "turn_left", "turn_right"), strict=True)),
}


class Interventions(Section):
    """Alternative meanings of the statements, under which the same programs are executed again."""

    alternatives: dict[Name, dict[Action, Action]] = Field(
        AUTHORS_ALTERNATIVES,
        max_length=100,
        description="by name: statement -> what it now means; unnamed statements keep theirs",
    )
    difficulty_matched: str = Field("alt-0", description="the alternative whose labels are as hard as the original's")
    offsets: tuple[Offset, ...] = Field(
        (0,), description="those of probes.offsets at which alternatives are compared with the original; 0 is needed"
    )
    permutations: int = Field(
        0,
        ge=0,
        le=59,
        description="pairs of further alternatives, each other's mirror image, drawn from the permutations of the "
        "five meanings; probed at the last checkpoint, offset 0",
    )

    @model_validator(mode="after")
    def _real(self):
        _each_once("interventions.offsets", self.offsets)
        if 0 not in self.offsets:
            raise ValueError(
                f"interventions.offsets {list(self.offsets)} lack 0, which the curves are drawn from; add it"
            )
        known: dict[str, str] = {}  # by name as a disk may see it that does not tell A from a
        meanings: dict[tuple, str] = {}
        for name, mapping in self.alternatives.items():
            key = f"interventions.alternatives.{name}"
            if name.lower() == ORIGINAL:
                raise ValueError(f"{key}: an alternative may not be called 'original'; choose another name")
            if name.lower().startswith(permutations.PREFIX):
                raise ValueError(
                    f"{key}: names that begin with {permutations.PREFIX} are those of interventions.permutations; "
                    "choose another name"
                )
            if name.lower() in known:
                raise ValueError(f"{key} differs from {known[name.lower()]} by case only; choose another name")
            if all(token == meaning for token, meaning in mapping.items()):
                raise ValueError(f"{key} changes no meaning; map at least one statement to another")
            meaning = tuple(mapping.get(action, action) for action in ACTIONS)
            if meaning in meanings:
                raise ValueError(f"{key} means the same as {meanings[meaning]}; leave one of them out")
            known[name.lower()] = meanings[meaning] = name
        if self.alternatives and self.difficulty_matched not in self.alternatives:
            names = list(self.alternatives)
            raise ValueError(
                f"interventions.difficulty_matched is {_shown(self.difficulty_matched)}; expected one of "
                f"{', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
            )
        return self


class Controls(Section):
    """What else is probed, to tell what a probe's accuracy is worth."""

    kinds: tuple[Literal[CONTROLS], ...] = Field(
        ("counts", "prefix", "start", "text", "embedding", "shuffled", "description_length"),
        description="what probes are given instead of the hidden state, or asked instead of the program state",
    )
    checkpoints: Literal["last", "ends", "every"] = Field(
        "last", description="at which checkpoints; ends: the untrained one and the last"
    )

    @model_validator(mode="after")
    def _known_once(self):
        _each_once("controls.kinds", self.kinds)
        return self

    def steps(self, trained: list[int]) -> list[int]:
        """Those of the checkpoints (in order, the untrained one first) that have controls."""
        ends = list(dict.fromkeys((trained[0], trained[-1])))
        chosen = {"last": trained[-1:], "ends": ends, "every": trained}
        return chosen[self.checkpoints] if self.kinds else []


class Variation(Section):
    """How specifications differ from those of the training."""

    statements: int = Field(
        0,
        ge=-60,
        le=60,
        description="above 0: up to so many more than the longest training program; below: fewer than the shortest",
    )
    cells: int = Field(0, ge=-28, le=28, description="so many rows and columns more")

    @model_validator(mode="after")
    def _new(self):
        if not self.statements and not self.cells:
            raise ValueError("generalisation.sets: a set is like the training; give statements or cells other than 0")
        return self


class Generalisation(Section):
    """Whether the last checkpoint also solves specifications of a kind that it was not trained on."""

    sets: dict[Name, Variation] = Field(
        {"longer": Variation(statements=2), "larger": Variation(cells=1)},
        max_length=20,
        description="by name: statements and cells, how programs and worlds differ from training's",
    )
    test: int = Field(1_000, ge=20, le=1_000_000, description="specifications in each set")


class Statistics(Section):
    """Intervals and tests."""

    resamples: int = Field(2000, ge=100, le=1_000_000, description="bootstrap resamples")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals")
    seed: Seed = Field(0, description="of the resampling")


class Figures(Section):
    """How results are drawn; nothing here changes a number."""

    title: str = Field(
        "", max_length=200, pattern=ONE_LINE, description="printed above every figure; empty: the study's name"
    )
    gallery: int = Field(4, ge=1, le=20, description="specifications in the gallery")
    dpi: int = Field(150, ge=50, le=600, description="dots per inch of PNG files")


class Compute(Section):
    """What is used, not what is computed: nothing here is part of a digest."""

    threads: int = Field(1, ge=1, le=64, description="of one training, tracing or probing job")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a CUDA device where there is one")
    processes: int = Field(
        1, ge=1, le=64, description="that train one language model together, each on a GPU of its own where there are"
    )
    trace_batch: int = Field(256, ge=1, le=65_536, description="specifications decoded at once")
    recompute: bool = Field(
        False, description="consent to compute anew what took more than an hour and was made by earlier code"
    )


class Study(Section):
    """A whole study. Sections are the stages, in order."""

    study: Name = Field("default", description="names the statistics folder and the figures' titles")
    worlds: Worlds = Worlds()
    programs: Programs = Programs()
    corpus: Corpus = Corpus()
    tokens: Tokens = Tokens()
    lm: LM = LM()
    traces: Traces = Traces()
    probes: Probes = Probes()
    interventions: Interventions = Interventions()
    controls: Controls = Controls()
    generalisation: Generalisation = Generalisation()
    statistics: Statistics = Statistics()
    figures: Figures = Figures()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _lengths_fit(self):
        longest = self.programs.longest
        if self.programs.step_limit <= longest:
            raise ValueError(
                f"programs.step_limit is {self.programs.step_limit}, but programs have up to {longest} statements; "
                f"give at least {longest + 1}"
            )
        tokens = self.most_tokens()
        if tokens > MAX_POSITIONS:
            raise ValueError(
                f"a document takes up to {tokens} tokens, but the language model reads at most {MAX_POSITIONS}; "
                "lower worlds.height, worlds.width, corpus.examples or programs"
            )
        return self

    @model_validator(mode="after")
    def _enough_specifications(self):
        apart = self.corpus.held_apart
        test, train = self.programs.test_length, self.programs.train_length
        there = self.specifications(*test)
        if 2 * apart > there:
            raise ValueError(
                f"corpus.validation and corpus.test are {apart} together, but these worlds and programs make at most "
                f"{there} different specifications, half of which are left for training; lower them, or raise worlds, "
                "programs.test_length or corpus.examples"
            )
        if test[0] <= train[0] and train[1] <= test[1]:
            there = self.specifications(*train)
            taken = round(apart * (train[1] - train[0] + 1) / (test[1] - test[0] + 1))
            if 2 * taken > there:
                raise ValueError(
                    f"corpus.validation and corpus.test take about {taken} specifications as short as training's, of "
                    f"which there are at most {there}; lower them, or raise worlds, programs.train_length or "
                    "corpus.examples"
                )
        return self

    @model_validator(mode="after")
    def _traces_fit(self):
        for split in SPLITS:
            wanted, there = getattr(self.traces, split), getattr(self.corpus, split)
            if wanted > there:
                raise ValueError(f"traces.{split} is {wanted}, but corpus.{split} has only {there}; lower the first")
            states = wanted * self.most_states(split)
            if states < FEWEST_STATES[split]:
                raise ValueError(
                    f"traces.{split} is {wanted}, which gives at most {states} states, but probes need "
                    f"{FEWEST_STATES[split]}; raise it"
                )
        if self.figures.gallery > self.traces.test:
            raise ValueError(
                f"figures.gallery is {self.figures.gallery}, but traces.test has only {self.traces.test}; "
                "lower the first"
            )
        return self

    @model_validator(mode="after")
    def _probes_fit(self):
        if "branch" in self.probes.features and self.programs.control_flow == 0:
            raise ValueError(
                "probes.features has branch, but programs have no conditions; raise programs.control_flow, or leave "
                "branch out"
            )
        # Without its last state, a program has one state less to look back from.
        furthest_back = self.programs.longest - 1 - self.probes.drop_final
        furthest_ahead = self.programs.longest - 1
        if furthest_back < 0:
            raise ValueError(
                "probes.drop_final is true, but programs have one statement and no other state; set it to false"
            )
        for offset in self.probes.offsets:
            if not -furthest_back <= offset <= furthest_ahead:
                raise ValueError(
                    f"probes.offsets has {offset}, but programs have at most {self.programs.longest} statements; "
                    f"give offsets between {-furthest_back} and {furthest_ahead}"
                )
        for offset in self.interventions.offsets:
            if offset not in self.probes.offsets:
                raise ValueError(
                    f"interventions.offsets has {offset}, which is none of probes.offsets {list(self.probes.offsets)}; "
                    "add it there"
                )
        for first, last in self.probes.positions:
            if first >= self.programs.longest:
                raise ValueError(
                    f"probes.positions has [{first}, {last}], but programs have at most {self.programs.longest} "
                    "statements, of which the first is 0"
                )
        if LAYERS in self.controls.kinds and self.traces.layers != "each":
            raise ValueError("controls.kinds has layers; set traces.layers to 'each' to keep them")
        if self.probes.layer != MEAN:
            layer = int(self.probes.layer.removeprefix(LAYER))
            if self.traces.layers != "each":
                raise ValueError(f"probes.layer is {self.probes.layer}; set traces.layers to 'each' to keep it")
            if layer > self.lm.layers:
                raise ValueError(
                    f"probes.layer is {self.probes.layer}; expected layer_0 (embedding) to layer_{self.lm.layers}"
                )
        return self

    @model_validator(mode="after")
    def _permutations_exist(self):
        wanted, there = self.interventions.permutations, permutations.mirror_pairs(self.markers_matter)
        if wanted > len(there):
            raise ValueError(
                f"interventions.permutations is {wanted}, but without conditions and the feature markers only "
                f"{len(there)} pairs differ by more than their names; give at most that"
            )
        return self

    @model_validator(mode="after")
    def _generalisation_is_new(self):
        programs = self.programs
        for name, new in self.generalisation.sets.items():
            key = f"generalisation.sets.{name}"
            if new.statements < 0 and programs.train_length[0] == 1:
                raise ValueError(
                    f"{key}.statements is {new.statements}, but training has programs of one statement, and none are "
                    "shorter; give a number above 0, or raise programs.train_length"
                )
            worlds, length = self.varied(new)
            if min(worlds.height, worlds.width) < 2:
                raise ValueError(
                    f"{key}.cells is {new.cells}, which leaves worlds of {worlds.height} x {worlds.width} cells; give "
                    "a number that leaves at least 2 rows and columns"
                )
            if programs.step_limit <= length[1]:
                raise ValueError(
                    f"programs.step_limit is {programs.step_limit}, but {key} has programs of up to {length[1]} "
                    f"statements; give at least {length[1] + 1}"
                )
            tokens = self.most_tokens(worlds, length[1])
            if tokens > MAX_POSITIONS:
                raise ValueError(
                    f"{key}: a document takes up to {tokens} tokens, but the language model reads at most "
                    f"{MAX_POSITIONS}; lower its statements or cells"
                )
            there = self.specifications(*length, worlds)
            if 2 * self.generalisation.test > there:
                raise ValueError(
                    f"generalisation.test is {self.generalisation.test}, but {key} has at most {there} different "
                    "specifications, half of which may be drawn; lower the first, or raise its statements or cells"
                )
        return self

    @model_validator(mode="after")
    def _processes_share(self):
        if self.lm.batch % self.compute.processes:
            raise ValueError(
                f"compute.processes is {self.compute.processes}, which does not divide lm.batch {self.lm.batch}; give "
                "a number that does"
            )
        return self

    @model_validator(mode="after")
    def _commands_fit(self):
        if self.corpus.shards > MOST_SHARDS:
            raise ValueError(
                f"corpus.shard is {self.corpus.shard}, which cuts the corpus into {self.corpus.shards} files; give a "
                f"larger one, for at most {MOST_SHARDS}"
            )
        checkpoints = len(self.lm.seeds) * len(self.lm.checkpoints())
        # Traces and metrics with a manifest each; predictions, accuracies and a manifest for each semantics; controls.
        files = checkpoints * (4 + 3 * (1 + len(self.interventions.alternatives)) + 4)
        files += len(self.lm.seeds) * (2 + 6 * self.interventions.permutations)
        if files > MOST_FILES:
            raise ValueError(
                f"lm.checkpoint_every, lm.extra_checkpoints and lm.seeds make {checkpoints} checkpoints, whose "
                f"statistics are of {files} files; make fewer, for at most {MOST_FILES}"
            )
        return self

    @model_validator(mode="after")
    def _memory_fits(self):
        states = self.lm.layers + 2 if self.traces.layers == "each" else 1
        codes = self.programs.codes(self.traces.extra_statements)
        programs = self.traces.train + self.traces.validation + self.traces.test
        sizes = {
            "corpus.train: the training documents": self.corpus.train * self.most_tokens(),
            "traces: the hidden states of a checkpoint": 2 * programs * codes * states * self.lm.width,
            "statistics.resamples: the draws of all test programs": 12 * self.statistics.resamples * self.traces.test,
        }
        for what, size in sizes.items():
            if size > MOST_GIGABYTES * 10**9:
                raise ValueError(f"{what} take {size / 10**9:.0f} GB of memory; ask for at most {MOST_GIGABYTES}")
        return self

    @property
    def markers_matter(self) -> bool:
        """Whether what is probed depends on markers: of conditions, or because they are asked for."""
        return self.programs.control_flow > 0 or "markers" in self.probes.features

    def varied(self, new: Variation) -> tuple[Worlds, tuple[int, int]]:
        """Worlds, and shortest and longest program, of a set of `generalisation.sets`."""
        shortest, longest = self.programs.train_length
        if new.statements > 0:
            shortest, longest = longest + 1, longest + new.statements
        elif new.statements < 0:
            shortest, longest = max(1, shortest + new.statements), shortest - 1
        size = {"height": self.worlds.height + new.cells, "width": self.worlds.width + new.cells}
        return self.worlds.model_copy(update=size), (shortest, longest)

    def specifications(self, shortest: int, longest: int, worlds: Worlds | None = None) -> int:
        """Upper bound of how many different specifications there are with programs of so many statements."""
        worlds, programs = worlds or self.worlds, self.programs
        cells = worlds.height * worlds.width
        free = worlds.wall_probability < 1
        kinds = (worlds.wall_probability > 0) + (free and worlds.marker_probability > 0)
        kinds += free and worlds.marker_probability < 1
        # The robot stands on one cell, with one of four headings.
        shown = (4 * cells * kinds ** (cells - 1)) ** self.corpus.examples
        actions = sum(weight > 0 for weight in programs.weights.model_dump().values())
        # 23 kinds of blocks may open before an action, or close behind it.
        blocks = 50**programs.max_depth if programs.control_flow > 0 else 1
        return shown * sum((actions * blocks) ** length for length in range(shortest, longest + 1))

    def most_states(self, split: str) -> int:
        """Most states that a program of a split gives to the probes of one offset."""
        lengths = self.programs.train_length if split == "train" else self.programs.test_length
        written = self.programs.longest + self.traces.extra_statements
        return max(written if GENERATED in self.probes.sources else 0, lengths[1]) - self.probes.drop_final

    def most_tokens(self, worlds: Worlds | None = None, longest: int | None = None) -> int:
        """Upper bound of a document's tokens, with the longest program that may be written.

        `worlds` and `longest` are those of other documents than the corpus's.
        """
        worlds, longest = worlds or self.worlds, longest or self.programs.longest
        of_cell, of_code = {"compact": (1, 1), "spaced": (2, 5)}[self.tokens.encoding]
        codes = self.programs.codes(longest + self.traces.extra_statements - self.programs.longest)
        cells = 2 * self.corpus.examples * worlds.height * worlds.width
        return 16 + of_cell * cells + of_code * (codes + 1)


def load(raw: dict) -> Study:
    """Validate a config read from YAML.

    Raises `UserError` with one line that names the key, what was given and what was expected.
    """
    try:
        return Study.model_validate(tuples(raw))
    except ValidationError as error:
        raise UserError(_one_line(error)) from None


def tuples(value):
    """YAML has lists where the types have tuples; strict validation wants the latter."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    return value


def _known_keys(location: tuple) -> list[str]:
    model = Study
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = field.annotation
    return list(getattr(model, "model_fields", {}))


def _one_line(error: ValidationError) -> str:
    """The first problem, as: config: KEY: given, expected, what to do."""
    problem = error.errors()[0]
    kind, location = problem["type"], [part for part in problem["loc"] if part != "[key]"]
    if kind == "value_error":  # says its keys itself
        return f"config: {problem['ctx']['error']}"
    if kind == "missing":  # an item of a list: the list is too short
        location = location[:-1]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in location).lstrip(".")
    if kind == "extra_forbidden":
        known = _known_keys(tuple(location[:-1]))
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"config: {where}: unknown key; {hint}"
    return f"config: {where or 'the whole'}: given {_shown(problem['input'])}, expected {_expected(problem)}"


def _expected(problem: dict) -> str:
    """What pydantic expected, in words of YAML."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "string_pattern_mismatch":
            return {
                NAME: "1 to 40 of the characters A-Z a-z 0-9 _ -, the first a letter or a digit",
                HIDDEN_STATE: "mean, or layer_0, layer_1, … up to layer_99",
                ONE_LINE: "one line of text, without control characters",
            }[context["pattern"]]
        case "string_type":
            return "text; put it in quotes"
        case "string_too_long":
            return f"at most {context['max_length']} characters"
        case "string_unicode":
            return "text of whole Unicode characters"
        case "bool_type":
            return "true or false"
        case "int_type":
            return "an integer, written without a point or exponent"
        case "float_type":
            return "a number"
        case "tuple_type":
            return "a list"
        case "dict_type" | "model_type":
            return "a mapping of keys to values"
        case "missing":
            return f"a list of {problem['loc'][-1] + 1} or more"
        case "too_short":
            return "a list of at least 1" if context["min_length"] == 1 else f"a list of {context['min_length']}"
        case "too_long":
            return f"at most {context['max_length']} of them"
        case "invalid_key":
            return "a key that is text"
    return problem["msg"].removeprefix("Input should be ")


def _key(part: str) -> str:
    """A key as it is, or in quotes where it could be mistaken for something else."""
    return part if part.isidentifier() or part.replace("-", "_").isidentifier() else _shown(part)


def _shown(value) -> str:
    """A value from the config on one line, cut short where it is long."""
    if isinstance(value, dict | Section):
        return "a mapping"
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value[:8])}{', …' if len(value) > 8 else ''}]"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of about {round(value.bit_length() * math.log10(2))} digits"
    if isinstance(value, str) and len(value) > 60:
        return f"{value[:60]!r}… ({len(value)} characters)"
    return ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
