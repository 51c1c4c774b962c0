"""MUNIT's networks, losses and steps against the authors' own, with the same parameters.

JAXGEN_MUNIT=/path/of/a/checkout/of/NVlabs/MUNIT pytest -m peers tests/peers/test_munit_peers.py
"""

import functools
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parameters import filled, normal
from peers import authors

from jaxgen import objectives
from jaxgen.game import TrainState
from jaxgen.losses import adversarial
from jaxgen.models.cnn.vgg import VGG, DeepMaps
from jaxgen.models.translation import HalvingDiscriminator, MultiScaleDiscriminator, MUNITAutoencoder, munit_edges2shoes
from jaxgen.models.translation.vgg_weights import from_torch
from jaxgen.nn import ImageNorm
from jaxgen.objectives.cycle import DISCRIMINATORS
from jaxgen.objectives.multimodal import AUTOENCODERS, MAPS

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

pytestmark = [pytest.mark.peers]

SIDE = 16
OPTIONS = {"dim": 4, "mlp_dim": 10, "style_dim": 6, "activ": "relu", "n_downsample": 2, "n_res": 1, "pad_type": "reflect"}
JUDGE = {"dim": 4, "norm": "none", "activ": "lrelu", "n_layer": 3, "gan_type": "lsgan", "num_scales": 2, "pad_type": "reflect"}
OURS = MUNITAutoencoder(latents=6, width=4, halvings=2, style_halvings=4, blocks=1, mlp_width=10)
JUDGES = MultiScaleDiscriminator(functools.partial(HalvingDiscriminator, 3, 4), 2)


@pytest.fixture(scope="module")
def theirs() -> Any:
    return authors.munit()


def nchw(a: Any) -> Any:
    return torch.from_numpy(np.array(jnp.moveaxis(a, -1, 1)))


def nhwc(a: Any) -> np.ndarray:
    return np.moveaxis(a.detach().numpy(), 1, -1)


def close(ours: Any, theirs: Any, tolerance: float = 1e-4) -> None:
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1.0, float(np.abs(theirs).max())))


def of_autoencoder(path: list[str]) -> str:
    """Their name of a layer: blocks of a sequence, whose convolution and normalisation have names of their own."""
    part, layer, *_ = path
    number = int("0" + "".join(c for c in layer if c.isdigit())[:1])
    if part == "content":
        if layer.startswith("block"):
            return f"enc_content.model.3.model.{number}.model.{layer[-1]}.conv"
        return f"enc_content.model.{0 if layer == 'in' else number + 1}.conv"
    if part == "style":
        at = {"in": "0.conv", "style": "6"}.get(layer, f"{number + 1}.conv")
        return f"enc_style.model.{at}"
    if layer.startswith("mlp"):
        return f"mlp.model.{number}.fc"
    if layer.startswith("block"):
        return f"dec.model.0.model.{number}.model.{layer[-1]}.conv"
    if layer == "out":
        return "dec.model.5.conv"
    return f"dec.model.{2 * number + 2}.{'norm' if layer.endswith('norm') else 'conv'}"


def of_judge(path: list[str]) -> str:
    scale, layer = int(path[0][5:]), path[1]
    return f"cnns.{scale}.{3 if layer == 'head' else layer[4:] + '.conv'}"


def copied(module: Any, params: Any, named: Any) -> None:
    """Gives PyTorch's layers our parameters."""
    layers, left = dict(module.named_modules()), {name for name, _ in module.named_parameters()}
    for keys, value in jax.tree_util.tree_leaves_with_path(params):
        *path, kind = [key.key for key in keys]
        a = np.array(value)
        name = named(path)
        own = {"scale": "gamma", "bias": "beta"} if name.endswith("norm") else {"kernel": "weight", "bias": "bias"}
        if kind == "kernel":
            a = a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T
        if path[-1] == "style" and kind == "kernel":
            a = a[..., None, None]  # theirs is a convolution of 1x1
        target = getattr(layers[name], own[kind])
        assert target.shape == a.shape
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.ascontiguousarray(a)))
        left.remove(f"{name}.{own[kind]}")
    assert not left


def images(seed: int, n: int = 2, side: int = SIDE) -> Any:
    return jnp.tanh(normal(n, side, side, 3, seed=seed))


@pytest.mark.parametrize("shape", [(1, 4, 6, 3), (3, 4, 6, 3)])
def test_the_normalisation_of_whole_images(theirs: Any, shape: tuple[int, ...]) -> None:
    x, ours, module = normal(*shape) + 1, ImageNorm(), theirs.networks.LayerNorm(3)
    variables = filled(ours, x)
    with torch.no_grad():
        module.gamma.copy_(torch.from_numpy(np.array(variables["params"]["scale"])))
        module.beta.copy_(torch.from_numpy(np.array(variables["params"]["bias"])))
    close(ours.apply(variables, x), nhwc(module(nchw(x))), 1e-5)


def test_the_autoencoder(theirs: Any) -> None:
    x, module = images(0), theirs.networks.AdaINGen(3, OPTIONS)
    variables = filled(OURS, x)
    copied(module, variables["params"], of_autoencoder)
    apply = jax.jit(OURS.apply, static_argnames="method")
    (content, style), (found, told) = apply(variables, x, method="encode"), module.encode(nchw(x))
    close(content, nhwc(found))
    close(style, told.detach().numpy()[:, :, 0, 0])
    other = normal(2, 6, seed=3)
    close(apply(variables, content, other, method="decode"), nhwc(module.decode(found, torch.from_numpy(np.array(other)))))
    close(apply(variables, x), nhwc(module(nchw(x))))


def test_the_discriminator(theirs: Any) -> None:
    x, module = images(0), theirs.networks.MsImageDis(3, JUDGE)
    variables = filled(JUDGES, x)
    copied(module, variables["params"], of_judge)
    for ours, other in zip(jax.jit(JUDGES.apply)(variables, x), module(nchw(x)), strict=True):
        close(ours, nhwc(other))


def test_the_parameters_of_their_networks(theirs: Any) -> None:
    config = {**OPTIONS, "dim": 64, "mlp_dim": 256, "style_dim": 8, "n_res": 4}
    modules = (
        theirs.networks.AdaINGen(3, config),
        theirs.networks.MsImageDis(3, {**JUDGE, "dim": 64, "n_layer": 4, "num_scales": 3}),
    )
    for ours, module in zip(munit_edges2shoes(), modules, strict=True):
        made = jax.eval_shape(ours.init, jax.random.key(0), jnp.zeros((1, 256, 256, 3)))["params"]
        assert sum(leaf.size for leaf in jax.tree.leaves(made)) == sum(p.numel() for p in module.parameters())


def test_the_maps_that_images_are_compared_by(theirs: Any) -> None:
    """Their VGG-16, given colours as torchvision's weights need them, with the weights by torchvision's names."""
    torch.manual_seed(0)
    vgg = theirs.networks.Vgg16()
    with torch.no_grad():  # larger than PyTorch draws them: else little is left of an image after 13 layers
        for p in vgg.parameters():
            p.mul_(2.5)
    held: dict[str, Any] = {}
    number = 0
    for layer in vgg.children():
        held |= {f"features.{number}.{name}": p.detach().numpy() for name, p in layer.named_parameters()}
        number += 2 + (number in (2, 7, 14, 21))  # torchvision counts rectifiers and maxima
    x = images(3, side=32)
    colours = (nchw(x) + 1) / 2
    means, deviations = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    maps = DeepMaps()
    params = {"trunk": from_torch(held, VGG(maps.stages))}
    close(jax.jit(maps.apply)({"params": params}, x), nhwc(vgg((colours - means) / deviations)))


WEIGHTS = {"gan_w": 0.7, "recon_x_w": 10, "recon_s_w": 1.5, "recon_c_w": 2, "recon_x_cyc_w": 3, "vgg_w": 0.5}


class Maps(torch.nn.Module):
    """A network in the place of VGG: two maps of the colours, sixteen of a patch."""

    def forward(self, x: Any) -> Any:
        return torch.cat([x[:, :2] * x[:, 1:], torch.tanh(x)], dim=1)


class OurMaps(nn.Module):
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return jnp.concatenate([x[..., :2] * x[..., 1:], jnp.tanh(x)], axis=-1)


def test_the_losses_and_the_step_of_each_player(theirs: Any) -> None:
    """One `dis_update` and one `gen_update` of theirs: the losses, and every parameter after Adam with its decay."""
    a, b = images(1), images(2)
    trainer = theirs.trainer.MUNIT_Trainer.__new__(theirs.trainer.MUNIT_Trainer)
    torch.nn.Module.__init__(trainer)
    for name in ("a", "b"):
        setattr(trainer, f"gen_{name}", theirs.networks.AdaINGen(3, OPTIONS))
        setattr(trainer, f"dis_{name}", theirs.networks.MsImageDis(3, JUDGE))
    trainer.style_dim, trainer.instancenorm, trainer.vgg = 6, torch.nn.InstanceNorm2d(5, affine=False), Maps()
    both = {"dis": [trainer.dis_a, trainer.dis_b], "gen": [trainer.gen_a, trainer.gen_b]}
    for kind, modules in both.items():
        parameters = [p for module in modules for p in module.parameters()]
        setattr(trainer, f"{kind}_opt", torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.999), weight_decay=1e-2))

    params: dict[str, Any] = {MAPS: {}}
    for i, name in enumerate("ab"):
        for ours, kind, module in ((OURS, "gen", of_autoencoder), (JUDGES, "dis", of_judge)):
            drawn = filled(ours, a)["params"]
            drawn = jax.tree.map(lambda p, s=1 + 0.1 * i: s * p, drawn)
            copied(getattr(trainer, f"{kind}_{name}"), drawn, module)
            params[(AUTOENCODERS if kind == "gen" else DISCRIMINATORS)[i]] = drawn

    # The style that an image of a gets in domain b is theirs of the name s_b.
    drawn = iter([normal(2, 6, seed=seed) for seed in range(20, 24)])
    theirs_drawn: list[Any] = []

    def randn(*shape: int) -> Any:
        theirs_drawn.append(next(drawn))
        return mock.Mock(cuda=lambda value=theirs_drawn[-1]: torch.from_numpy(np.array(value))[:, :, None, None])

    def preprocessed(x: Any) -> Any:
        return x

    losses = objectives.multimodal_translation(
        (OURS, OURS), (JUDGES, JUDGES), adversarial.least_squares(),
        latents=6, gan=0.7, reconstruction=10, style=1.5, content=2, cycle=3, perceptual=0.5, maps=OurMaps(),
    )  # fmt: skip
    batch = {name: {"image": x, "slot": jnp.arange(2)} for name, x in (("a", a), ("b", b))}
    key = jax.random.key(0)
    for player, update, own in (("discriminators", "dis_update", DISCRIMINATORS), ("autoencoders", "gen_update", AUTOENCODERS)):
        with (
            mock.patch.object(theirs.trainer.torch, "randn", randn),
            mock.patch.object(theirs.trainer, "Variable", lambda x: x),
            mock.patch.object(theirs.trainer, "vgg_preprocess", preprocessed),
        ):
            getattr(trainer, update)(nchw(a), nchw(b), WEIGHTS)
        s_a, s_b = theirs_drawn[-2:]
        # Ours of the images of a, then of b.
        styles = iter([s_b, s_a] if player == "autoencoders" else [s_a, s_b])
        state = TrainState(jnp.int32(0), key, params, {}, {}, {})

        def loss(moving: Any, player: str = player, state: Any = state) -> Any:
            values, aux = getattr(losses, player)({**state.params, **moving}, state, batch, key, train=True)
            return values.mean(), aux.metrics

        with mock.patch.object(objectives.multimodal.keys, "draw", lambda *_, given=styles: next(given)):
            moving = {name: params[name] for name in own}
            (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(moving)
        told = trainer.loss_dis_total if player == "discriminators" else trainer.loss_gen_total
        close(value, told.item())
        if player == "autoencoders":
            names = {
                "reconstruction": "loss_gen_recon_x_{0}",
                "style": "loss_gen_recon_s_{1}",
                "content": "loss_gen_recon_c_{0}",
            }
            names |= {"cycle": "loss_gen_cycrecon_x_{0}", "adversarial": "loss_gen_adv_{1}", "perceptual": "loss_gen_vgg_{1}"}
            for name, other in names.items():
                for here, there in ("ab", "ba"):
                    close(metrics[f"{name}_{here}"].mean(), getattr(trainer, other.format(here, there)).item())
        tx = optax.chain(optax.add_decayed_weights(1e-2), optax.adam(1e-3, b1=0.5))
        updates, _ = tx.update(gradient, tx.init(moving), moving)
        params = {**params, **optax.apply_updates(moving, updates)}
        after = theirs.networks.AdaINGen(3, OPTIONS) if player == "autoencoders" else theirs.networks.MsImageDis(3, JUDGE)
        naming = of_autoencoder if player == "autoencoders" else of_judge
        for i, name in enumerate("ab"):
            copied(after, params[own[i]], naming)
            found = dict(after.named_parameters())
            moved = getattr(trainer, f"{'gen' if player == 'autoencoders' else 'dis'}_{name}")
            for path, p in moved.named_parameters():
                # Adam's first step has the size of the rate whatever the gradient: where that is nothing, its sign is chance.
                if float(p.grad.abs().max()) > 1e-4:
                    wrong = (found[path] - p).abs() > 2e-5
                    assert float(wrong.float().mean()) < 0.01, path
