"""Published settings: of the duality paper, and of the papers and codes of the methods."""

from collections.abc import Mapping
from typing import Any

from keras_ssl import models
from keras_ssl.recipes.optimizers import (
    adamw,
    lars_barlow_twins,
    lars_emp_ssl,
    lars_simclr,
    lars_solo,
    lars_tcr,
    sgd,
)
from keras_ssl.recipes.recipe import Recipe


def _table_s6(
    model: type[models.JointEmbeddingModel],
    dimensions: int,
    base_learning_rate: float,
    criterion: Mapping[str, Any],
    batch_size: int = 1024,
) -> Recipe:
    return Recipe(
        model,
        projector=f"8192-8192-{dimensions}",
        batch_size=batch_size,
        base_learning_rate=base_learning_rate,
        weight_decay=1e-6,
        epochs=100,
        policy="byol",
        source="Garrido et al., ICLR 2023: Table S6, supplement D (ImageNet, ResNet-50)",
        criterion=criterion,
        final_fraction=0.001,
    )


def _vicreg(covariance_weight: float) -> dict[str, float]:
    return {
        "invariance_weight": 25.0,
        "variance_weight": 25.0,
        "covariance_weight": covariance_weight,
    }


PUBLISHED: dict[str, Recipe] = {
    "vicreg-d256": _table_s6(models.VICReg, 256, 0.3, _vicreg(4.0)),
    "vicreg-d512": _table_s6(models.VICReg, 512, 0.3, _vicreg(2.0)),
    "vicreg-d1024": _table_s6(models.VICReg, 1024, 0.3, _vicreg(2.0)),
    "vicreg-d2048": _table_s6(models.VICReg, 2048, 0.3, _vicreg(2.0)),
    "vicreg-d8192": _table_s6(models.VICReg, 8192, 0.3, _vicreg(0.5)),
    "vicreg-exp-d2048": _table_s6(models.VICRegExp, 2048, 0.5, {"temperature": 0.1}),
    "vicreg-exp-d8192": _table_s6(models.VICRegExp, 8192, 0.8, {"temperature": 0.1}),
    "vicreg-ctr-d512": _table_s6(models.VICRegCtr, 512, 0.6, {"temperature": 0.15}),
    "simclr-tuned-d512": _table_s6(models.SimCLR, 512, 0.5, {"temperature": 0.15}, 2048),
    "simclr-imagenet": Recipe(
        models.SimCLR,
        projector="2048-128",
        batch_size=4096,
        base_learning_rate=0.3,
        weight_decay=1e-6,
        epochs=100,
        policy="simclr",
        source=(
            "Chen et al., ICML 2020 (ImageNet, ResNet-50); its code now has a weight decay of 1e-4 "
            "and a head of three layers"
        ),
        criterion={"temperature": 0.1},
        optimizer=lars_simclr,
    ),
    "simclr-cifar10": Recipe(
        models.SimCLR,
        projector="512-512-128",
        batch_size=512,
        base_learning_rate=1.0,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr_cifar",
        source="google-research/simclr, README, and its code's defaults (CIFAR-10, ResNet-18)",
        criterion={"temperature": 0.5},
        optimizer=lars_simclr,
    ),
    "dcl-cifar10": Recipe(
        models.DCL,
        projector="512-128",
        batch_size=512,
        base_learning_rate=0.12,
        weight_decay=5e-4,
        epochs=200,
        policy="simclr_cifar",
        source="lightly's benchmark (CIFAR-10, ResNet-18): SGD 0.06 * batch / 128, no warm-up",
        criterion={"temperature": 0.1},
        warmup_epochs=0,
        optimizer=sgd,
    ),
    "scl-imagenet": Recipe(
        models.SpectralContrastive,
        projector="8192-8192-8192",
        batch_size=384,
        base_learning_rate=0.05,
        weight_decay=1e-4,
        epochs=101,
        policy="simsiam",
        source=(
            "HaoChen et al., NeurIPS 2021, and its code (ImageNet, ResNet-50): 101 epochs in the "
            "file that is named for 100, no warm-up"
        ),
        criterion={"squared_radius": 10.0},
        warmup_epochs=0,
        optimizer=sgd,
    ),
    "vicreg-imagenet": Recipe(
        models.VICReg,
        projector="8192-8192-8192",
        batch_size=2048,
        base_learning_rate=0.2,
        weight_decay=1e-6,
        epochs=1000,
        policy="byol",
        source="Bardes et al., ICLR 2022, and its code (ImageNet, ResNet-50)",
        criterion=_vicreg(1.0),
        final_fraction=0.001,
    ),
    "barlow-twins-imagenet": Recipe(
        models.BarlowTwins,
        projector="8192-8192-8192",
        batch_size=2048,
        base_learning_rate=0.2,
        weight_decay=1e-6,
        epochs=1000,
        policy="byol",
        source="Zbontar et al., ICML 2021, and its code (ImageNet, ResNet-50)",
        final_fraction=0.001,
        optimizer=lars_barlow_twins,
    ),
    "tcr-cifar10": Recipe(
        models.TCR,
        projector="4096-128",
        batch_size=1024,
        base_learning_rate=0.3 * 256 / 1024,  # Its code has 0.3 for any batch.
        weight_decay=1e-4,
        epochs=600,
        policy="simclr_cifar",
        source="Li et al., 2022, and its code (CIFAR-10, ResNet-18): 0.3, not scaled by the batch",
        optimizer=lars_tcr,
    ),
    "emp-ssl-cifar10": Recipe(
        models.EMPSSL,
        projector="4096-4096-1024",
        batch_size=100,
        base_learning_rate=0.3 * 256 / 100,  # Its code has 0.3 for any batch.
        weight_decay=1e-4,
        epochs=30,
        policy="multi_patch",
        source=(
            "Tong et al., 2023, and its code (CIFAR-10, ResNet-18), with Nesterov's momentum there"
        ),
        warmup_epochs=0,
        optimizer=lars_emp_ssl,
    ),
    "byol-imagenet": Recipe(
        models.BYOL,
        projector="4096-256",
        batch_size=4096,
        base_learning_rate=0.2,
        weight_decay=1.5e-6,
        epochs=1000,
        policy="byol",
        source=(
            "Grill et al., NeurIPS 2020 (ImageNet, ResNet-50): the momentum rises from 0.996 to 1 "
            "there"
        ),
        arguments={"hidden": "4096", "momentum": 0.996},
    ),
    "simsiam-imagenet": Recipe(
        models.SimSiam,
        projector="2048-2048-2048",
        batch_size=512,
        base_learning_rate=0.05,
        weight_decay=1e-4,
        epochs=100,
        policy="simsiam",
        source=(
            "Chen and He, CVPR 2021, and its code (ImageNet, ResNet-50): no warm-up; the learning "
            "rate of the predictor does not decay there"
        ),
        warmup_epochs=0,
        optimizer=sgd,
        arguments={"hidden": "512"},
    ),
    "moco-v3-imagenet": Recipe(
        models.MoCoV3,
        projector="4096-256",
        batch_size=4096,
        base_learning_rate=0.3,
        weight_decay=1e-6,
        epochs=300,
        policy="byol",
        source=(
            "facebookresearch/moco-v3, CONFIG.md, and its code's defaults (ImageNet, ResNet-50): "
            "crops of at least 20 % there, and a momentum that rises from 0.99 to 1"
        ),
        criterion={"temperature": 1.0},
        arguments={"hidden": "4096", "momentum": 0.99},
    ),
    "vibcreg-cifar10": Recipe(
        models.VIbCReg,
        projector="2048-2048-2048",
        batch_size=256,
        base_learning_rate=0.3,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr_cifar",
        source=(
            "solo-learn's settings (CIFAR-10, ResNet-18): crops of at least 20 %, less jitter, and "
            "solarization with probability 0.1 there, and GELU in the projector"
        ),
        optimizer=lars_solo,
    ),
    "w-mse-cifar10": Recipe(
        models.WMSE,
        projector="1024-64",
        batch_size=512,
        base_learning_rate=3e-3 * 256 / 512,  # Its code has 0.003 for any batch.
        weight_decay=1e-6,
        epochs=1000,
        policy="simclr_cifar",
        source=(
            "htdt/self-supervised, README, and its code's defaults (CIFAR-10, ResNet-18): Adam, "
            "0.003, not scaled by the batch, divided by 5 after epochs 950 and 975; crops of at "
            "least 20 %, and gray with probability 0.1 there"
        ),
        criterion={"whitening_size": 128},
        warmup_epochs=5,  # 500 steps there
        optimizer=adamw,
    ),
    "frossl-cifar10": Recipe(
        models.FroSSL,
        projector="2048-2048-1024",
        batch_size=256,
        base_learning_rate=0.3,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr",
        source=(
            "OFSkean/FroSSL, its settings (CIFAR-10, ResNet-18): the weight is 1 there, and its "
            "file turns crops off"
        ),
        criterion={"invariance_weight": 8.0},
        optimizer=lars_tcr,
    ),
    "i-vne-cifar10": Recipe(
        models.IVNE,
        projector="2048-2048-1024",
        batch_size=256,
        base_learning_rate=0.3,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr",
        source="OFSkean/FroSSL, its settings for I-VNE+ (CIFAR-10, ResNet-18); without crops there",
        optimizer=lars_tcr,
    ),
    "mmcr-cifar10": Recipe(
        models.MMCR,
        projector="512-128",
        batch_size=32,
        base_learning_rate=1e-3 * 256 / 32,  # Its code has 0.001 for any batch.
        weight_decay=1e-6,
        epochs=500,
        policy="simclr_cifar",
        source="ThomasYerxa/mmcr, its code's defaults (CIFAR-10, ResNet-50): Adam, 40 views there",
        warmup_epochs=0,
        optimizer=adamw,
    ),
    "uniformity-stl10": Recipe(
        models.AlignmentUniformity,
        projector="128",
        batch_size=768,
        base_learning_rate=0.12,
        weight_decay=1e-4,
        epochs=200,
        policy="simclr_cifar",
        source=(
            "ssnl/align_uniform, its code's defaults (STL-10 at 64 pixels, a small AlexNet): the "
            "learning rate is divided by 10 after epochs 155, 170 and 185; more jitter of the hue"
        ),
        warmup_epochs=0,
        optimizer=sgd,
    ),
    "lejepa-imagenette": Recipe(
        models.LeJEPA,
        projector="2048-2048-16",
        batch_size=256,
        base_learning_rate=2e-3,
        weight_decay=0.05,
        epochs=800,
        policy="simclr",
        source=(
            "rbalestr-lab/lejepa, MINIMAL.md (Imagenette at 128 pixels, ViT-S/8): 4 views, and "
            "solarization with probability 0.2 there"
        ),
        criterion={"sigreg_weight": 0.02},
        warmup_epochs=1,
        final_fraction=0.5,
        optimizer=adamw,
    ),
}
"""Published settings by name; `source` says where each is from."""
