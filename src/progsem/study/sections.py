"""The sections of a config but for those of the language: keys, ranges, and what one section can tell to be wrong.

Where a language has a say in types and defaults, `progsem.study.config` puts them in. What several sections
contradict each other in is refused by `progsem.study.checks`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from progsem.study.messages import shown
from progsem.study.section import (
    HIDDEN_STATE,
    MODEL_TYPE,
    ONE_LINE,
    STEP,
    Decay,
    Name,
    Offset,
    Positions,
    Section,
    Seed,
    Width,
    each_once,
)
from progsem.study.vocabulary import (
    CODEGEN,
    CONTROLS,
    DECODERS,
    DEPTHS,
    DICTIONARIES,
    EDITS,
    NO_WARMUP,
    ORIGINAL,
    PERMUTATION,
    SOURCES,
    SPLITS,
    TRANSFERRED,
    WARMUP_TASKS,
)

MOST_STEPS = 999_999  # folders of checkpoints have six digits
Checkpoints = Literal["last", "ends", "every"]


class Corpus(Section):
    """How many programs, each with how many worlds."""

    train: int = Field(200_000, ge=1, le=100_000_000, description="training programs")
    validation: int = Field(1_000, ge=1, le=1_000_000, description="validation specifications")
    test: int = Field(3_000, ge=1, le=1_000_000, description="test specifications")
    examples: int = Field(1, ge=1, le=20, description="input/output worlds shown in the text")
    held_out: int = Field(3, ge=0, le=20, description="further worlds, never shown, for strict correctness")
    shard: int = Field(50_000, ge=100, le=1_000_000, description="programs in one Arrow shard")
    seed: Seed = Field(0, description="of all random numbers of the corpus")
    programs: str = Field(
        "",
        max_length=4096,
        pattern=ONE_LINE,
        description="file of programs that take the place of drawn ones, one a line; empty: none",
    )
    programs_for: Literal["test", "all"] = Field(
        "test",
        description="splits that have these programs; all: shared out, so that no two splits have one in common",
    )
    unusable: Literal["refuse", "leave_out"] = Field(
        "refuse", description="what to do where lines of that file are no programs of this study"
    )

    @property
    def held_apart(self) -> int:
        """Specifications that no training program may have."""
        return self.validation + self.test

    @property
    def shards(self) -> int:
        """Arrow shards of all splits."""
        return sum(-(-getattr(self, split) // self.shard) for split in SPLITS)


class Tokens(Section):
    """How the text is cut into tokens."""

    encoding: Literal["compact", "spaced"] = Field(
        "compact", description="compact: a token a cell and a statement; spaced: the authors', with space tokens"
    )


def _decay_that_shrinks(section: str, recipe: LM | Probes) -> None:
    """Refuse AdamW's decay where a step would take away more than the whole of a weight."""
    if recipe.weight_decay * recipe.learning_rate >= 1:
        raise ValueError(
            f"{section}.weight_decay {recipe.weight_decay:g} times {section}.learning_rate {recipe.learning_rate:g} is "
            "taken from each weight at each step; give values whose product is below 1"
        )


def _steps_as_text(given):
    """Keys that YAML reads as numbers, as JSON has them."""
    return {str(key): value for key, value in given.items()} if isinstance(given, dict) else given


Step = Annotated[str, Field(pattern=STEP)]
Folder = Annotated[str, Field(max_length=4096, pattern=ONE_LINE)]


class Warmup(Section):
    """What a language model is trained on before it sees a program: sequences without any meaning."""

    task: Literal[(NO_WARMUP, *WARMUP_TASKS)] = Field(
        NO_WARMUP, description="formal task that they are of; noise is a control, from which nothing can be learned"
    )
    tokens: int = Field(1_000_000, ge=1, le=10**12, description="tokens of that training, `<pad>` included")
    transfer: tuple[Literal[TRANSFERRED], ...] = Field(
        TRANSFERRED,
        min_length=1,
        description="weights that are kept of it; all others, the embeddings always, are drawn anew",
    )

    @model_validator(mode="after")
    def _each_once(self):
        each_once("lm.warmup.transfer", self.transfer)
        return self


class LM(Section):
    """The language model and its training."""

    model_type: str = Field(
        CODEGEN,
        pattern=MODEL_TYPE,
        description="architecture: codegen, or another causal language model by its name in `transformers`, such as "
        "gpt2, gpt_neox, llama or mamba",
    )
    config: dict[str, Any] = Field(
        {},
        max_length=100,
        description="further keys of that architecture's config in `transformers`; they go before layers, width, heads "
        "and initial_std",
    )
    layers: int = Field(3, ge=1, le=64, description="transformer blocks")
    width: int = Field(96, ge=8, le=8192, description="of the residual stream")
    heads: int = Field(
        4, ge=1, le=128, description="attention heads; CodeGen wants a multiple of 4, and some architectures have none"
    )
    rotary: int = Field(24, ge=2, description="dimensions of each of CodeGen's heads that are rotated by position")
    batch: int = Field(32, ge=1, le=65_536, description="documents per step")
    steps: int = Field(4400, ge=1, le=MOST_STEPS, description="optimizer steps")
    checkpoint_every: int = Field(
        2200, ge=1, le=MOST_STEPS, description="steps between checkpoints; step 0 is always one"
    )
    extra_checkpoints: tuple[Annotated[int, Field(ge=1, le=10**9)], ...] = Field(
        (600,),
        max_length=1000,
        description="further ones, where much happens; from `steps` on they are none",
    )
    decay_steps: int = Field(4400, ge=1, le=10**9, description="step at which the linear decay ends")
    learning_rate: float = Field(1e-3, gt=0, lt=1, description="after warm-up")
    final_learning_rate: float = Field(2e-5, ge=0, lt=1, description="at decay_steps")
    warmup_steps: int = Field(200, ge=0, le=10**9, description="steps over which the learning rate rises from 0")
    betas: tuple[Decay, Decay] = Field((0.9, 0.98), description="AdamW's")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's, on matrices")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    prompt_weight: float = Field(
        0.05, ge=0, le=1, description="of a specification's token in the loss; a program's counts 1"
    )
    predict_inputs: bool = Field(
        False, description="whether input worlds are predicted as well, as in the paper, or read alone"
    )
    initial_std: float = Field(0.1, gt=0, lt=1, description="of the normal that weights are drawn from")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto",
        description="of matrix products, here and in tracing and probing; auto: bf16 with CUDA or AMX, else fp32",
    )
    seeds: tuple[Seed, ...] = Field((0, 1, 2, 3, 4), min_length=1, max_length=20, description="one language model each")
    warmup: Warmup = Warmup()
    checkpoints: Annotated[dict[Step, Folder], BeforeValidator(_steps_as_text)] = Field(
        {},
        max_length=1000,
        description="by step: a folder as save_pretrained writes it, in place of training; {seed} in its name is each "
        "of seeds",
    )
    pretrained: str = Field(
        "",
        max_length=4096,
        pattern=ONE_LINE,
        description="folder of a model of `transformers` that somebody has trained, with its tokenizer: it is "
        "fine-tuned and proposes programs as well; empty: none",
    )

    @model_validator(mode="after")
    def _shape(self):
        if self.model_type != CODEGEN or self.checkpoints:
            return self
        if self.config:
            raise ValueError(
                f"lm.config has {shown(next(iter(self.config)))}, but lm.model_type is {CODEGEN}, which takes no such "
                "keys; leave lm.config empty, or name another architecture"
            )
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
        each_once("lm.seeds", self.seeds)
        return self

    @property
    def architecture(self) -> str:
        """Name for a reader."""
        return "CodeGen" if self.model_type == CODEGEN else self.model_type

    def every_step(self) -> list[int]:
        """Steps at which there is a checkpoint, in order; of training, the untrained one is the first."""
        if self.checkpoints:
            return sorted(map(int, self.checkpoints))
        regular = range(0, self.steps + 1, self.checkpoint_every)
        return sorted({*regular, *(step for step in self.extra_checkpoints if step < self.steps)})

    def chosen(self, which: Checkpoints) -> list[int]:
        """Steps of all checkpoints, of the last one, or of the untrained one and the last."""
        every = self.every_step()
        return {"last": every[-1:], "ends": sorted({every[0], every[-1]}), "every": every}[which]

    def before(self, step: int) -> int:
        """The checkpoint from which the one at `step` is trained; what is not trained stands for itself."""
        if self.checkpoints:
            return step
        return max((earlier for earlier in self.every_step() if earlier < step), default=step)


class Traces(Section):
    """What is decoded and read at each checkpoint."""

    train: int = Field(5_000, ge=1, le=1_000_000, description="training specifications whose states train the probes")
    validation: int = Field(1_000, ge=1, le=1_000_000, description="validation specifications that choose the probes")
    test: int = Field(3_000, ge=1, le=1_000_000, description="test specifications that are reported")
    layers: Literal["mean", "last", "each"] = Field(
        "last", description="hidden states kept: their mean over embedding and layers, the last or each one as well"
    )
    outputs: Literal["shown", "blank", "copied"] = Field(
        "shown", description="the examples' output worlds in the text: as they are, empty floor, or the inputs again"
    )
    extra_statements: int = Field(
        2, ge=0, le=1000, description="statements a generated program may have beyond the longest one in the corpus"
    )

    @property
    def programs(self) -> int:
        """Specifications of all splits."""
        return self.train + self.validation + self.test

    def states(self, layers: int) -> int:
        """Hidden states that are kept of a position, for a model of so many layers."""
        return {"mean": 1, "last": 2, "each": layers + 2}[self.layers]


class Probes(Section):
    """Which probes are fitted, and how."""

    features: tuple[str, ...] = Field((), min_length=1, description="what is read out of a hidden state")
    depths: dict[Literal[tuple(DEPTHS)], tuple[Width, ...]] = Field(
        {"linear": (), "mlp1": (64,), "mlp2": (64, 256)}, description="hidden widths of each probe"
    )
    sources: tuple[Literal[SOURCES], ...] = Field(
        SOURCES,
        min_length=1,
        description="states of the LM's own programs, of fixed reference programs fed to it",
    )
    offsets: tuple[Offset, ...] = Field((-1, 0, 1), description="statements between state and world; 0 is needed")
    offset_checkpoints: Checkpoints = Field(
        "last", description="at which checkpoints other offsets than 0 are probed; ends: the untrained one and the last"
    )
    seeds: int = Field(1, ge=1, le=100, description="probes of each kind, from different initialisations")
    steps: int = Field(200, ge=1, le=1_000_000, description="optimizer steps of a fit")
    batch: int = Field(384, ge=1, le=65_536, description="states per step")
    learning_rate: float = Field(0.03, gt=0, lt=1, description="largest of a fit")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's")
    evaluations: int = Field(5, ge=1, description="times during a fit that validation accuracy is taken")
    layer: str = Field("last", pattern=HIDDEN_STATE, description="which hidden state is read")
    drop_final: bool = Field(False, description="leave out the state of each program's last statement")
    positions: tuple[Positions, ...] = Field(
        (), max_length=30, description="statements whose states train and choose the probes, counted from 0; empty: all"
    )

    @model_validator(mode="after")
    def _consistent(self):
        for key in ("features", "sources", "offsets"):
            each_once(f"probes.{key}", getattr(self, key))
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

    def offset_steps(self, lm: LM) -> list[int]:
        """Checkpoints at which offsets other than 0 are probed."""
        return lm.chosen(self.offset_checkpoints) if set(self.offsets) - {0} else []


class Interventions(Section):
    """Alternative meanings of the statements, under which the same programs are executed again."""

    alternatives: dict[Name, dict[str, str]] = Field(
        {},
        max_length=100,
        description="by name: statement -> what it now means; unnamed statements keep theirs",
    )
    difficulty_matched: str = Field("", description="the alternative whose labels are as hard as the original's")
    offsets: tuple[Offset, ...] = Field(
        (0,), description="those of probes.offsets at which alternatives are compared with the original; 0 is needed"
    )
    checkpoints: Checkpoints = Field(
        "last",
        description="at which checkpoints alternatives are probed, but for the difficulty-matched one, which is at "
        "every; ends: the untrained one and the last",
    )
    permutations: int = Field(
        0,
        ge=0,
        description="pairs of further alternatives, each other's mirror image, drawn from the permutations of "
        "all meanings; probed at the last checkpoint, offset 0",
    )

    @model_validator(mode="after")
    def _real(self):
        each_once("interventions.offsets", self.offsets)
        if 0 not in self.offsets:
            raise ValueError(
                f"interventions.offsets {list(self.offsets)} lack 0, which the curves are drawn from; add it"
            )
        known: dict[str, str] = {}  # by name as a disk may see it that does not tell A from a
        meanings: dict[frozenset, str] = {}
        for name, mapping in self.alternatives.items():
            key = f"interventions.alternatives.{name}"
            if name.lower() == ORIGINAL:
                raise ValueError(f"{key}: an alternative may not be called 'original'; choose another name")
            if name.lower().startswith(PERMUTATION):
                raise ValueError(
                    f"{key}: names that begin with {PERMUTATION} are those of interventions.permutations; "
                    "choose another name"
                )
            if name.lower() in known:
                raise ValueError(f"{key} differs from {known[name.lower()]} by case only; choose another name")
            meaning = frozenset((token, new) for token, new in mapping.items() if token != new)
            if not meaning:
                raise ValueError(f"{key} changes no meaning; map at least one statement to another")
            if meaning in meanings:
                raise ValueError(f"{key} means the same as {meanings[meaning]}; leave one of them out")
            known[name.lower()] = meanings[meaning] = name
        if self.alternatives and self.difficulty_matched not in self.alternatives:
            names = list(self.alternatives)
            raise ValueError(
                f"interventions.difficulty_matched is {shown(self.difficulty_matched)}; expected one of "
                f"{', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
            )
        return self

    @property
    def matched(self) -> dict[str, dict[str, str]]:
        """The difficulty-matched alternative by its name, if there are alternatives."""
        return {name: self.alternatives[name] for name in [self.difficulty_matched] if self.alternatives}

    def steps(self, lm: LM, name: str) -> list[int]:
        """Checkpoints at which an alternative is probed: the difficulty-matched one at every."""
        return lm.chosen("every" if name == self.difficulty_matched else self.checkpoints)


class Controls(Section):
    """What else is probed, to tell what a probe's accuracy is worth."""

    kinds: tuple[Literal[CONTROLS], ...] = Field(
        ("counts", "prefix", "start", "text", "shuffled"),
        description="what probes are given instead of the hidden state, or asked instead of the program state",
    )
    checkpoints: Checkpoints = Field("last", description="at which checkpoints; ends: the untrained one and the last")

    @model_validator(mode="after")
    def _known_once(self):
        each_once("controls.kinds", self.kinds)
        return self

    def steps(self, lm: LM) -> list[int]:
        """Checkpoints that have controls."""
        return lm.chosen(self.checkpoints) if self.kinds else []


class Edits(Section):
    """Whether what probes read is also what the model uses: edits of its residual stream."""

    features: tuple[str, ...] = Field((), description="those of probes.features that are edited; none: no edits")
    kinds: tuple[Literal[EDITS], ...] = Field(EDITS, min_length=1, description="what is done to the residual stream")
    layers: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(
        (), max_length=1000, description="blocks behind which it is edited, from 1; empty: each"
    )
    dimensions: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        (1, 2, 4, 8), min_length=1, max_length=20, description="of the subspaces that are learned"
    )
    onwards: bool = Field(
        False, description="edit all later positions as well, while the model goes on writing; of exchanges only"
    )
    pairs: int = Field(
        300,
        ge=20,
        le=100_000,
        description="counterfactuals of a feature at most, that are reported; learning has as many",
    )
    checkpoints: Checkpoints = Field("every", description="at which checkpoints; ends: the untrained one and the last")
    permutations: int = Field(
        0,
        ge=0,
        description="pairs of other semantics, each other's mirror image, under which the last checkpoint is edited, "
        "beside the original and the difficulty-matched alternative",
    )
    seed: Seed = Field(0, description="of the counterfactuals that are drawn")

    @model_validator(mode="after")
    def _once(self):
        for key in ("features", "kinds", "layers", "dimensions"):
            each_once(f"edits.{key}", getattr(self, key))
        return self

    def steps(self, lm: LM) -> list[int]:
        """Checkpoints that are edited under the original semantics and the difficulty-matched one."""
        return lm.chosen(self.checkpoints) if self.features else []


class Transcoders(Section):
    """Sparse dictionaries of every MLP, whose features are set beside the program's states."""

    kinds: tuple[Literal[DICTIONARIES], ...] = Field(
        (), description="transcoder: the MLP's output from its input; autoencoder: its output from itself; none: none"
    )
    width: int = Field(2, ge=1, le=64, description="features of a dictionary, in times of the MLP's neurons")
    active: int = Field(16, ge=1, le=1000, description="features that are active at a time")
    steps: int = Field(1500, ge=1, le=1_000_000, description="optimizer steps of a fit")
    batch: int = Field(1024, ge=1, le=65_536, description="tokens per step")
    learning_rate: float = Field(2e-3, gt=0, lt=1, description="Adam's at the first step; it falls to 0")
    checkpoints: Checkpoints = Field("ends", description="at which checkpoints; ends: the untrained one and the last")

    @model_validator(mode="after")
    def _once(self):
        each_once("transcoders.kinds", self.kinds)
        return self

    def steps_of(self, lm: LM) -> list[int]:
        """Checkpoints whose MLPs get dictionaries."""
        return lm.chosen(self.checkpoints) if self.kinds else []


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


class Synthesis(Section):
    """How many specifications are solved with a budget of programs, by which writer."""

    writers: tuple[str, ...] = Field(
        (),
        description="who proposes programs, without a language model and by ways of decoding one; none: nobody",
    )
    samples: int = Field(
        100, ge=1, le=10_000, description="programs that each proposes for a specification: the largest budget"
    )
    temperatures: tuple[Annotated[float, Field(ge=0.01, le=100)], ...] = Field(
        (0.5, 1.0, 1.5), min_length=1, max_length=20, description="of temperature; 1: the distribution that is learned"
    )
    top_p: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.9,), min_length=1, max_length=20, description="shares of the likeliest tokens that top_p picks from"
    )
    grammar: tuple[bool, ...] = Field(
        (True, False), min_length=1, max_length=2, description="whether decoding is kept to the grammar, or both"
    )
    test: int = Field(1_000, ge=20, le=1_000_000, description="test specifications, the first ones")
    checkpoints: Checkpoints = Field("last", description="at which checkpoints; ends: the untrained one and the last")
    seed: Seed = Field(0, description="of all that is drawn")

    @model_validator(mode="after")
    def _once(self):
        for key in ("writers", "temperatures", "top_p", "grammar"):
            each_once(f"synthesis.{key}", getattr(self, key))
        return self

    @property
    def plain(self) -> list[str]:
        """Writers without a language model."""
        return [name for name in self.writers if name not in DECODERS]

    @property
    def decoders(self) -> list[str]:
        """Ways to decode a language model."""
        return [name for name in self.writers if name in DECODERS]

    @property
    def budgets(self) -> list[int]:
        """1, 2, 5, 10, … and the largest: where results are reported, and the widths of beams."""
        steps = (digit * 10**power for power in range(5) for digit in (1, 2, 5))
        return [*(budget for budget in steps if budget < self.samples), self.samples]

    def steps(self, lm: LM) -> list[int]:
        """Checkpoints that propose programs."""
        return lm.chosen(self.checkpoints) if self.decoders else []


class Finetuning(Section):
    """How the model in `lm.pretrained` learns the study's text."""

    steps: int = Field(2_000, ge=1, le=MOST_STEPS, description="optimizer steps")
    batch: int = Field(16, ge=1, le=65_536, description="documents per step")
    learning_rate: float = Field(3e-4, gt=0, lt=1, description="after a twentieth of the steps; from there down to 0")
    seed: Seed = Field(0, description="of the order of documents, and of dropout")


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
