r"""Autoregressive models of grids of integers: of the codes of a VQ-VAE, or of the levels of an image.

A grid `[h, w]` has the probability $p(x | y) = \prod_i p(x_i | x_1 ... x_{i-1}, y)$. Its positions follow one another row by
row, each holds one of K codes, and y is a class or nothing. All models are linen modules with the same three methods, so that
neither the objective (`objectives.code_likelihood`) nor the sampler (`samplers.autoregressive`) knows which model it has:

- `model(codes [B, h, w], label [B] or None, *, train) -> logits [B, h, w, K]` gives the logits of all positions at once. Those
  of position i depend on the codes before it and on the label only.
- `init_cache(batch, grid) -> cache` is what is known before the first position. It needs no parameters.
- `step(before [B], cache, position, label) -> (logits [B, K], cache)` gives the logits of one position. `before` holds the
  codes of the position before; at position 0 it has no effect. The positions are visited in order.

A model of one grid of a hierarchy may be conditioned on the grid above it, too: `model(codes, label, above, train=...)`, and
`init_cache(batch, grid, above)`, which then needs the parameters. The steps read that condition from the cache.

`MADE` is of binary images and has orders of its own: `model(x, number)` gives the logit of each pixel,
`init_cache(batch, grid, number)` begins with the orders of the images, and a step's position is the place in these; `in_place`
brings what was drawn back.

`PixelCNNPlusPlus` is of images and not of codes: `model(x, label, train=...)` gives the distribution of all pixels, and
`samplers.pixel_by_pixel` draws by a full pass a pixel.
"""

from jaxgen.models.autoregressive.levels import image_of, levels_of
from jaxgen.models.autoregressive.made import MADE
from jaxgen.models.autoregressive.pixelcnn import GatedPixelCNN
from jaxgen.models.autoregressive.pixelcnn_pp import PixelCNNPlusPlus, pixelcnn_pp_cifar10
from jaxgen.models.autoregressive.pixelsnail import PixelSNAIL
from jaxgen.models.autoregressive.transformer import TransformerPrior

__all__ = [
    "MADE",
    "GatedPixelCNN",
    "PixelCNNPlusPlus",
    "PixelSNAIL",
    "TransformerPrior",
    "image_of",
    "levels_of",
    "pixelcnn_pp_cifar10",
]
