"""The rows of diffusion models."""

from collections.abc import Mapping

from ..row import Chosen, Row

ROWS: Mapping[str, Row] = {
    "ddpm_mnist": Row(
        system="DDPM, a small U-Net (16, 32, 32 channels), 2,000 steps, T = 1,000, linear schedule",
        dataset="MNIST",
        figure="variational bound on the test images, bits/dim, 5 of the 999 transitions an image",
        unit="bits/dim",
        command="python -m experiments.ddpm --dataset mnist --data-dir D --channels 16 32 32 --steps 2000 --nll-samples 5 "
        "--evaluate-every 1000",
        value="test/bits_per_dim",
        also=("test/prior", "test/transitions", "test/decoder"),
        paper=None,
        chosen={"all": Chosen.OWN},
        remark="no such figure is published; the parts are L_T, the sum of the L_{t-1}, and L_0",
    ),
    "analytic_dpm_digits": Row(
        system="Analytic-DPM on a DDPM (32, 64 channels), T = 1,000, linear schedule",
        dataset="digits",
        figure="variational bound of the chain of 50 steps with the analytic variance, test images, all terms, bits/dim",
        unit="bits/dim",
        command="python -m experiments.ddpm --dataset digits && "
        "python -m experiments.analytic_dpm --model RUN1 --dataset digits",
        value="test/bits_per_dim",
        also=("test/optimal_chain_bits_per_dim", "test/large_bits_per_dim", "test/small_bits_per_dim"),
        paper=None,
        chosen={"variance, chains": Chosen.PAPER, "network, batches": Chosen.OWN},
        remark="the paper's order of the variances is what is looked at: analytic below large below small, least by the "
        "optimal chain",
    ),
    "classifier_guidance_digits": Row(
        system="classifier guidance, half a U-Net (32, 64 channels) on the noisy images of an unconditional DDPM, T = 1,000",
        dataset="digits",
        figure="test error of the classifier at uniform t, %",
        unit="points",
        command="python -m experiments.ddpm --dataset digits && "
        "python -m experiments.classifier_guidance --model RUN1 --dataset digits",
        value="test/error",
        also=("test/error_q0", "test/error_q1", "test/error_q2", "test/error_q3"),
        paper=None,
        chosen={"optimizer, rate, decay": Chosen.CODE, "networks, batch size, steps": Chosen.OWN},
    ),
    "classifier_free_guidance_mnist": Row(
        system="classifier-free guidance, DDPM's U-Net (16, 32, 32 channels), cosine schedule, 50 sampling steps",
        dataset="MNIST",
        figure="variational bound of the conditional model on the test images, bits/dim, 20 of the 999 transitions an image",
        unit="bits/dim",
        command="python -m experiments.classifier_free_guidance --dataset mnist --data-dir D --channels 16 32 32 --steps 15000",
        value="test/bits_per_dim",
        paper=None,
        chosen={"share that is told nothing": Chosen.PAPER, "all others": Chosen.OWN},
        remark="the paper's figure 4, quality against guidance, is had of this run by `jaxgen evaluate W --metrics frechet "
        "precision_recall classification_accuracy --extractor runs/lenet --guidance 0 1 1.5 2 4 8`",
    ),
    "vdm_digits": Row(
        system="variational diffusion, 2 blocks of 32 channels, monotone network for gamma",
        dataset="digits",
        figure="bound on the test images in continuous time, bits/dim",
        unit="bits/dim",
        command="python -m experiments.vdm --dataset digits",
        value="test/bits_per_dim",
        also=("test/variance",),
        paper=None,
        chosen={"gamma, optimizer": Chosen.CODE, "network, rate, steps": Chosen.OWN},
    ),
    "consistency_digits": Row(
        system="consistency model tuned from an EDM (32, 64 channels), 8 stages of 250 steps",
        dataset="digits",
        figure="squared difference a pixel, in [-1, 1], of samples by one evaluation from the ends of the untuned model's flow",
        unit="",
        command="python -m experiments.edm --dataset digits && python -m experiments.consistency --model RUN1 --dataset digits",
        value="test/one_step_mse",
        also=("test/untuned_mse",),
        paper=None,
        chosen={"times, loss, dropout, optimizer": Chosen.CODE, "network, rate, steps": Chosen.OWN},
    ),
}
