"""Measures what two views of an image cost, ours and those of other libraries.

    python benchmarks/views.py                        # the table, seed 0
    python benchmarks/views.py --sizes 128 --turns 20

All contenders make the same kind of views (crop, flip, jitter, gray, and for BYOL blur and
solarization, with the same probabilities) of the same images in memory, bytes to floats in [0, 1].
They take turns on one thread, and the program prints the median CPU time for an image, and its
ratio to ours. A library takes part if it can be imported:

    pip install albumentations kornia lightly torch torchvision

lightly's transforms are torchvision's on Pillow's images, with its own blur and solarization.
"""

import argparse
import importlib.util
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["OMP_NUM_THREADS"] = "1"

if importlib.util.find_spec("torch"):
    import torch  # After TensorFlow, its CUDA build crashes.

import numpy as np
import tensorflow as tf

from keras_ssl import data

POLICIES = {32: "simclr_cifar", 128: "byol", 224: "byol"}
# Probabilities of blur and of solarization of the two views, and the jitter.
SETTINGS = {
    "simclr_cifar": (((0.0, 0.0), (0.0, 0.0)), (0.4, 0.4, 0.4, 0.1)),
    "byol": (((1.0, 0.0), (0.1, 0.2)), (0.4, 0.4, 0.2, 0.1)),
}


def ours(policy):
    """`Views.of`, as in the batches of `make_views`."""
    made = tf.function(lambda images, step: policy.of([images], tf.stack([0, step])))
    return lambda images, step: made(tf.constant(images), tf.constant(step))


def our_parts(policy):
    """The augmentations of a policy, each as two views by itself of all images."""
    layers = {}
    for view in policy.views:
        for layer in view.augmentations:
            config = {**layer.get_config(), "probability": 1.0, "name": None}
            layers[type(layer).__name__] = type(layer).from_config(config)
    return {name: ours(data.TwoViews(layer)) for name, layer in layers.items()}


def ours_by_tensorflow(policy):
    """The same policy as a layer within a graph."""
    made = tf.function(lambda images, step: policy(images, seed=tf.stack([0, step])))
    return lambda images, step: made(tf.constant(images), tf.constant(step))


def _compose(transforms, name, size, blur, solarize, last):
    """Two views of torchvision's transforms; `blur` and `solarize` take a probability."""
    parts, jitter = SETTINGS[name]
    return [
        transforms.Compose(
            [
                transforms.RandomResizedCrop(size, antialias=True),
                transforms.RandomHorizontalFlip(),
                transforms.RandomApply([transforms.ColorJitter(*jitter)], 0.8),
                transforms.RandomGrayscale(0.2),
                *([blur(blurred)] if blurred else []),
                *([solarize(solarized)] if solarized else []),
                last,
            ]
        )
        for blurred, solarized in parts
    ]


def lightly_views(name, size):
    """The two views of a Pillow image, by torchvision's first transforms and lightly's own."""
    from lightly.transforms import GaussianBlur, RandomSolarization
    from torchvision import transforms

    def blur(probability):
        return GaussianBlur(sigmas=(0.1, 2.0), prob=probability)

    return _compose(transforms, name, size, blur, RandomSolarization, transforms.ToTensor())


def lightly(name, size):
    """Pillow's images, one after the other."""
    from PIL import Image

    views = lightly_views(name, size)

    def make(images, step):
        pictures = [Image.fromarray(image) for image in images]
        return [torch.stack([view(picture) for picture in pictures]) for view in views]

    return make


def torchvision(name, size):
    """Tensors of bytes, through torchvision's second transforms."""
    from torchvision.transforms import v2

    def blur(probability):
        kernel = max(size // 10, 1) // 2 * 2 + 1  # SimCLR's: a tenth of the image, odd.
        return v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], probability)

    def solarize(probability):
        return v2.RandomSolarize(128, probability)

    views = _compose(v2, name, size, blur, solarize, v2.ToDtype(torch.float32, scale=True))

    def make(images, step):
        tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
        return [torch.stack([view(tensor) for tensor in tensors]) for view in views]

    return make


def kornia(name, size):
    """Batches of floats, with draws for each image."""
    import kornia.augmentation as k

    parts, jitter = SETTINGS[name]
    kernel = max(size // 10, 3) // 2 * 2 + 1
    views = [
        torch.nn.Sequential(
            k.RandomResizedCrop((size, size)),
            k.RandomHorizontalFlip(),
            k.ColorJitter(*jitter, p=0.8),
            k.RandomGrayscale(p=0.2),
            *([] if blur == 0 else [k.RandomGaussianBlur((kernel, kernel), (0.1, 2.0), p=blur)]),
            *([] if solarize == 0 else [k.RandomSolarize(p=solarize)]),
        )
        for blur, solarize in parts
    ]

    def make(images, step):
        tensors = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return [view(tensors) for view in views]

    return make


def albumentations(name, size):
    """OpenCV on bytes, one image after the other."""
    import albumentations as a

    parts, (brightness, contrast, saturation, hue) = SETTINGS[name]
    views = [
        a.Compose(
            [
                a.RandomResizedCrop((size, size), (0.08, 1.0), (3 / 4, 4 / 3)),
                a.HorizontalFlip(p=0.5),
                a.ColorJitter(
                    (1 - brightness, 1 + brightness),
                    (1 - contrast, 1 + contrast),
                    (1 - saturation, 1 + saturation),
                    (-hue, hue),
                    p=0.8,
                ),
                a.ToGray(p=0.2),
                *([] if blur == 0 else [a.GaussianBlur(0, (0.1, 2.0), p=blur)]),
                *([] if solarize == 0 else [a.Solarize((0.5, 0.5), p=solarize)]),
                a.ToFloat(255),
            ]
        )
        for blur, solarize in parts
    ]

    def make(images, step):
        return [np.stack([view(image=image)["image"] for image in images]) for view in views]

    return make


OTHERS = {
    "lightly": (lightly, "lightly"),
    "torchvision v2": (torchvision, "torchvision"),
    "kornia": (kornia, "kornia"),
    "albumentations": (albumentations, "albumentations"),
}


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(POLICIES))
    parser.add_argument("--images", type=int, default=64, help="images of a batch")
    parser.add_argument("--turns", type=int, default=7, help="turns of each contender")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if importlib.util.find_spec("torch"):
        torch.set_num_threads(1)
    import cv2

    cv2.setNumThreads(1)
    print("CPU time of one thread for two views of an image, microseconds (ratio to ours)")
    for size in arguments.sizes:
        name = POLICIES.get(size, "byol")
        shape = (arguments.images, size, size, 3)
        images = np.random.RandomState(0).randint(0, 256, shape, "uint8")
        policy = getattr(data, name)((size, size))
        contenders = {
            "keras_ssl": ours(policy),
            "keras_ssl in TensorFlow": ours_by_tensorflow(policy),
            **our_parts(policy),
            **{
                label: make(name, size)
                for label, (make, module) in OTHERS.items()
                if importlib.util.find_spec(module)
            },
        }
        seconds = {label: [] for label in contenders}
        for turn in range(-1, arguments.turns):  # The first turn traces and is not counted.
            for label, make in contenders.items():
                start = time.process_time()
                make(images, turn)
                if turn >= 0:
                    seconds[label].append(time.process_time() - start)
        times = {k: statistics.median(v) / len(images) * 1e6 for k, v in seconds.items()}
        print(f"{size} px, {name}")
        parts = {label: times.pop(label) for label in our_parts(policy)}
        for label, value in times.items():
            print(f"  {label:<25} {value:8.0f}  ({value / times['keras_ssl']:.2f})")
        figures = ", ".join(f"{label} {value:.0f}" for label, value in parts.items())
        print(f"  each of ours alone, of all images: {figures}", flush=True)


if __name__ == "__main__":
    main()
