"""SPADE's networks and losses against the authors' own, with the same random parameters.

JAXGEN_SPADE=/path/of/a/checkout/of/NVlabs/SPADE pytest -m peers tests/peers/test_spade_peers.py
"""

import functools
from types import SimpleNamespace
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal
from peers import authors

from jaxgen import objectives
from jaxgen.distributions import Normal
from jaxgen.game import TrainState
from jaxgen.losses import adversarial
from jaxgen.losses.perceptual import VGG19_WEIGHTS, feature_distance
from jaxgen.models.cnn.vgg import VGG19
from jaxgen.models.translation import (
    TO_RELU5_1,
    MultiScaleDiscriminator,
    PatchDiscriminator,
    SPADEGenerator,
    StyleEncoder,
    TransferEncoder,
    spade_cityscapes,
)
from jaxgen.models.translation.vgg_weights import from_torch

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the extra `peers`)")

# Theirs are written for an older PyTorch.
pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:.*spectral_norm. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*nn.functional.tanh is deprecated"),
    pytest.mark.filterwarnings("ignore:invalid escape sequence"),
    pytest.mark.filterwarnings("ignore:.*is an invalid escape sequence"),
]

CLASSES = 5


@pytest.fixture(scope="module")
def theirs() -> Any:
    return authors.spade()


def options(**other: Any) -> SimpleNamespace:
    """Their options: by default those of a network for maps of five classes, without objects' edges."""
    plain = {"ngf": 4, "ndf": 4, "semantic_nc": CLASSES, "label_nc": CLASSES, "output_nc": 3, "crop_size": 32}
    plain |= {"aspect_ratio": 1.0, "norm_G": "spectralspadesyncbatch3x3", "norm_D": "spectralinstance"}
    plain |= {"norm_E": "spectralinstance", "num_upsampling_layers": "normal", "use_vae": False, "z_dim": 6, "num_D": 2}
    plain |= {"n_layers_D": 4, "netD_subarch": "n_layer", "no_ganFeat_loss": False, "contain_dontcare_label": False}
    plain |= {"no_instance": True, "no_vgg_loss": True, "lambda_feat": 10.0, "lambda_kld": 0.05, "isTrain": True}
    return SimpleNamespace(
        **(plain | {"gan_mode": "hinge", "gpu_ids": [], "init_type": "xavier", "init_variance": 0.02} | other)
    )


def nchw(a: Any) -> Any:
    return torch.from_numpy(np.array(jnp.moveaxis(a, -1, 1)))


def nhwc(a: Any) -> np.ndarray:
    return np.moveaxis(a.detach().numpy(), 1, -1)


def close(ours: Any, theirs: Any, tolerance: float = 1e-4) -> None:
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1.0, float(np.abs(theirs).max())))


GENERATOR = {"block0": "head_0", "block1": "G_middle_0", "block2": "G_middle_1"} | {
    f"block{i + 3}": f"up_{i}" for i in range(5)
}
INSIDE = {"conv0": "conv_0", "conv1": "conv_1", "shortcut": "conv_s", "norm0": "norm_0", "norm1": "norm_1"}
INSIDE |= {"norm_shortcut": "norm_s", "shared": "mlp_shared.0", "gamma": "mlp_gamma", "beta": "mlp_beta"}


def of_generator(path: list[str]) -> str:
    ends = {"start": "fc", "image": "conv_img"}
    return ends[path[0]] if path[0] in ends else ".".join([GENERATOR[path[0]], *(INSIDE[part] for part in path[1:])])


def of_encoder(path: list[str]) -> str:
    ends = {"mean": "fc_mu", "log_var": "fc_var"}
    return ends.get(path[0]) or f"layer{int(path[0][4:]) + 1}.0"


def of_discriminator(path: list[str]) -> str:
    scale, name = int(path[0][5:]), path[1]
    layer = 4 if name == "head" else int(name[4:])
    return f"discriminator_{scale}.model{layer}.{'0' if layer in (0, 4) else '0.0'}"


def copied(module: Any, variables: Any, named: Any, dense: Any = None) -> Any:
    """Gives PyTorch's layers our parameters, and both the exact singular vectors; returns our variables with these."""
    vectors: dict[str, Any] = {}
    layers = dict(module.named_modules())
    left = {name for name, _ in module.named_parameters()}
    for keys, value in jax.tree_util.tree_leaves_with_path(variables["params"]):
        *path, kind = [key.key for key in keys]
        layer, a = layers[named(path)], np.asarray(value)
        name = f"{named(path)}.{'weight' if kind == 'kernel' else 'bias'}"
        if kind == "bias":
            target = layer.bias
            a = dense(path, a) if dense and a.ndim == 1 else a
        else:
            a = np.ascontiguousarray(a.transpose(3, 2, 0, 1) if a.ndim == 4 else (dense or (lambda _, b: b))(path, a).T)
            spectral = hasattr(layer, "weight_orig")
            target, name = (layer.weight_orig, f"{name}_orig") if spectral else (layer.weight, name)
            if spectral:
                u, sigma, v = np.linalg.svd(a.reshape(len(a), -1), full_matrices=False)
                layer.weight_u.copy_(torch.from_numpy(u[:, 0]))
                layer.weight_v.copy_(torch.from_numpy(v[0]))
                vectors["/".join(path)] = (u[:, 0], sigma[0])
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.array(a)))
        left.discard(name)
    assert not left

    def own(keys: Any, value: Any) -> Any:
        names = [key.key for key in keys]
        if names[-1].endswith(("/u", "/sigma")):
            layer, _, which = names[-1].rpartition("/kernel/")
            u, sigma = vectors["/".join([*names[:-2], layer])]
            return jnp.asarray(u[None] if which == "u" else sigma)
        if names[-1] in ("mean", "var"):
            norm = layers[named(names[:-3]) + ".param_free_norm"]
            getattr(norm, f"running_{names[-1]}").copy_(torch.from_numpy(np.array(value)))
        return value

    return {**variables, "batch_stats": jax.tree_util.tree_map_with_path(own, variables.get("batch_stats", {}))}


def maps(height: int, width: int, n: int = 2, seed: int = 0) -> Any:
    drawn = np.random.default_rng(seed).integers(0, CLASSES, (n, height, width))
    return jax.nn.one_hot(jnp.asarray(drawn), CLASSES)


@pytest.mark.parametrize(
    ("more", "doublings", "ratio", "norm"),
    [("normal", 5, 1.0, "syncbatch"), ("more", 6, 2.0, "instance"), ("most", 7, 1.0, "syncbatch")],
)
def test_the_generator(theirs: Any, more: str, doublings: int, ratio: float, norm: str) -> None:
    side = 2 ** (doublings + 1)
    opt = options(num_upsampling_layers=more, crop_size=side, aspect_ratio=ratio, norm_G=f"spectralspade{norm}3x3")
    m, module = maps(int(side / ratio), side), theirs.networks.SPADEGenerator(opt)
    ours = SPADEGenerator(doublings, 4, instance=norm == "instance")
    drawn = filled(ours, m)
    # Gains of 1 + gamma multiply over the blocks, and roundings with them.
    variables = copied(module, {**drawn, "params": jax.tree.map(lambda p: p / 2, drawn["params"])}, of_generator)
    apply = jax.jit(ours.apply, static_argnames=("train", "mutable"))
    close(apply(variables, m), nhwc(module.eval()(nchw(m))))
    made, updated = apply(variables, m, train=True, mutable="batch_stats")
    close(made, nhwc(module.train()(nchw(m))), 1e-3)
    u = updated["batch_stats"]["block3"]["conv0_spectral"]["conv0/kernel/u"][0]
    close(u, module.up_0.conv_0.weight_u.numpy(), 1e-3)
    if norm == "syncbatch":
        mean = updated["batch_stats"]["block3"]["norm0"]["BatchNorm_0"]["BatchNorm_0"]["mean"]
        close(mean, module.up_0.norm_0.param_free_norm.running_mean.numpy(), 1e-3)


def test_the_generator_of_a_style(theirs: Any) -> None:
    m, z = maps(64, 64), normal(2, 6)
    module, ours = theirs.networks.SPADEGenerator(options(use_vae=True, crop_size=64)), SPADEGenerator(5, 4)

    def dense(path: list[str], a: np.ndarray) -> np.ndarray:
        """Our layer's outputs are height, width and channels, theirs channels first."""
        return np.moveaxis(a.reshape(*a.shape[:-1], 2, 2, 64), -1, -3).reshape(a.shape) if path[0] == "start" else a

    variables = copied(module, filled(ours, m, z), of_generator, dense)
    close(jax.jit(ours.apply)(variables, m, z), nhwc(module.eval()(nchw(m), torch.from_numpy(np.array(z)))))


@pytest.mark.parametrize("shape", [(32, 32), (48, 64)])
def test_the_discriminator(theirs: Any, shape: tuple[int, int]) -> None:
    x = normal(3, *shape, CLASSES + 3)
    module = theirs.networks.MultiscaleDiscriminator(options())
    patch = functools.partial(PatchDiscriminator, 3, 4, instance=True, spectral=True, pad=2)
    ours = MultiScaleDiscriminator(patch, 2)
    variables = copied(module, filled(ours, x), of_discriminator)
    found, expected = jax.jit(functools.partial(ours.apply, method="maps"))(variables, x), module.eval()(nchw(x))
    assert [len(size) for size in found] == [len(size) for size in expected] == [5, 5]
    for size, wanted in zip(found, expected, strict=True):
        for a, b in zip(size, wanted, strict=True):
            close(a, nhwc(b))


@pytest.mark.parametrize("shape", [(256, 256), (64, 48)])
def test_the_encoder_of_styles(theirs: Any, shape: tuple[int, int]) -> None:
    x, module, ours = normal(2, *shape, 3), theirs.networks.ConvEncoder(options(crop_size=256)), StyleEncoder(width=4)

    def dense(path: list[str], a: np.ndarray) -> np.ndarray:
        """Our layer's inputs are height, width and channels, theirs channels first."""
        if path[0] not in ("mean", "log_var") or a.ndim == 1:
            return a
        return a.reshape(4, 4, 32, -1).transpose(2, 0, 1, 3).reshape(a.shape)

    variables = copied(module, filled(ours, x), of_encoder, dense)
    style, (mean, log_var) = jax.jit(ours.apply)(variables, x), module.eval()(nchw(x))
    close(style.mean, mean.detach().numpy())
    close(2 * jnp.log(style.std), log_var.detach().numpy())


def test_the_losses_of_both_players(theirs: Any) -> None:
    """Hinge, feature matching and the divergence of styles, whose sum over two images is twice our mean."""
    opt, m, x = options(use_vae=True), maps(32, 32), jnp.tanh(normal(2, 32, 32, 3))
    discriminator = theirs.networks.MultiscaleDiscriminator(opt).eval()
    ours = MultiScaleDiscriminator(functools.partial(PatchDiscriminator, 3, 4, instance=True, spectral=True, pad=2), 2)
    judged = copied(discriminator, filled(ours, jnp.concatenate([m, x], -1)), of_discriminator)
    fake, mean, log_var = jnp.tanh(normal(2, 32, 32, 3, seed=5)), normal(2, 6, seed=1), 0.3 * normal(2, 6, seed=2)

    model = theirs.pix2pix_model.Pix2PixModel.__new__(theirs.pix2pix_model.Pix2PixModel)
    torch.nn.Module.__init__(model)
    model.opt, model.netD, model.criterionFeat = opt, discriminator, torch.nn.L1Loss()
    model.FloatTensor = torch.FloatTensor
    model.criterionGAN = theirs.networks.GANLoss("hinge", tensor=torch.FloatTensor, opt=opt)
    divergence = theirs.networks.KLDLoss()(*(torch.from_numpy(np.array(a)) for a in (mean, log_var))) * opt.lambda_kld
    with mock.patch.object(model, "generate_fake", return_value=(nchw(fake), divergence)):
        made_losses = model.compute_generator_loss(nchw(m), nchw(x))[0]
        judged_losses = model.compute_discriminator_loss(nchw(m), nchw(x))

    class Generator(nn.Module):
        def __call__(self, m: Any, z: Any, *, train: bool = False) -> Any:
            return fake

    class Encoder(nn.Module):
        def __call__(self, x: Any, *, train: bool = False) -> Any:
            return Normal(mean, jnp.exp(log_var / 2))

    generator, encoder = Generator(), Encoder()
    g_loss, d_loss = objectives.semantic_synthesis(generator, ours, adversarial.hinge, encoder=encoder)
    params = {"generator": {}, "encoder": {}, "discriminator": judged["params"]}
    vars = {"discriminator": {"batch_stats": judged["batch_stats"]}}
    state = TrainState(jnp.int32(0), jax.random.key(0), params, {}, vars, {})
    batch = {"segmentation": m, "image": x}
    values, aux = g_loss(params, state, batch, jax.random.key(0), train=False)
    close(aux.metrics["adversarial"].mean(), made_losses["GAN"].mean().item())
    close(10 * aux.metrics["matching"].mean(), made_losses["GAN_Feat"].item())
    close(0.05 * aux.metrics["kl"].sum(), made_losses["KLD"].item())
    close(values.mean(), sum(made_losses.values()).mean().item() - made_losses["KLD"].item() / 2)
    values, _ = d_loss(params, state, batch, jax.random.key(0), train=False)
    close(values.mean(), (judged_losses["D_Fake"] + judged_losses["D_real"]).mean().item())


def test_the_perceptual_loss(theirs: Any) -> None:
    found, wanted = ([normal(2, 4, 4, c, seed=s + c) for c in range(1, 6)] for s in (0, 10))
    network = mock.Mock(side_effect=lambda which: [nchw(a) for a in which])
    with mock.patch.object(theirs.networks.loss, "VGG19", return_value=mock.Mock(cuda=lambda: network)):
        loss = theirs.networks.VGGLoss([])
    close(feature_distance(found, wanted, VGG19_WEIGHTS).mean(), loss(found, wanted).item())


def test_the_maps_of_vgg_that_the_perceptual_loss_compares(theirs: Any) -> None:
    """Of a random VGG-19; images go in as they are, in [-1, 1]."""
    torch.manual_seed(0)
    trunk = authors.torchvisions_vgg(VGG19)
    with mock.patch.object(theirs.networks.architecture, "torchvision") as torchvision:
        torchvision.models.vgg19.return_value = trunk
        network = theirs.networks.architecture.VGG19()
    held = {f"features.{name}": value.detach().numpy() for name, value in trunk.features.state_dict().items()}
    encoder, x = TransferEncoder(TO_RELU5_1, reflected=False), normal(2, 32, 48, 3)
    found = encoder.apply({"params": from_torch(held, encoder)}, x)
    for ours, expected in zip(found, network(nchw(x)), strict=True):
        close(ours, nhwc(expected))


def test_the_parameters_of_the_network_for_cityscapes(theirs: Any) -> None:
    opt = options(ngf=64, ndf=64, label_nc=35, semantic_nc=36, no_instance=False, crop_size=512, aspect_ratio=2.0)
    opt = SimpleNamespace(**{**vars(opt), "num_upsampling_layers": "more"})
    with torch.device("meta"):
        made = [getattr(theirs.networks, n)(opt) for n in ("SPADEGenerator", "MultiscaleDiscriminator", "ConvEncoder")]
    expected = [sum(p.numel() for p in module.parameters()) for module in made]
    networks, m, x = spade_cityscapes(), jnp.zeros((1, 256, 512, 36)), jnp.zeros((1, 256, 512, 3))
    inputs = {"generator": m, "discriminator": jnp.concatenate([m, x], axis=-1), "encoder": x}
    shapes = [jax.eval_shape(getattr(networks, n).init, jax.random.key(0), a)["params"] for n, a in inputs.items()]
    assert [sum(leaf.size for leaf in jax.tree.leaves(s)) for s in shapes] == expected == [93_048_003, 5_601_410, 10_463_424]
