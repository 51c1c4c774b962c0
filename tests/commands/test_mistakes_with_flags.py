"""Mistakes with flags, on a command line and in Python: each is answered in a sentence that names its cause and mend."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from contract import make
from mistakes import answered

import experiments
import jaxgen
from jaxgen import flags
from jaxgen.devices import parallel

FLAGS = [
    ("vae --latnets 4", "Perhaps you meant: --latents INT"),
    ("vae --hiden 4", "Perhaps you meant: --hidden"),
    ("vae --steps many", "'many' is no whole number; give one such as 1000 or 1e3.*--steps INT"),
    ("vae --steps 1.5", "'1.5' is no whole number"),
    ("vae --steps 1,000", "'1,000' is no whole number; write 1000 instead"),
    ("vae --steps 1e999999999", "'1e999999999' is no whole number"),
    ("vae --latents nan", "'nan' is no whole number"),
    ("vae --hidden 8 wide", "'wide' is no whole number"),
    ("vae --hidden 8x8", "'8x8' is no whole number; separate several by spaces: 8 8"),
    ("iwae --steps 1k", "'1k' is no whole number"),
    ("vae --learning-rate 0,001", "'0,001' is no number; write 0.001 instead"),
    ("vae --max-kl high", "'high' is no number"),
    ("gan --dropout 0.5,half", "'half' is no number"),
    ("vae --bf16 yes", "^--bf16 takes no value: --bf16 switches it on, and --no-bf16 off"),
    ("vae --bf16=True", "^--bf16 takes no value"),
    ("vae --no-analytic-kl false", "^--no-analytic-kl takes no value: leave False out"),
    ("clip --flip 0", "^--flip takes no value"),
    ("vae steps=5", "^steps=5 is no flag; write --steps 5"),
    ("gan batch_size=5", "^batch_size=5 is no flag; write --batch-size 5"),
    ("vae -steps 5", "^-steps is no flag; a flag begins with two dashes: --steps"),
    ("vae --beta 4 --max-kl 3", "^--max-kl takes the place of --beta"),
    ("vae --dataset", "Missing value for argument '.*--dataset'"),
    ("vae --likelihood poisson", "invalid choice 'poisson'.*'bernoulli'"),
    ("gan --dropout 0.5", "Missing value for argument '.*--dropout'.*Expected 2 values"),
    ("vae --batch-size 0", "^--batch-size is 0; give 1 or more"),
    ("vae --batch-size -8", "^--batch-size is -8; give 1 or more"),
    ("vae --latents 0", "^--latents is 0; give 1 or more"),
    ("vae --hidden 8 0", "^--hidden is 8 0; give 1 or more"),
    ("vae --network conv --channels", "^--channels is empty; give one number or more"),
    ("dcgan --channels 0 8", "^--channels is 0 8; give 1 or more"),
    ("vae --learning-rate nan", "^--learning-rate is nan; give a finite number"),
    ("vae --learning-rate inf", "^--learning-rate is inf; give a finite number"),
    ("vae --learning-rate -1", "^--learning-rate is -1.0; give a number above 0"),
    ("wgan --learning-rate 0", "^--learning-rate is 0.0; give a number above 0, or None"),
    ("vae --ema 1.5", "^--ema is 1.5; give 0 or more and less than 1, or None"),
    ("ddpm --ema 1", "^--ema is 1.0; give 0 or more and less than 1"),
    ("vae --beta -1", "^--beta is -1.0; give 0 or more"),
    ("vae --beta nan", "^--beta is nan; give a finite number"),
    ("vae --beta-warmup -1", "^--beta-warmup is -1; give 0 or more"),
    ("vae --max-kl 0", "^--max-kl is 0.0; give a number above 0, or None"),
    ("vae --samples 0", "^--samples is 0; give 1 or more"),
    ("vae --nll-samples 0", "^--nll-samples is 0; give 1 or more"),
    ("vae --clip 0", "^--clip is 0.0; give a number above 0, or None"),
    ("vae --cache-budget nan", "^--cache-budget is nan; give a finite number"),
    ("vae --accumulate 0", "^--accumulate is 0; give 1 or more"),
    ("vae --steps -1", "^--steps is -1; give 0 or more"),
    ("iwae --k 0", "^--k is 0; give 1 or more"),
    ("ladder_vae --inference bottom-up --share", "^--share and --no-by-mean say how a ladder infers"),
    ("ladder_vae --latent-sizes 4 2 --hidden-sizes 8", "^--latent-sizes has 2 layers and --hidden-sizes 1"),
    ("made --raster", "^--raster is a single order; give --agnostic connectivity"),
    ("made --masks 0", "^--masks is 0; give 1 or more"),
    ("pixelcnn_pp --scales 5", "^Sides of 8x8 are not halved evenly by 5 scales; take fewer scales"),
    ("pixelcnn_pp --rate-decay 1.1", "^--rate-decay is 1.1; give a number above 0 and at most 1"),
    ("nvae --components 5", "^--components is of the mixture of bytes; leave it out, or give --binarization none"),
    ("nvae --spectral 0 --spectral-start 1", "^--spectral-start is where --spectral falls from; give --spectral above 0"),
    ("nvae --groups 1 1 1 1 1", "0 blocks and 5 scales of latents do not halve sides of 8x8 evenly; take images or a padding"),
    (
        "nvae --blocks 4",
        "4 blocks and 2 scales of latents do not halve sides of 8x8 evenly; take images or a padding by which 32",
    ),
    ("nvae --groups 1 0", "^--groups is 1 0; give 1 or more"),
    ("ladder_vae --latent-sizes 0 --hidden-sizes 8", "^--latent-sizes is 0; give 1 or more"),
    ("vqvae2 --quantiser gradient --restart 5", "^--restart is of codebooks of running averages; give --quantiser ema"),
    ("vqvae2 --codes 0", "^--codes is 0; give 1 or more"),
    ("hierarchical_code_prior --top-p 2", "^--top-p is 2, and a probability is at most 1"),
    ("hierarchical_code_prior --autoencoder nowhere", "nowhere holds no run"),
    ("iwae --stages 0", "^--stages is 0; give 1 or more"),
    ("gan --dropout 1.0 0.3", "^--dropout is 1.0 0.3; give 0 or more and less than 1"),
    ("gan --units 0", "^--units is 0; give 1 or more"),
    ("dcgan --gamma -1 --norm spectral", "^--gamma is -1.0; give 0 or more"),
    ("dcgan --svm-labels 5", "^--svm-labels 5 cannot show 10 classes; give 10 or more, or 0"),
    ("dcgan --gamma 1", "^--gamma penalises .*; it goes with --norm spectral"),
    ("dcgan --gamma 1 --norm spectral --gamma-every 0", "^--gamma-every is 0; give 1 or more"),
    ("stylegan --lpips lpips.pth", "^Images of 8x8 are too small for LPIPS; take images whose sides are 32"),
    ("latent_autoencoder --lpips lpips.pth", "^Images of 8x8 are too small for LPIPS; take images whose sides are 32"),
    ("stylegan --doublings 2", "^--doublings 2 are more than the 1 of --channels; give as many or fewer"),
    ("stylegan --channels 4 4 4 4", "^--channels has 4 numbers, which halve images of 8x8 to maps of one pixel or less"),
    ("munit --styles 1", "^--styles 1 shows no variety; give 2 or more, or 0"),
    ("munit --gan 0", "^--gan is 0.0; give a number above 0"),
    ("stylegan --hold 0", "^--hold is 0; give 1 or more"),
    ("stylegan --mixing 1", "^--mixing is 1.0; give 0 or more and less than 1"),
    ("progressive_gan --doublings 2", "^--doublings 2 are more than the 1 of --channels; give as many or fewer"),
    (
        "progressive_gan --channels 4 4 4 4 4",
        "Images of 8x8 can be halved 3 times, not 4; give 3 halvings by --channels or fewer",
    ),
    ("progressive_gan --drift -1", "^--drift is -1.0; give 0 or more"),
    ("stacked_modes --packing 3", "^--batch-size 64 is no multiple of --packing 3; give one that is"),
    ("stacked_modes --dataset chalk_digits", "^Stacks are made of grey images; those of chalk_digits.* have 3 channels"),
    ("stacked_modes --mode-samples 0", "^--mode-samples is 0; give 1 or more"),
    ("wgan --critic-steps 0", "^--critic-steps is 0; give 1 or more"),
    ("wgan --penalty clip --limit 0", "^--limit is 0.0; give a number above 0"),
    ("wgan --weight -1", "^--weight is -1.0; give 0 or more"),
    ("ddpm --timesteps 0", "^--timesteps is 0; give 1 or more"),
    ("ddpm --sampling-steps 0", "^--sampling-steps is 0; give 1 or more, or None"),
    ("ddpm --timesteps 10", "^--sampling-steps 100 are more than --timesteps 10; give as many or fewer"),
    ("ddpm --blocks -1", "^--blocks is -1; give 0 or more"),
    ("ddpm --dropout 1", "^--dropout is 1.0; give 0 or more and less than 1"),
    ("autoguidance --smallest 100", "^Sampling runs from the --largest noise down to the --smallest"),
    ("autoguidance --interval 3 0.2", "^--interval 3 0.2 has no noise in it; give the least noise first"),
    ("edm --augment 0.12 --flip", "^--augment mirrors images too, and says so to the network; leave --flip out"),
    ("edm --augment 1.5", "^--augment is 1.5; give a number from 0 to 1"),
    ("dcgan --augment color --ada-target 0.6", "^--augment and --ada-target are two augmentations of the same images"),
    ("dcgan --ada-target 2", "^--ada-target is 2.0; give a number from 0 to 1"),
    ("dcgan --ada-images 0", "^--ada-images is 0; give 1 or more"),
    ("edm --ema-widths 0.3", "^--ema-widths is 0.3; give a number above 0 and up to 0.28"),
    ("consistency --noises 0.5 80", "^--noises 0.5 80 do not descend; give the largest first"),
    ("dit --timesteps 10", "^--sampling-steps 100 are more than --timesteps 10; give as many or fewer"),
    ("dit --guidance -1", "^--guidance is -1.0; give 0 or more"),
    ("edm --smallest 100", "^Sampling runs from the --largest noise down to the --smallest"),
    ("edm --sampling-steps 1", "^A grid of 1 has no end and start; give 2 times or more"),
    ("improved_ddpm --objective simple --variance learned", "^--objective simple trains no variance; give --variance small"),
    ("latent_diffusion --told None --guidance 3", "^--guidance 3 leads to a condition, and --told None has none; leave"),
    ("latent_diffusion --drop 0 --guidance 3", "^--guidance 3 needs a model that also knows no condition, .*give --guidance 1"),
    ("score_sde --sampling-steps 1", "^A grid of 1 has no end and start; give 2 times or more"),
    ("score_sde --tolerance 0", "^--tolerance is 0.0; give a number above 0"),
    ("flow_matching --shift 0", "^--shift is 0.0; give a number above 0"),
    ("reflow --distil 2 --sampling-steps 4", "^--distil 2 learns the velocity where 2 of Euler's steps begin and nowhere else"),
    ("reflow --distil 2 --sampler heun", "nowhere else; sample by --sampler euler and --sampling-steps that divide 2"),
    ("ncsn --levels 1", "^Noise has two levels or more"),
    ("ncsn --smallest 5", "^Noise .* runs from --smallest above 0 up to a larger --largest"),
    ("ncsn --step-size -1", "^--step-size is -1.0; give a number above 0"),
    ("ncsn --langevin-steps 0", "^--langevin-steps is 0; give 1 or more"),
    ("modes --decay-steps 0", "^--decay-steps is 0; give 1 or more"),
    ("modes --dataset digits", "invalid choice 'digits'.*'gaussian_ring'"),
    ("clip --vocabulary 10", "^A vocabulary of 10 tokens cannot be learned .*; give --vocabulary 312 or more"),
    ("clip --text-length 1", "^A text of 1 tokens has no room .*; give a length of 2 or more"),
    ("clip --temperature 0", "^--temperature is 0.0; give a number above 0"),
    ("clip --batch-size 1", "^A batch of one pair has no negatives .*; give --batch-size 2 or more"),
    ("clip --pairs 100000", "has no split 'test\\[:100000\\]'; it has test of 2,160 examples, train of"),
    ("vae --likelihood logistic --binarization static", "makes binary images; it goes with --likelihood bernoulli"),
]

SIZES = [
    (
        "latent_autoencoder --channels 4 4 4 4 4",
        "^Images of 8x8 cannot be halved 4 times; give --channels fewer numbers than 5",
    ),
    ("latent_autoencoder --layers 3", "^Images of 8x8 are too small for a discriminator of 3 layers; give fewer --layers"),
    ("dcgan --channels 8 8 8 8", "^Images of 8x8 can be halved 3 times, not 4; give 3 --channels or fewer"),
    ("conditional_gan --channels 8 8 8 8", "^Images of 8x8 can be halved 3 times, not 4"),
    ("vae --network residual --channels 4 8 8 8 8", "^A kernel of 3x3 does not fit .*; shrink the images fewer times"),
    ("ddpm --channels 7", "^--channels begins with 7; .* an even number from 4"),
    ("dit --patch 3", "^Images of 8x8 cannot be cut into patches of 3x3; give a --patch that divides both sides"),
    ("dit --width 6 --heads 2", "^Sines and cosines of two axes make a multiple of four features, 4 or more, and not 6"),
    ("dit --heads 5", "^96 channels cannot be cut into 5 heads of equal size"),
    ("clip --heads 3", "^256 channels cannot be cut into 3 heads of equal size; give a width that they divide"),
    ("clip --text-width 6", "^6 channels cannot be cut into 4 heads"),
    (
        "clip --encoder vit --patch 5",
        "^Images of 32x32 cannot be cut into patches of 5x5; give a --patch that divides",
    ),
    ("clip --depth 9", "^Images of 32x32 vanish .*; give the network fewer stages \\(--depth\\), or larger images"),
    ("clip --width 4", "^A stem of 0 channels holds nothing; give the network a larger --width"),
    ("vae --accumulate 3", "^A batch of 128 cannot be cut into 3 micro-batches of equal size; the nearest .* 126 and 129"),
    ("vae --parallel pmap --batch-size 12", "^A batch of 12 cannot be cut over 8 devices of equal size; .* are 8 and 16"),
    ("vae --fsdp 3", "^--fsdp 3 does not divide the 8 devices there are; give a divisor of it"),
    ("vae --fsdp 0", "^--fsdp 0 does not divide"),
    ("vae --parallel pmap --fsdp 2", "^--fsdp cuts the parameters.*; use --parallel jit"),
]

LOOP = [
    ("vae --seed -1", "^--seed is -1; give a number from 0 to 4294967295"),
    ("vae --seed 4294967296", "^--seed is 4294967296; give a number from 0"),
    ("vae --log-every 0", "^--log-every is 0; give 1 or more"),
    ("vae --evaluate-every -5", "^--evaluate-every is -5; give 1 or more"),
    ("vae --save-every 0", "^--save-every is 0; give 1 or more"),
    ("vae --keep 0", "^--keep is 0; give 1 or more"),
    ("vae --steps-per-call 0", "^--steps-per-call is 0; give 1 or more"),
    ("vae --skip-not-finite -1", "^--skip-not-finite is -1; give 0 or more"),
    ("vae --parallel threads", "invalid choice 'threads'.*'pmap'"),
    ("vae --processes 2", "^--processes and --process need the --coordinator HOST:PORT"),
    ("vae --coordinator localhost:9", "^--coordinator HOST:PORT needs --processes N and --process I"),
    ("vae --coordinator localhost:9 --processes 2 --process 2", "^--coordinator .* with 0 <= I < N"),
    ("vae --coordinator localhost:9 --processes 2 --process -1", "^--process is -1; give 0 or more, or None"),
    ("vae --coordinator localhost --processes 2 --process 0", "^--coordinator is localhost; give HOST:PORT.* localhost:8476"),
    ("vae --coordinator 10.0.0.1:http --processes 2 --process 0", "^--coordinator is 10.0.0.1:http; .* such as 10.0.0.1:8476"),
    ("vae --coordinator :8476 --processes 2 --process 0", "^--coordinator is :8476; give HOST:PORT"),
    ("vae --coordinator h:99999 --processes 2 --process 0", "^--coordinator is h:99999; .* from 1 to 65535"),
    ("vae --coordinator auto --processes 2", "^--coordinator auto detects --processes and --process; leave them out"),
]


@pytest.mark.parametrize(("line", "sentence"), [*FLAGS, *SIZES, *LOOP], ids=lambda text: text[:60])
def test_a_mistake(line: str, sentence: str, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answered(line, sentence, capsys, tmp_path)


NAMES = [m.name for m in pkgutil.iter_modules(experiments.__path__) if not m.ispkg]


def numbers(kind: Any) -> list[Any]:
    """The numeric types in a flag's type, without those that declare a range."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        return [] if any(isinstance(m, flags.Range) for m in marks) and inner in (int, float) else numbers(inner)
    if kind in (int, float):
        return [kind]
    return [one for part in get_args(kind) for one in numbers(part) if get_origin(kind) is not type(None)]


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_an_experiment_declares_its_range(name: str) -> None:
    function = inspect.unwrap(importlib.import_module(f"experiments.{name}").experiment)
    for flag, kind in get_type_hints(function, include_extras=True).items():
        if flag != "return" and "Literal" not in str(kind):
            assert not numbers(kind), f"--{flag} of {name} takes any number; declare its range by a type of jaxgen.flags"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"latents": "4"}, "--latents is 4; give a whole number"),
        ({"latents": 4.0}, "--latents is 4.0; give a whole number"),
        ({"latents": True}, "--latents is True; give a whole number"),
        ({"hidden": [8]}, r"--hidden is \[8\]; give a tuple"),
        ({"hidden": (8, "8")}, "--hidden is 8 8; give a whole number"),
        ({"beta": None}, "--beta is None; give a number"),
        ({"beta": "1"}, "--beta is 1; give a number"),
        ({"bf16": 1}, "--bf16 is 1; give True or False"),
        ({"dataset": None}, "--dataset is None; give a text"),
        ({"network": "cnn"}, "--network is cnn; give one of mlp, conv, residual"),
        ({"ema": "high"}, "--ema is high; give a number, or None"),
        ({"latnets": 4}, "There is no --latnets here; the nearest is --latents"),
        ({"q": 4}, "There is no --q here; there are --dataset, --binarization"),
    ],
    ids=str,
)
def test_a_mistake_in_python(given: dict[str, Any], sentence: str) -> None:
    from experiments.vae import experiment

    with pytest.raises(jaxgen.UserError, match=f"^{sentence}"):
        experiment(**given)


def test_a_positional_flag_is_checked_too() -> None:
    @jaxgen.recorded
    def experiment(latents: flags.Count = 1, **more: float) -> jaxgen.Experiment:
        raise NotImplementedError

    with pytest.raises(jaxgen.UserError, match="--latents is 0"):
        experiment(0)
    with pytest.raises(NotImplementedError):
        experiment(1, anything=2.0)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (flags.Count, [1, 10**30], [0, -1, 1.0, True, "1", None]),
        (flags.Whole, [0, 3], [-1, 0.0, False]),
        (flags.Counts, [(1,), (2, 3)], [(), (0,), (1, 2.0), [1], 1]),
        (flags.Positive, [1e-30, 1], [0.0, -1.0, float("inf"), float("nan"), True]),
        (flags.NonNegative, [0.0, 0, 7.5], [-1e-9, float("inf"), "0"]),
        (flags.Share, [0.0, 0.999], [1.0, 1, -0.1, float("nan")]),
        (flags.Seed, [0, 2**32 - 1], [-1, 2**32, 1.0, None]),
        (flags.Share | None, [None, 0.5], [1.5, "None"]),
        (tuple[flags.Share, flags.Share], [(0.0, 0.5)], [(0.5,), (0.5, 1.0), (0.1, 0.1, 0.1), 0.5]),
        (object, [{}, 3j], []),
    ],
    ids=["Count", "Whole", "Counts", "Positive", "NonNegative", "Share", "Seed", "optional", "pair", "unknown"],
)
def test_types_and_ranges(kind: Any, right: list[Any], wrong: list[Any]) -> None:
    def function(*, flag: Any) -> None: ...

    function.__annotations__["flag"] = kind
    for value in right:
        flags.check(function, {"flag": value})
    for value in wrong:
        with pytest.raises(jaxgen.UserError, match=r"^--flag is .*; give "):
            flags.check(function, {"flag": value})


def test_a_number_of_numpys_says_what_it_is() -> None:
    with pytest.raises(jaxgen.UserError, match=r"^--seed is np.int64\(3\); give a whole number"):
        jaxgen.fit(make("vae"), seed=np.int64(3))


def test_a_batch_that_hosts_cannot_share() -> None:
    with pytest.raises(jaxgen.UserError, match="A batch of 8 examples cannot be cut for 3 hosts; give a multiple of 3"):
        make("vae").train.read(0, seed=0, shard=(0, 3))
    with pytest.raises(jaxgen.UserError, match="the nearest batch sizes that can are 8"):
        parallel.check([4], devices=4, accumulate=2)
