"""Faults in the importance-weighted, sparse, stacked, multi-scale and vector-quantised autoencoders, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

IWAE: Sequence[Change] = [
    ("stages of 2^i epochs", "3**i * epoch", "2**i * epoch"),
    ("rates fall by an eighth of a decade", "10 ** (-i / 7)", "10 ** (-i / 8)"),
    ("rates fall one stage late", "rates], boundaries[:-1])", "rates], boundaries[1:])"),
    ("the mean image of the test images", 'data.mean("image", train)', 'data.mean("image", test)'),
    ("the mean image is clipped elsewhere", "1e-3, 1 - 1e-3", "1e-7, 1 - 1e-7"),
    ("Adam's usual epsilon", "eps=1e-4", "eps=1e-8"),
    ("another decay of Adam's", "optax.adam(rate,", "optax.adam(rate, b1=0.99,"),
    ("--k is dropped", "samples=k)", "samples=1)"),
    ("--nll-samples is dropped", "samples=nll_samples", "samples=50"),
    ("dynamic is static", '"dynamic": data.binarize()', '"dynamic": data.binarize_statically()'),
    ("static is dynamic", '"static": data.binarize_statically()', '"static": data.binarize()'),
    ("pixels in [0, 1/2]", "data.chain(data.scale(), {", "data.chain(data.scale(0.0, 0.5), {"),
    ("the output starts grey", "bias_init=lambda key, shape, dtype: logits", "bias_init=lambda key, shape, dtype: 0 * logits"),
    ("the encoder has rectifiers", "autoencoders.mlp.Encoder(hidden)", "autoencoders.mlp.Encoder(hidden, jax.nn.relu)"),
    ("batches of 100", "batch_size: Count = 20", "batch_size: Count = 100"),
]

SPARSE: Sequence[Change] = [
    ("k falls over all steps", "max(steps // 2, 1)", "max(steps, 1)"),
    ("k does not fall", "optax.linear_schedule(max(k_start, k), k, anneal)", "optax.constant_schedule(k)"),
    ("pixels in [-1, 1]", "transform = data.scale()", "transform = data.scale(-1, 1)"),
    ("the classifier sees k units", "round(alpha * k)", "k"),
    (
        "the classifier is trained on the test images",
        "known = units.over(train,",
        "known = units.over(test,",
    ),
    ("Nesterov's momentum", "optax.sgd(rate, momentum)", "optax.sgd(rate, momentum, nesterov=True)"),
    ("another decay of Adam's", "optax.adam(rate)", "optax.adam(rate, b1=0.5)"),
    ("a factor for each code", "each=False", "each=True"),
    ("right answers are the error", "1.0 - accuracy, float(", "accuracy, float("),
]

VQVAE: Sequence[Change] = [
    ("pixels in [0, 1]", "PIXELS = (-0.5, 0.5)", "PIXELS = (0.0, 1.0)"),
    ("the variance of the test images", 'data.variance("image", train)', 'data.variance("image", test)'),
    ("no variance", "data_variance=variance", "data_variance=1.0"),
    ("--commitment is dropped from averages", "EMA(codes, features, commitment,", "EMA(codes, features, 0.25,"),
    ("--commitment is dropped", "VectorQuantiser(codes, features, commitment)", "VectorQuantiser(codes, features)"),
    ("codes and features are exchanged", "EMA(codes, features,", "EMA(features, codes,"),
    ("--decay is dropped", "commitment, decay,", "commitment, 0.99,"),
    ("--restart is dropped", "restart=restart,", "restart=None,"),
    ("the codebook moves for each micro-batch", "micro_batches=accumulate", "micro_batches=1"),
    ("batches are not cut", "accumulate=accumulate,", "accumulate=1,"),
    ("the decoder is no mirror image", "channels[::-1]", "channels"),
    ("--blocks is dropped from the decoder", "channels[::-1], blocks,", "channels[::-1], 2,"),
    ("another rate", "optax.adam(learning_rate)", "optax.adam(1e-3)"),
    ("measured on the training split", "jaxgen.mean_over(test, losses", "jaxgen.mean_over(train, losses"),
    ("codes of the training split", "jaxgen.sum_over(test, chosen", "jaxgen.sum_over(train, chosen"),
    ("codes are counted before pixels are scaled", "transform=transform)\n\n    def usage", ")\n\n    def usage"),
    ("the best step is that of the lowest loss", '"test/mse"', '"test/loss"'),
    ("reconstructions are not brought back to [0, 1]", "decoded - LOW", "decoded"),
]

REGULARISED: Sequence[Change] = [
    ("methods are swapped", '"sparse": objectives.sparse_rate(', '"plain": objectives.sparse_rate('),
    ("--corrupted is dropped", "value_of(CORRUPTIONS, corruption)(corrupted)", "value_of(CORRUPTIONS, corruption)(0.3)"),
    ("--corruption is dropped", "value_of(CORRUPTIONS, corruption)(corrupted)", "objectives.masking(corrupted)"),
    ("--contraction is dropped", "objectives.contractive(model, contraction)", "objectives.contractive(model, 0.3)"),
    ("--rate is dropped", "rate=rate, weight", "rate=0.1, weight"),
    ("--sparsity is dropped", "weight=sparsity", "weight=0.3"),
    ("--l2 is dropped", "labels, l2=l2)", "labels, l2=1e-3)"),
    ("the classifier is trained on the test images", "known = units.over(train,", "known = units.over(test,"),
    ("another rate of learning", "optax.adam(learning_rate)", "optax.adam(1e-3)"),
    ("measured on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("pixels in [-1, 1]", "transform = data.scale()", "transform = data.scale(-1.0, 1.0)"),
    ("batches are not cut", "        accumulate=accumulate,\n", ""),
    ("--decoder is dropped", 'linear=decoder == "linear"', "linear=False"),
    ("clean images are shown to denoising", 'if method == "denoising" else x', 'if method == "plain" else x'),
]

RECONSTRUCTION: Sequence[Change] = [
    ("the corrupted image is the target", "sum_event(p.log_prob(x)), Aux(", "sum_event(p.log_prob(given)), Aux("),
    ("the evaluation is corrupted", "if train else x", "if True else x"),
    ("what is left is made larger", "< share, 0.0, x)", "< share, 0.0, x / (1 - share))"),
]

CONTRACTIVE: Sequence[Change] = [
    ("the weight is dropped", "weight * norm", "norm"),
    ("draws of one size", "keys.draw(jax.random.normal, key, z.shape)", "jnp.ones_like(z)"),
]

RATE: Sequence[Change] = [
    ("the divergence the other way round", "rate * jnp.log(rate / other)", "other * jnp.log(other / rate)"),
    ("the penalty in evaluation", ".sum() if train else jnp.zeros(())", ".sum()"),
]

MULTISCALE: Sequence[Change] = [
    ("sums of pixels", "values - weight * share * sum_event", "values - weight * sum_event"),
    ("the smaller images weigh nothing", "values - weight * share", "values - 0 * share"),
    ("one size for all", "        target = halved(target, BOX)\n", "        halved(target, BOX)\n"),
    ("the smallest image's error", "*smaller, p = scales", "p, *smaller = scales"),
]

PYRAMID: Sequence[Change] = [
    ("no sum", "doubled(images[-1], BOX) + residual", "residual"),
    ("skips the other way round", "[*maps, last][:levels][::-1]", "[*maps, last][:levels]"),
    ("the code alone sees ones", "jnp.zeros((*h.shape[:-1], self.skip)", "jnp.ones((*h.shape[:-1], self.skip)"),
    ("skips of all channels", "Conv(self.skip, (1, 1)", "Conv(own.shape[-1], (1, 1)"),
    ("a rest is dropped", "if height % factor or width % factor:", "if height % factor and width % factor:"),
]

STACKED: Sequence[Change] = [
    ("all layers learn at once", "state.step // pretraining_steps == layer", "state.step // pretraining_steps < 3"),
    (
        "layers do not take turns in their order",
        "state.step // pretraining_steps == layer",
        "state.step % len(hidden) == layer",
    ),
    ("the classifier learns at once", "state.step >= pretrained)", "state.step >= 0)"),
    ("the classifier begins one layer early", "state.step >= pretrained)", "state.step >= pretrained - pretraining_steps)"),
    ("one level for all layers", "(corruption_levels[layer])", "(corruption_levels[0])"),
    ("--corruption is dropped", "value_of(CORRUPTIONS, corruption)(", "objectives.masking("),
    ("salt and pepper is a mask", '"salt_and_pepper": objectives.salt_and_pepper', '"salt_and_pepper": objectives.masking'),
    ("--pretraining-rate is dropped", "optax.sgd(pretraining_rate)", "optax.sgd(0.1)"),
    ("--learning-rate is dropped", "optax.sgd(learning_rate)", "optax.sgd(0.1)"),
    ("rates are swapped", "optax.sgd(learning_rate)", "optax.sgd(pretraining_rate)"),
    ("momentum", "optax.sgd(learning_rate)", "optax.sgd(learning_rate, momentum=0.9)"),
    ("evaluated with noise", "batch, key, train=False)[0]", "batch, key, train=True)[0]"),
    ("measured on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("pixels in [-1, 1]", "transform = data.scale()", "transform = data.scale(-1.0, 1.0)"),
    ("the best step is that of the lowest loss", 'best="test/error"', 'best="test/loss"'),
    ("batches are not cut", "        accumulate=accumulate,\n", ""),
    ("decoded through all layers", 'told={"depth": n}', "told={}"),
    ("one layer too few is shown", "range(1, len(hidden) + 1)", "range(1, len(hidden))"),
    ("units of the last layer beside weights of the first", '"layers_0"]["kernel"]', '"layers_1"]["kernel"]'),
    ("--decoder is dropped", 'linear=decoder == "linear"', "linear=False"),
    ("pretraining alone is refused", "0 < steps < pretrained", "0 < steps <= pretrained"),
]

LAYER: Sequence[Change] = [
    ("layers below learn too", "jax.lax.stop_gradient(below)", "below"),
    (
        "the image is corrupted and not the units",
        "batch[feature], layer, name=name",
        "corrupt(key, batch[feature]), layer, name=name",
    ),
    ("the corrupted units are the target", "sum_event(p.log_prob(h))", "sum_event(p.log_prob(given))"),
    ("the evaluation is corrupted", "batch), h) if train else h", "batch), h)"),
    ("one key for all examples", "corrupt(keys.per_example(key, batch), h)", "corrupt(key, h)"),
]

STACK: Sequence[Change] = [
    ("all layers are passed", "self.layers[:depth]:\n            x", "self.layers:\n            x"),
    ("the softmax sees the layer below the last", "self.softmax(self.encode(x))", "self.softmax(self.encode(x, 2))"),
    ("decoded in the order of encoding", "reversed(above)", "above"),
    ("logits are passed down", "layer.decode(z).mean", "layer.decode(z).logits"),
    ("a softmax of random weights", ", kernel_init=nn.initializers.zeros_init())", ")"),
    ("decoders are of sigmoids", "units, self.dtype, self.linear)", "units, self.dtype)"),
    ("half precision is dropped", "TiedAutoencoder(shape, units, self.dtype,", "TiedAutoencoder(shape, units, jnp.float32,"),
]

PHASES: Sequence[Change] = [
    ("a network has any owners", "(other.when is None or player.when is None)", "False"),
    ("two that move always", "other.when is None or player.when is None", "other.when is None and player.when is None"),
    ("averages of two kinds", "other.ema != player.ema", "False"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/iwae.py", "wiring/test_iwae_facts.py"): IWAE,
    ("experiments/sparse_autoencoder.py", "wiring/test_sparse_facts.py"): SPARSE,
    ("experiments/regularised_autoencoder.py", "wiring/test_regularised_autoencoder_facts.py"): REGULARISED,
    ("experiments/stacked_autoencoder.py", "wiring/test_stacked_autoencoder_facts.py"): STACKED,
    ("jaxgen/objectives/denoising.py", "objectives/test_layer_denoising.py"): LAYER,
    ("jaxgen/models/autoencoders/stacked.py", "models/test_stacked_autoencoder.py"): STACK,
    ("jaxgen/game/state.py", "game/test_turns.py"): PHASES,
    ("jaxgen/objectives/denoising.py", "objectives/test_regularised_reconstruction.py"): RECONSTRUCTION,
    ("jaxgen/objectives/contractive.py", "objectives/test_regularised_reconstruction.py"): CONTRACTIVE,
    ("jaxgen/objectives/sparse_rate.py", "objectives/test_regularised_reconstruction.py"): RATE,
    ("experiments/vqvae.py", "wiring/test_vqvae_facts.py"): VQVAE,
    ("jaxgen/objectives/multiscale.py", "objectives/test_multiscale_reconstruction.py"): MULTISCALE,
    ("jaxgen/models/autoencoders/multiscale.py", "models/test_multiscale_autoencoder.py"): PYRAMID,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
