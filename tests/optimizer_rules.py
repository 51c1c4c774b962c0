"""The optimizer of every player of every experiment, as its paper or its authors' code has it, and what it does to a weight."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

STEPS = 50
PARAMETERS = {"kernel": (4, 3), "bias": (3,), "scale": (3,), "logit_scale": ()}
"""By name: shapes of what the optimizers move here."""


class Rule(NamedTuple):
    """A class of `torch.optim` with its arguments, and what its authors put around it."""

    name: str
    options: Mapping[str, Any]
    rate: float | Callable[[int], float]
    source: str
    decayed: tuple[str, ...] = ()
    limit: float | None = None


def adam(rate: Any, source: str, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    return Rule("Adam", {"betas": (b1, b2), "eps": eps}, rate, source)


def adamw(b2: float, eps: float) -> Rule:
    options = {"betas": (0.9, b2), "eps": eps, "weight_decay": 0.2}
    source = "Radford et al. 2021, common hyperparameters; warm-up along a line; no decay of gains, biases and the temperature"
    return Rule("AdamW", options, lambda step: 1e-3 * min(step / 100, 1), source, decayed=("kernel",))


def rmsprop(limit: float | None = None) -> Rule:
    return Rule("RMSprop", {"alpha": 0.99, "eps": 1e-8}, 5e-5, "WassersteinGAN/main.py: optim.RMSprop(lr=5e-5)", limit=limit)


def sgd(rate: Any, source: str, momentum: float) -> Rule:
    return Rule("SGD", {"momentum": momentum}, rate, source)


def coupled(rate: Any, decay: float, source: str, b1: float) -> Rule:
    """Adam with a decay of all parameters in the gradient."""
    return Rule("Adam", {"betas": (b1, 0.999), "eps": 1e-8, "weight_decay": decay}, rate, source, decayed=tuple(PARAMETERS))


def cosine(peak: float) -> Callable[[int], float]:
    return lambda step: peak * (1 + np.cos(np.pi * step / 20_000)) / 2


def halfway(peak: float, steps: int) -> Callable[[int], float]:
    return lambda step: peak * min(1.0, max(0.0, 2 - 2 * step / steps))


OWN = "Kingma & Ba 2015, algorithm 1; our choice of rate"
PIX2PIX = "Isola et al. 2017, section 3.3; linear to zero as in junyanz/pytorch-CycleGAN-and-pix2pix, util/scheduler"
MUNIT = "NVlabs/MUNIT, trainer.py: Adam(lr, betas=(0.5, 0.999), weight_decay=1e-4), StepLR of 0.5; our rate and its steps"
SPADE = "NVlabs/SPADE, options/train_options.py: betas 0 and 0.9, half and twice 2e-4; linear to zero; our rates"
CYCLEGAN = "Zhu et al. 2017, section 4: constant and then linear to zero, here after each step and not after each epoch"
LDM = "latent-diffusion, ldm/models/autoencoder.py: Adam(lr, betas=(0.5, 0.9)) of both; our choice of rate"
SNAIL = "rosinality/vq-vae-2-pytorch, train_pixelsnail.py: optim.Adam without a schedule; our choice of rate"
ADAIN = "naoto0804/pytorch-AdaIN, train.py: lr / (1 + 5e-5 t); our choice of rate"
STYLEGAN = "NVlabs/stylegan, train.py: Adam of 0.001 with beta1=0.0, beta2=0.99, epsilon=1e-8; our choice of rate"
PROGRESSIVE = (
    "tkarras/progressive_growing_of_gans, config.py: Adam with beta1=0.0, beta2=0.99, epsilon=1e-8; our choice of rate"
)
PACGAN = "fjxmlzn/PacGAN, stacked_MNIST_experiments, config.py: learning_rate 0.0002, beta1 0.5"
SDA = "lisa-lab/DeepLearningTutorials, code/SdA.py: param - lr * gparam; our choice of the rate of pretraining"
CYCADA = "jhoffman/pytorch-CycleGAN-and-pix2pix, models/cycle_gan_semantic_model.py: optimizer_CLS, of a constant rate"
ADDA = "jhoffman/cycada_release, cycada/tools/train_adda_net.py: Adam of 1e-5 with betas of 0.9 and 0.999; our choice of rate"
DCGAN = "Radford et al. 2015, section 4"

RULES: dict[tuple[str, str, str], Rule] = {
    ("autoencoder", "", "model"): adam(1e-3, OWN),
    ("vae", "", "model"): adam(1e-3, OWN),
    ("vae", "max_kl=2.0", "multiplier"): adam(1e-2, OWN),
    ("vae", "optimizer='adagrad', learning_rate=1e-2", "model"): Rule(
        "Adagrad",
        {"initial_accumulator_value": 0.1, "eps": 1e-10},
        1e-2,
        "Higgins et al. 2017, appendix A.1: Adagrad, lr=1e-2, which begins at 0.1 in TensorFlow",
    ),
    ("iwae", "", "model"): adam(1e-3, "Burda et al. 2015, section 5: epsilon 1e-4", eps=1e-4),
    ("vib", "", "model"): adam(2e-4, "Alemi et al. 2017, beta1 of 0.5", b1=0.5),
    ("adda", "", "discriminator"): adam(1e-4, ADDA),
    ("adda", "", "model"): adam(1e-4, ADDA),
    ("cycada", "steps=40", "translators"): adam(halfway(2e-4, 40), CYCLEGAN, b1=0.5),
    ("cycada", "steps=40", "discriminators"): adam(halfway(2e-4, 40), CYCLEGAN, b1=0.5),
    ("cycada", "", "classifier"): adam(1e-3, CYCADA, b1=0.5),
    ("lenet", "", "model"): adam(1e-3, OWN),
    ("lenet", "optimizer='sgd'", "model"): sgd(0.05, "PyTorch's momentum; our choice of rate", 0.9),
    ("sparse_autoencoder", "anneal_steps=100", "model"): adam(lambda step: 1e-3 - 9e-6 * step, OWN),
    ("sparse_autoencoder", "optimizer='momentum', learning_rate=0.01, final_learning_rate=0.01", "model"): sgd(
        0.01, "Makhzani & Frey 2013, section 4.1.1", 0.9
    ),
    ("regularised_autoencoder", "", "model"): adam(3e-3, OWN),
    ("stacked_autoencoder", "pretraining_rate=0.02", "layer1"): sgd(0.02, SDA, 0.0),
    ("stacked_autoencoder", "pretraining_rate=0.02", "classifier"): sgd(0.1, SDA, 0.0),
    ("vqvae", "", "model"): adam(1e-3, OWN),
    ("vqvae", "learning_rate=3e-4", "model"): adam(3e-4, "van den Oord et al. 2017; sonnet/examples/vqvae_example.ipynb"),
    ("vqvae2", "", "model"): adam(1e-3, OWN),
    ("vqvae2", "learning_rate=3e-4", "model"): adam(3e-4, "rosinality/vq-vae-2-pytorch, train_vqvae.py: optim.Adam(lr=3e-4)"),
    ("dcgan", "", "discriminator"): adam(2e-4, DCGAN, b1=0.5),
    ("dcgan", "", "generator"): adam(2e-4, DCGAN, b1=0.5),
    ("conditional_gan", "", "discriminator"): adam(2e-4, DCGAN, b1=0.5),
    ("conditional_gan", "", "generator"): adam(2e-4, DCGAN, b1=0.5),
    ("pix2pix", "steps=40", "discriminator"): adam(halfway(2e-4, 40), PIX2PIX, b1=0.5),
    ("pix2pix", "steps=40", "generator"): adam(halfway(2e-4, 40), PIX2PIX, b1=0.5),
    ("cyclegan", "steps=40", "translators"): adam(halfway(2e-4, 40), CYCLEGAN, b1=0.5),
    ("cyclegan", "steps=40", "discriminators"): adam(halfway(2e-4, 40), CYCLEGAN, b1=0.5),
    ("style_transfer", "", "autoencoder"): adam(1e-3, OWN),
    ("style_transfer", "", "decoder"): adam(lambda step: 1e-3 / (1 + 5e-5 * step), ADAIN),
    ("spade", "steps=40", "generator"): adam(halfway(4e-4, 40), SPADE, b1=0.0, b2=0.9),
    ("spade", "steps=40", "discriminator"): adam(halfway(4e-4, 40), SPADE, b1=0.0, b2=0.9),
    ("munit", "halve_every=20", "discriminators"): coupled(lambda step: 1e-3 * 0.5 ** (step // 20), 1e-4, MUNIT, b1=0.5),
    ("munit", "halve_every=20", "autoencoders"): coupled(lambda step: 1e-3 * 0.5 ** (step // 20), 1e-4, MUNIT, b1=0.5),
    ("latent_autoencoder", "", "autoencoder"): adam(1e-3, LDM, b1=0.5, b2=0.9),
    ("latent_autoencoder", "", "discriminator"): adam(1e-3, LDM, b1=0.5, b2=0.9),
    ("stylegan", "channels=(4,)", "discriminator"): adam(5e-3, STYLEGAN, b1=0.0, b2=0.99),
    ("stylegan", "channels=(4,)", "generator"): adam(5e-3, STYLEGAN, b1=0.0, b2=0.99),
    ("progressive_gan", "channels=(4,)", "discriminator"): adam(5e-3, PROGRESSIVE, b1=0.0, b2=0.99),
    ("progressive_gan", "channels=(4,)", "generator"): adam(5e-3, PROGRESSIVE, b1=0.0, b2=0.99),
    ("stacked_modes", "", "discriminator"): adam(2e-4, PACGAN, b1=0.5),
    ("stacked_modes", "", "generator"): adam(2e-4, PACGAN, b1=0.5),
    ("wgan", "", "critic"): adam(1e-4, "Gulrajani et al. 2017, algorithm 1", b1=0.0, b2=0.9),
    ("wgan", "", "generator"): adam(1e-4, "Gulrajani et al. 2017, algorithm 1", b1=0.0, b2=0.9),
    ("wgan", "penalty='clip'", "critic"): rmsprop(limit=0.01),
    ("wgan", "penalty='clip'", "generator"): rmsprop(),
    ("modes", "", "discriminator"): adam(cosine(3e-3), "Gulrajani et al. 2017; our choice of rate", b1=0.0, b2=0.9),
    ("modes", "", "generator"): adam(cosine(3e-3), "Gulrajani et al. 2017; our choice of rate", b1=0.0, b2=0.9),
    ("modes", "method='gan'", "generator"): adam(1e-3, DCGAN + "; our choice of rate", b1=0.5),
    ("modes", "method='ddpm'", "model"): adam(cosine(1e-3), OWN),
    ("code_prior", "", "model"): adam(1e-3, "the UvA deep learning tutorials' rate, without its decay"),
    ("hierarchical_code_prior", "", "top"): adam(1e-3, SNAIL),
    ("hierarchical_code_prior", "", "bottom"): adam(1e-3, SNAIL),
    ("classifier_free_guidance", "", "model"): adam(1e-3, "our choice of rate, as for ddpm on digits"),
    ("classifier_guidance", "steps=40", "model"): Rule(
        "AdamW",
        {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05},
        lambda step: 3e-4 * max(0.0, 1 - step / 40),
        "guided-diffusion, README and scripts/classifier_train.py: torch's AdamW of all parameters, annealed to 0 along a line",
        decayed=tuple(PARAMETERS),
    ),
    ("dit", "", "model"): adam(1e-3, "DiT/train.py: AdamW without decay; our choice of rate"),
    ("latent_diffusion", "", "model"): Rule(
        "AdamW",
        {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
        1e-3,
        "latent-diffusion, ldm/models/diffusion/ddpm.py: torch.optim.AdamW(params, lr=lr), with its decay of 0.01; our rate",
        decayed=tuple(PARAMETERS),
    ),
    ("edm", "", "model"): adam(1e-3, "Karras et al. 2022, table 7"),
    ("autoguidance", "", "model"): adam(1e-3, "Karras et al. 2022, table 7, as for edm"),
    ("flow_matching", "", "model"): adam(1e-3, "our choice of rate, as for ddpm on digits"),
    ("reflow", "", "model"): adam(3e-4, "Liu et al. 2023, authors' code: Adam of 2e-4; our choice of rate"),
    ("improved_ddpm", "", "model"): adam(1e-3, "Nichol & Dhariwal 2021, appendix A: AdamW without decay; our choice of rate"),
    ("score_sde", "", "model"): adam(1e-3, "our choice of rate, as for ddpm on digits"),
    ("vdm", "", "model"): Rule(
        "AdamW",
        {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.01},
        lambda step: 2e-3 * min(step / 100, 1),
        "google-research/vdm, configs/cifar10.py and experiment.py (`decay_mask_fn`); our choice of rate",
        decayed=("kernel", "scale", "logit_scale"),
    ),
    ("ncsn", "", "model"): adam(1e-3, "ncsn/configs/anneal.yml"),
    ("planar_flow", "", "model"): adam(1e-3, OWN),
    ("ladder_vae", "", "model"): adam(1e-3, "github.com/casperkaae/LVAE: epsilon 1e-4; our choice of rate", eps=1e-4),
    ("made", "", "model"): adam(1e-3, "karpathy/pytorch-made, run.py: Adam of 1e-3, with a decay of the weights"),
    ("nvae", "warmup=20, decay_steps=20", "model"): Rule(
        "Adamax",
        {"betas": (0.9, 0.999), "eps": 1e-3, "weight_decay": 3e-4},
        lambda step: 5e-3 * step / 20 if step < 20 else 1e-4 + 4.9e-3 * (1 + np.cos(np.pi * min(step / 20 - 1, 1))) / 2,
        "github.com/NVlabs/NVAE, train.py: epsilon 1e-3, decay in the gradient; a cosine by steps; our choice of rate",
        decayed=tuple(PARAMETERS),
    ),
    ("pixelcnn_pp", "rate_decay=0.99", "model"): adam(
        lambda step: 1e-3 * 0.99**step,
        "openai/pixel-cnn, train.py: the rate falls by a factor a step; Adam's epsilon outside the root",
    ),
    ("realnvp", "", "model"): Rule(
        "Adam",
        {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 5e-5},
        1e-3,
        "Dinh et al. 2017, section 4.1; the L2 penalty of lengths and factors is in the gradient",
        decayed=("scale",),
    ),
    ("glow", "warmup_epochs=0.0", "model"): Rule(
        "Adamax",
        {"betas": (0.9, 1 - 8 / 1437), "eps": 1e-8},
        1e-3,
        "openai/glow, optim.py: beta2 of one epoch, here of 1,437 digits in batches of 8",
    ),
    ("ddpm", "", "model"): adam(1e-3, OWN),
    ("ddpm", "learning_rate=2e-4, warmup=40", "model"): adam(
        lambda step: 2e-4 * min(step / 40, 1), "diffusion/scripts/run_cifar.py, whose warm-up has 5,000 steps"
    ),
    ("clip", "encoder='resnet'", "model"): adamw(0.999, 1e-8),
    ("clip", "encoder='vit'", "model"): adamw(0.98, 1e-6),
}
"""By experiment, flags and player."""


def start(rule: Rule) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    largest = rule.limit or 1.0
    return {name: rng.uniform(-largest, largest, shape) for name, shape in PARAMETERS.items()}


def gradients() -> Iterator[dict[str, np.ndarray]]:
    """Of the size that a critic's are, beside which an epsilon in the wrong place is large."""
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        yield {name: 1e-5 * rng.normal(size=shape) for name, shape in PARAMETERS.items()}


def rate(rule: Rule, step: int) -> float:
    return rule.rate(step) if callable(rule.rate) else rule.rate


def moves(rule: Rule) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """Parameters, gradients and the move that the rule makes of them, step by step, in double precision."""
    params = start(rule)
    first, second = ({name: np.zeros(shape) for name, shape in PARAMETERS.items()} for _ in range(2))
    o = rule.options
    for step, grads in enumerate(gradients()):
        moved, t, lr = {}, step + 1, rate(rule, step)
        for name, g in grads.items():
            p = params[name]
            if rule.name == "Adamax":
                (b1, b2), eps = o["betas"], o["eps"]
                g = g + o.get("weight_decay", 0.0) * p * (name in rule.decayed)
                first[name] = b1 * first[name] + (1 - b1) * g
                second[name] = np.maximum(b2 * second[name], np.abs(g) + eps)
                new = p - lr / (1 - b1**t) * first[name] / second[name]
            elif rule.name in ("Adam", "AdamW"):
                (b1, b2), eps = o["betas"], o["eps"]
                decay = o.get("weight_decay", 0.0) * (name in rule.decayed)
                g = g + decay * p * (rule.name == "Adam")  # Adam's is a part of the gradient
                first[name] = b1 * first[name] + (1 - b1) * g
                second[name] = b2 * second[name] + (1 - b2) * g**2
                new = p - lr * (first[name] / (1 - b1**t)) / (np.sqrt(second[name] / (1 - b2**t)) + eps)
                new = new - lr * decay * p * (rule.name == "AdamW")
            elif rule.name == "RMSprop":
                second[name] = o["alpha"] * second[name] + (1 - o["alpha"]) * g**2
                new = p - lr * g / (np.sqrt(second[name]) + o["eps"])
            elif rule.name == "Adagrad":
                second[name] = second[name] + g**2
                new = p - lr * g / (np.sqrt(o["initial_accumulator_value"] + second[name]) + o["eps"])
            else:
                first[name] = o["momentum"] * first[name] + g
                new = p - lr * first[name]
            moved[name] = new if rule.limit is None else np.clip(new, -rule.limit, rule.limit)
        yield params, grads, {name: moved[name] - params[name] for name in moved}
        params = moved
