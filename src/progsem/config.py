"""The study's configuration: types, ranges, cross-field checks, stage slices.

`Study` is the single source of truth. The JSON schema in
`workflow/schemas/config.schema.json` and the table in `docs/config.md` are
generated from it. Nothing heavy is imported here: Snakemake reads the config
every time it starts.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from progsem.errors import UserError
from progsem.karel.codes import ACTIONS, program_width

Action = Literal[ACTIONS]
FEATURES = (
    "facing",
    "offset_from_start",
    "offset_from_end",
    "wall_ahead",
    "position",
    "neighbour_walls",
)
MAX_POSITIONS = 2048  # tokens that the language model can read
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Lengths = Annotated[tuple[Positive, Positive], Field(description="shortest and longest, inclusive")]


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

    pick_marker: float = Field(2, ge=0, description="relative frequency of pick_marker()")
    put_marker: float = Field(2, ge=0, description="relative frequency of put_marker()")
    turn_left: float = Field(3, ge=0, description="relative frequency of turn_left()")
    turn_right: float = Field(3, ge=0, description="relative frequency of turn_right()")
    move: float = Field(5, ge=0, description="relative frequency of move()")

    @model_validator(mode="after")
    def _some_weight(self):
        if sum(self.model_dump().values()) <= 0:
            raise ValueError("all weights are 0; give at least one statement a positive weight")
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
                raise ValueError(f"{key} is [{low}, {high}]; give the shorter length first")
            if high > 60:
                raise ValueError(f"{key} goes up to {high}; at most 60 statements are supported")
        return self

    @property
    def longest(self) -> int:
        """Most statements of a program in any split."""
        return max(self.train_length[1], self.test_length[1])

    def codes(self, extra_statements: int = 0) -> int:
        """Most codes (`karel.codes`) of a program that has up to so many statements more than the longest."""
        return program_width(self.longest + extra_statements, self.control_flow, self.max_depth)


class Corpus(Section):
    """How many programs, each with how many worlds."""

    train: Positive = Field(400_000, description="training programs")
    validation: Positive = Field(2_000, description="validation specifications")
    test: Positive = Field(6_000, description="test specifications")
    examples: int = Field(2, ge=1, le=20, description="input/output worlds shown in the text")
    held_out: int = Field(3, ge=0, le=20, description="further worlds, never shown, for strict correctness")
    shard: int = Field(50_000, ge=100, description="programs in one Arrow shard")
    seed: int = Field(0, ge=0, description="of all random numbers of the corpus")


class Tokens(Section):
    """How the text is cut into tokens."""

    encoding: Literal["compact", "spaced"] = Field(
        "compact", description="compact: a token a cell and a statement; spaced: the authors', with space tokens"
    )


class LM(Section):
    """The CodeGen language model and its training."""

    layers: int = Field(3, ge=1, le=64, description="transformer blocks")
    width: int = Field(128, ge=8, le=8192, description="of the residual stream")
    heads: int = Field(4, ge=4, le=128, description="attention heads; CodeGen wants a multiple of 4")
    rotary: int = Field(32, ge=2, description="dimensions of each head that are rotated by position")
    batch: int = Field(32, ge=1, description="documents per step")
    steps: Positive = Field(6000, description="optimizer steps")
    checkpoint_every: Positive = Field(1200, description="steps between checkpoints; step 0 is always one")
    extra_checkpoints: tuple[Positive, ...] = Field(
        (300, 600, 900, 1500, 1800, 2100), description="further ones, where much happens; from `steps` on they are none"
    )
    decay_steps: Positive = Field(6000, description="step at which the linear decay ends")
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="after warm-up")
    final_learning_rate: float = Field(4e-5, ge=0, lt=1, description="at decay_steps")
    warmup_steps: int = Field(200, ge=0, description="steps over which the learning rate rises from 0")
    betas: tuple[Probability, Probability] = Field((0.9, 0.98), description="AdamW's")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's, on matrices")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    initial_std: float = Field(0.08, gt=0, lt=1, description="of the normal that weights are drawn from")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="of matrix products, here and in tracing and probing; auto: bf16 where the hardware multiplies it",
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (0,), min_length=1, max_length=20, description="one language model each"
    )

    @model_validator(mode="after")
    def _shape(self):
        if self.heads % 4:
            raise ValueError(f"heads is {self.heads}; CodeGen's layout wants a multiple of 4")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.rotary % 2 or self.rotary > self.width // self.heads:
            raise ValueError(
                f"rotary is {self.rotary}; give an even number up to the head size {self.width // self.heads}"
            )
        if self.steps % self.checkpoint_every:
            raise ValueError(f"steps {self.steps} is not a multiple of checkpoint_every {self.checkpoint_every}")
        if self.decay_steps < self.steps:
            raise ValueError(f"decay_steps {self.decay_steps} is before the last step {self.steps}")
        if self.warmup_steps >= self.decay_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} is not before decay_steps {self.decay_steps}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} repeat; give different ones")
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

    train: Positive = Field(8_000, description="training specifications whose states train the probes")
    validation: Positive = Field(2_000, description="validation specifications that choose the probes")
    test: Positive = Field(6_000, description="test specifications that are reported")
    layers: Literal["mean", "each"] = Field(
        "mean", description="hidden states kept: their mean over embedding and layers, or each one as well"
    )
    extra_statements: int = Field(
        2, ge=0, description="statements a generated program may have beyond the longest one in the corpus"
    )


class Probes(Section):
    """Which probes are fitted, and how."""

    features: tuple[Literal[FEATURES], ...] = Field(
        ("facing", "offset_from_start", "wall_ahead"), min_length=1, description="what is read out of a hidden state"
    )
    depths: dict[Literal["linear", "mlp1", "mlp2"], tuple[Positive, ...]] = Field(
        {"linear": (), "mlp1": (64,), "mlp2": (64, 256)}, description="hidden widths of each probe"
    )
    sources: tuple[Literal["generated", "forced"], ...] = Field(
        ("generated", "forced"),
        min_length=1,
        description="states of the LM's own programs, of fixed reference programs fed to it",
    )
    offsets: tuple[int, ...] = Field((-2, -1, 0, 1, 2), description="statements between state and world; 0 is needed")
    seeds: Positive = Field(2, description="probes of each kind, from different initialisations")
    steps: Positive = Field(600, description="optimizer steps of a fit")
    batch: Positive = Field(512, description="states per step")
    learning_rate: float = Field(1e-2, gt=0, lt=1, description="largest of a fit")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's")
    evaluations: Positive = Field(5, description="times during a fit that validation accuracy is taken")
    layer: str = Field("mean", pattern=r"^(mean|layer_\d+)$", description="which hidden state is read")
    drop_final: bool = Field(False, description="leave out the state of each program's last statement")

    @model_validator(mode="after")
    def _consistent(self):
        for key in ("features", "sources", "offsets"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} {list(values)} repeat; give each once")
        if 0 not in self.offsets:
            raise ValueError(f"offsets {list(self.offsets)} lack 0, which the curves and alternatives are drawn from")
        expected = {"linear": 0, "mlp1": 1, "mlp2": 2}
        if not self.depths:
            raise ValueError("depths is empty; name at least one of linear, mlp1, mlp2")
        for name, widths in self.depths.items():
            if len(widths) != expected[name]:
                raise ValueError(f"depths.{name} is {list(widths)}; give {expected[name]} hidden widths")
        if self.evaluations > self.steps:
            raise ValueError(f"evaluations {self.evaluations} are more than steps {self.steps}")
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
        AUTHORS_ALTERNATIVES, description="by name: statement -> what it now means; unnamed statements keep theirs"
    )
    difficulty_matched: str = Field("alt-0", description="the alternative whose labels are as hard as the original's")

    @model_validator(mode="after")
    def _real(self):
        for name, mapping in self.alternatives.items():
            if name == "original":
                raise ValueError("an alternative may not be called 'original'; choose another name")
            if all(token == meaning for token, meaning in mapping.items()):
                raise ValueError(f"alternatives.{name} changes no meaning; map at least one statement to another")
        if self.alternatives and self.difficulty_matched not in self.alternatives:
            raise ValueError(
                f"difficulty_matched is {self.difficulty_matched!r}; expected one of {', '.join(self.alternatives)}"
            )
        return self


class Statistics(Section):
    """Intervals and tests."""

    resamples: int = Field(2000, ge=100, le=1_000_000, description="bootstrap resamples")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the intervals")
    seed: int = Field(0, ge=0, description="of the resampling")


class Figures(Section):
    """How results are drawn; nothing here changes a number."""

    title: str = Field("", max_length=200, description="printed above every figure; empty: the study's name")
    gallery: int = Field(4, ge=1, le=20, description="specifications in the gallery")
    dpi: int = Field(150, ge=50, le=600, description="dots per inch of PNG files")


class Compute(Section):
    """What is used, not what is computed: nothing here is part of a digest."""

    threads: int = Field(1, ge=1, le=64, description="of one training, tracing or probing job")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a CUDA device where there is one")
    trace_batch: Positive = Field(256, description="specifications decoded at once")
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
    statistics: Statistics = Statistics()
    figures: Figures = Figures()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _fits_together(self):
        for split in ("train", "validation", "test"):
            wanted, there = getattr(self.traces, split), getattr(self.corpus, split)
            if wanted > there:
                raise ValueError(f"traces.{split} is {wanted}, but corpus.{split} has only {there}; lower the first")
        longest = self.programs.longest
        for offset in self.probes.offsets:
            if abs(offset) >= longest:
                raise ValueError(
                    f"probes.offsets has {offset}, but programs have at most {longest} statements; "
                    f"give offsets between {1 - longest} and {longest - 1}"
                )
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
        if self.probes.layer != "mean":
            layer = int(self.probes.layer.removeprefix("layer_"))
            if self.traces.layers != "each":
                raise ValueError(f"probes.layer is {self.probes.layer}; set traces.layers to 'each' to keep it")
            if layer > self.lm.layers:
                raise ValueError(
                    f"probes.layer is {self.probes.layer}; expected layer_0 (embedding) to layer_{self.lm.layers}"
                )
        return self

    def most_tokens(self) -> int:
        """Upper bound of a document's tokens, with the longest program that may be written."""
        of_cell, of_code = {"compact": (1, 1), "spaced": (2, 5)}[self.tokens.encoding]
        codes = self.programs.codes(self.traces.extra_statements)
        cells = 2 * self.corpus.examples * self.worlds.height * self.worlds.width
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
    location = [str(part) for part in problem["loc"] if part != "[key]"]
    where = ".".join(location) or "config"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(tuple(location[:-1]))
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys here: {', '.join(known)}"
        return f"config: {where}: unknown key; {hint}"
    if problem["type"] == "value_error":
        prefix = "" if where == "config" else f"{where}: "
        return f"config: {prefix}{problem['ctx']['error']}"
    given = problem["input"]
    given = f"{given!r}" if not isinstance(given, dict | Section) else "a mapping"
    message = problem["msg"].removeprefix("Input should be ")
    return f"config: {where}: given {given}, expected {message}"
