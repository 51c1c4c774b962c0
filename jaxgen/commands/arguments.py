"""Words behind a command: numbers and tuples as people write them, switches, and the flags of `--help` in groups."""

import dataclasses
import inspect
import itertools
import re
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jaxgen.errors import UserError
from jaxgen.flags import flag_name, late, on_command_line

Function: TypeAlias = Callable[..., Any]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "data": (
        *("dataset", "data_dir", "cache_budget", "validation", "validation_seed", "batch_size", "binarization", "flip", "crop"),
        *(
            "shift",
            "jitter",
            "direction",
            "labels",
            "pairs",
            "vocabulary",
            "text_length",
            "told",
            "autoencoder",
            "model",
            "first_stage",
            "flow",
            "classifier",
            "translator",
            "target",
            "side",
            "subset",
            "pair_steps",
            "bits",
            "factors",
            "weights",
            "classes",
            "void",
        ),
    ),
    "objective": (
        *("loss", "likelihood", "method", "beta", "beta_warmup", "max_kl", "analytic_kl", "samples", "train_samples", "k"),
        *("k_start", "anneal_steps", "alpha", "penalty", "weight", "limit", "gamma", "gamma_every", "gan", "l1", "smoothing"),
        *("temperature", "parameterisation", "schedule", "timesteps", "levels", "largest", "smallest", "drop", "commitment"),
        *("objective", "weighting", "sde", "corruption", "corrupted", "contraction", "rate", "sparsity", "shrink", "widen"),
        *("slope", "huber", "gamma_ends", "bound_steps", "kl", "start", "betas", "free_bits"),
        *("balanced", "distil", "components", "masks", "agnostic", "spectral", "spectral_start", "augment", "content"),
        *("ada_target", "ada_images"),
        *("style_weight", "matching", "corruption_levels", "threshold", "cycle", "identity", "pool", "drift"),
        *("semantic_limit", "reconstruction", "lpips", "vgg", "perceptual"),
    ),
    "optimisation": (
        *("steps", "stages", "optimizer", "learning_rate", "final_learning_rate", "warmup", "cosine", "decay", "decay_steps"),
        *("rate_decay", "momentum", "momentum_epochs", "weight_decay", "l2", "clip", "max_norm", "critic_steps", "ema"),
        *("ema_widths",),
        *("restart", "accumulate", "bf16", "remat", "stage_steps", "gamma_rate", "encoder_steps", "hold", "fade"),
        *("discriminator_rate", "pretraining_steps", "pretraining_rate", "classifier_rate", "halve_every"),
    ),
}
"""The groups of an experiment's flags in `--help`.

What training does not depend on is in the group `sampling`, and what is in no group belongs to the model.
"""

ORDER = ("data", "model", "objective", "optimisation", "sampling")


def groups_of(function: Function) -> dict[str, str]:
    """The group of each of an experiment's flags.

    >>> from jaxgen.flags import Late
    >>> def experiment(*, dataset: str, hidden: int, sampling_steps: Late[int]): ...
    >>> groups_of(experiment)
    {'dataset': 'data', 'hidden': 'model', 'sampling_steps': 'sampling'}
    """
    named = {flag: group for group, flags in GROUPS.items() for flag in flags} | dict.fromkeys(late(function), "sampling")
    return {flag: named.get(flag, "model") for flag in inspect.signature(function).parameters}


def whole(text: str) -> int:
    """A whole number as people write it: 1000, 1_000, 1e3, 1000.0.

    >>> whole("1e3"), whole("-2"), whole("1_000")
    (1000, -2, 1000)
    >>> whole("1,000")
    Traceback (most recent call last):
    ValueError: '1,000' is no whole number; write 1000 instead
    """
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = None
    if value is not None and value.is_finite() and value.adjusted() < 30 and value == value.to_integral_value():
        return int(value)
    grouped = re.fullmatch(r"[+-]?\d{1,3}([,' ]\d{3})+", text.strip())
    several = re.fullmatch(r"\d+([x*;/]\d+)+", text.strip())
    mend = "give one such as 1000 or 1e3"
    if grouped:
        mend = f"write {re.sub('[^-0-9]', '', text)} instead"
    elif several:
        mend = f"separate several by spaces: {' '.join(re.findall('[0-9]+', text))}"
    raise ValueError(f"{text!r} is no whole number; {mend}")


def real(text: str) -> float:
    """A number as people write it: 0.001, 1e-3.

    >>> real("1e-3")
    0.001
    >>> real("0,001")
    Traceback (most recent call last):
    ValueError: '0,001' is no number; write 0.001 instead
    """
    try:
        return float(text)
    except ValueError:
        comma = re.fullmatch(r"[+-]?\d+,\d+", text.strip())
        mend = f"; write {text.strip().replace(',', '.')} instead" if comma else "; give one such as 0.001 or 1e-3"
        raise ValueError(f"{text!r} is no number{mend}") from None


READERS: Mapping[Any, Callable[[str], Any]] = {int: whole, float: real}


def registry() -> ConstructorRegistry:
    """The parser's rules for numbers, alone, in tuples and where None is allowed; its errors are sentences."""
    made = ConstructorRegistry()

    @made.primitive_rule
    def numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        kind, args = _bare(info.type), tuple(map(_bare, get_args(info.type)))
        if kind in READERS:
            return _spec(1, kind.__name__.upper(), lambda texts: READERS[kind](texts[0]))
        if get_origin(kind) is tuple and args[0] in READERS:
            name, read = args[0].__name__.upper(), READERS[args[0]]
            if args[-1] is Ellipsis:
                return _spec("*", f"[{name} [{name} ...]]", lambda texts: tuple(map(read, texts)))
            return _spec(len(args), " ".join([name] * len(args)), lambda texts: tuple(map(read, texts)))
        if get_origin(kind) in (Union, types.UnionType) and set(args) in ({int, types.NoneType}, {float, types.NoneType}):
            number = next(arg for arg in args if arg in READERS)
            name = number.__name__.upper()
            return _spec(1, f"{{None}}|{name}", lambda texts: None if texts[0].lower() == "none" else READERS[number](texts[0]))
        return None

    return made


def _spec(nargs: Any, metavar: str, read: Callable[[list[str]], Any]) -> PrimitiveConstructorSpec[Any]:
    def shown(value: Any) -> list[str]:
        return [str(part) for part in value] if isinstance(value, tuple) else [str(value)]

    return PrimitiveConstructorSpec(
        nargs=nargs, metavar=metavar, instance_from_str=read, is_instance=lambda value: True, str_from_instance=shown
    )


def _bare(kind: Any) -> Any:
    """A type without its range."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def spelled_out(args: Sequence[str], functions: Sequence[Function]) -> list[str]:
    """The typed words as the parser reads them: `--hidden 400,400` becomes `--hidden 400 400`.

    Args:
      args: the words that were typed.
      functions: the functions whose keyword arguments are the flags.

    Returns:
      The same, with tuples as separate words and dashes as a keyboard has them.

    Raises:
      UserError: for words that look like a flag and are none: `steps=5`, `-steps 5`, `--bf16 True`.
    """
    kinds = {flag_name(f): kind for function in functions for f, kind in get_type_hints(function, include_extras=True).items()}
    words, flag = [], ""
    for arg in args:
        # A document may have made one long dash or minus sign of what was two dashes or a minus.
        arg = re.sub(r"^[\u2012-\u2015](?=[a-z])", "--", arg)
        arg = re.sub(r"^\u2212(?=[\d.])", "-", arg)
        name, equals, value = arg.partition("=")
        if name.startswith("--"):
            flag = name.replace("_", "-")
            parts = _value(flag, kinds.get(flag), value) if equals else []
            words += [flag, *parts] if not equals or parts != [value] else [f"{flag}={value}"]
            continue
        if equals and flag_name(name) in kinds:
            raise UserError(f"{arg} is no flag; write {flag_name(name)} {value}.")
        if name.startswith("-") and f"-{name}" in kinds:
            raise UserError(f"{name} is no flag; a flag begins with two dashes: -{name}.")
        words += _value(flag, kinds.get(flag), arg)
    return words


def _value(flag: str, kind: Any, text: str) -> list[str]:
    kind = _bare(kind)
    if kind is bool and text.lower() in ("true", "false", "yes", "no", "on", "off", "0", "1"):
        raise UserError(f"{flag} takes no value: {flag} switches it on, and --no-{flag[2:]} off.")
    if kind is None and flag.startswith("--no-") and text.lower() in ("true", "false"):
        raise UserError(f"{flag} takes no value: leave {text.capitalize()} out, or type --{flag[5:]} to switch it on.")
    if get_origin(kind) is tuple and get_args(kind)[0] is not str:  # a text may have spaces and commas of its own
        # (400, 400), [400,400] and 400,400 as Python and others write them.
        return [part for part in re.split(r"[\s,()\[\]]+", text) if part]
    return [text]


def own_flags_last(args: Sequence[str], known: Collection[str]) -> list[str]:
    """The typed words, with the flags of a run's experiment as words of the flag `--anew`.

    Args:
      args: the words that were typed behind the run.
      known: the subcommand's own flags.

    Returns:
      The words of the subcommand, and then those of the others.

    >>> own_flags_last(["W", "--sampling-steps", "10", "25", "--n", "4", "--sampler=ddim"], ["--n"])
    ['W', '--n', '4', '--anew', 'sampling-steps=10', 'sampling-steps=25', 'sampler=ddim']
    """
    words: list[str] = []
    own: list[str] = []
    starts = [i for i, arg in enumerate(args) if arg.startswith("--")]
    for start, stop in itertools.pairwise([0, *starts, len(args)]):
        part = args[start:stop]
        flag, equals, value = (part[0] if part else "").partition("=")
        flag = flag.replace("_", "-")
        if not flag.startswith("--") or flag in known or f"--{flag.removeprefix('--no-')}" in known:
            words += part
        else:
            own += [f"{flag[2:]}={given}" for given in [*([value] if equals else []), *part[1:]]] or [flag[2:]]
    return [*words, "--anew", *own] if own else words


def switched(function: Function, words: Sequence[str]) -> list[str]:
    """Words without a value as those of a switch: `noise` as `noise=True`, and `no-noise` as `noise=False`.

    Args:
      function: the experiment's function.
      words: the words that were typed, without their dashes.

    Returns:
      The words; those of flags that are no switches are as they were.

    >>> from jaxgen.flags import Late
    >>> def experiment(*, noise: Late[bool] = True, sampling_steps: Late[int] = 100): ...
    >>> switched(experiment, ["no-noise", "sampling-steps=5"])
    ['noise=False', 'sampling-steps=5']
    """
    kinds = late(function)

    def spelled(word: str) -> str:
        name = word.replace("-", "_")
        if _bare(kinds.get(name)) is bool:
            return f"{word}=True"
        return f"{word[3:]}=False" if name.startswith("no_") and _bare(kinds.get(name[3:])) is bool else word

    return [word if "=" in word else spelled(word) for word in words]


def anew(function: Function, words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The values of an experiment's flags of sampling and measuring, as they were typed.

    Args:
      function: the experiment's function.
      words: the words `name=value`; a flag may have several values.

    Returns:
      The values of each flag, by its name.

    Raises:
      UserError: if a flag has no value.

    >>> from jaxgen.flags import Late
    >>> def experiment(*, steps: int = 5, sampling_steps: Late[int] = 100): ...
    >>> anew(experiment, ["sampling-steps=10", "sampling-steps=1e3"])
    {'sampling_steps': (10, 1000)}
    """
    typed: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--{name} has no value; give one or more behind it.")
        typed.setdefault(name.replace("-", "_"), []).append(value)
    kinds = late(function)
    keyword = inspect.Parameter.KEYWORD_ONLY
    flags = [
        inspect.Parameter(name, keyword, annotation=tuple[on_command_line(kinds[name]), ...])  # type: ignore[misc]
        for name in typed
    ]

    def read(**values: Any) -> dict[str, Any]:
        return values

    read.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    read.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return tyro.cli(read, args=[part for name, of in typed.items() for part in (flag_name(name), *of)], registry=registry())


def grouped(
    groups: Mapping[str, Mapping[str, inspect.Parameter]], helps: Mapping[str, str], defaults: Mapping[str, str]
) -> Function:
    """A function for the parser, of one argument a group, that returns all the flags.

    Args:
      groups: the flags of each group, by the group's title and by the flag's name.
      helps: the text that `--help` shows for each flag.
      defaults: the text that `--help` shows for a flag's default, where it is not the value in the signature.
    """
    fields = {}
    for title, parameters in groups.items():
        flags = []
        for name, parameter in parameters.items():
            hint = f"(default: {defaults[name]})" if name in defaults else None
            told = tyro.conf.arg(prefix_name=False, help=helps.get(name), help_behavior_hint=hint)
            flags.append(
                (name, Annotated[on_command_line(parameter.annotation), told], dataclasses.field(default=parameter.default))
            )
        if flags:
            fields[title] = dataclasses.make_dataclass(title, flags, namespace={"__doc__": " "})

    def merged(**values: Any) -> dict[str, Any]:
        return {f.name: getattr(value, f.name) for value in values.values() for f in dataclasses.fields(value)}

    keyword = inspect.Parameter.KEYWORD_ONLY
    titles = [inspect.Parameter(title, keyword, annotation=kind) for title, kind in fields.items()]
    merged.__signature__ = inspect.Signature(titles)  # type: ignore[attr-defined]
    merged.__annotations__ = dict(fields)
    return merged


def helps(*functions: Function) -> dict[str, str]:
    """The descriptions of arguments in the docstrings of functions, by name, with a capital letter first."""
    found = {}
    for function in functions:
        section = (inspect.getdoc(function) or "").partition("Args:\n")[2].partition("\n\n")[0]
        for name, text in re.findall(r"^  (\w+): ((?:.|\n    )*)", section, flags=re.MULTILINE):
            text = re.sub(r"\s+", " ", text).strip()
            # A symbol stays as it is: p(x | z).
            found[name] = text[0].upper() + text[1:] if re.match(r"[a-z]+[ ,;.:]", text) else text
    return found
