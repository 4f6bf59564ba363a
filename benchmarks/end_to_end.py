"""Measures whole training runs, ours beside lightly's with torch: images a second.

    python benchmarks/end_to_end.py --fashion-mnist fashion-mnist/ --cifar cifar10.npz
    python benchmarks/end_to_end.py --photos photos/ --methods SimCLR --images 2048
    python benchmarks/end_to_end.py --cifar cifar10.npz --encoder resnet18 --images 512

Both sides do the same work: they have the same images, two views with the same probabilities, the
same residual network, projector and batch, and AdamW. Photos are decoded in every epoch; other
images are in memory. Ours trains by `make_views` and `fit`. lightly's transforms run in two workers
of torch's DataLoader, and its loss in a loop in torch, with channels last. Each contender runs in a
process of its own, and they take turns. The program prints the median images a second of the epochs
after the first one, and the ratio of ours to lightly's. It needs `pip install torch lightly
torchvision`; the seed is 0.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Encoder, height and width of the images, policy: see `step.BLOCKS` and `views.SETTINGS`.
WORK = {
    "fashion-mnist": ("resnet8", 28, "simclr_cifar"),
    "cifar": ("resnet8-strided", 32, "simclr_cifar"),
    "photos": ("resnet8-strided", 128, "byol"),
}
BATCH = 128


def _load(work, source, count):
    """The images of both sides. Files are read in every epoch."""
    from keras_ssl import data

    if work == "photos":
        images = data.from_folder(source, WORK[work][1], in_memory=False)
    else:
        images = data.load(source).train.in_memory()
    return images.spread(count).without_labels()


def ours(work, source, method, count, epochs):
    """Images a second of each epoch."""
    import keras
    from step import PROJECTOR

    from keras_ssl import data, encoders, models

    keras.utils.set_random_seed(0)
    encoder, _, policy = WORK[work]
    images = _load(work, source, count)
    views = data.make_views(images, getattr(data, policy)(), BATCH)
    model = getattr(models, method)(encoders.build_encoder(encoder, images.image_shape), PROJECTOR)
    model.compile(keras.optimizers.AdamW(1e-3))
    ends = []
    at_end = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: ends.append(time.perf_counter())
    )
    start = time.perf_counter()
    model.fit(views, epochs=epochs, verbose=0, callbacks=[at_end])
    starts = [start, *ends[:-1]]
    return [len(views) * BATCH / (b - a) for a, b in zip(starts, ends, strict=True)]


def lightly(work, source, method, count, epochs):
    """Images a second of each epoch."""
    import numpy as np
    import torch
    from lightly import loss
    from PIL import Image
    from step import torch_model
    from views import lightly_views

    torch.manual_seed(0)
    encoder, size, policy = WORK[work]
    images = _load(work, source, count)
    transforms = lightly_views(policy, size)
    items = images.names or next(iter(images.fetched(images.keys, count)))[0].numpy()

    class Views(torch.utils.data.Dataset):
        def __len__(self):
            return len(items)

        def __getitem__(self, i):
            is_file = images.names is not None
            image = Image.open(items[i]) if is_file else Image.fromarray(np.squeeze(items[i]))
            image = image.convert("RGB") if is_file else image
            return [transform(image) for transform in transforms]

    loader = torch.utils.data.DataLoader(
        Views(), BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )
    criteria = {
        "VICReg": loss.VICRegLoss,
        "SimCLR": loss.NTXentLoss,
        "BarlowTwins": loss.BarlowTwinsLoss,
    }
    model = torch_model(encoder, 1 if work == "fashion-mnist" else 3)
    criterion = criteria[method]()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=4e-3)
    rates = []
    for _ in range(epochs):
        start = time.perf_counter()
        for views in loader:
            tensors = (view.contiguous(memory_format=torch.channels_last) for view in views)
            value = criterion(*(model(tensor) for tensor in tensors))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
        rates.append(len(loader) * BATCH / (time.perf_counter() - start))
    return rates


CONTENDERS = {"keras_ssl": ours, "lightly": lightly}


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fashion-mnist", help="folder of its IDX files")
    parser.add_argument("--cifar", help="an .npz file")
    parser.add_argument("--photos", help="a folder of JPEG files")
    parser.add_argument("--encoder", help="resnet8, resnet8-strided or resnet18 for all images")
    parser.add_argument("--methods", nargs="+", default=["SimCLR", "VICReg", "BarlowTwins"])
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encoder:
        WORK.update({work: (arguments.encoder, *rest) for work, (_, *rest) in WORK.items()})
    if arguments.one:  # A turn of one contender, in its own process.
        name, work, method = arguments.one
        source = getattr(arguments, work.replace("-", "_"))
        rates = CONTENDERS[name](work, source, method, arguments.images, arguments.epochs)
        print(json.dumps(rates))
        return
    print("Images a second after the first epoch, medians")
    for work in WORK:
        source = getattr(arguments, work.replace("-", "_"))
        for method in arguments.methods if source else ():
            rates = {name: [] for name in CONTENDERS}
            for _ in range(arguments.turns):
                for name in CONTENDERS:
                    command = [sys.executable, __file__, "--one", name, work, method]
                    command += [f"--{work}", source, "--images", str(arguments.images)]
                    command += ["--epochs", str(arguments.epochs), "--encoder", WORK[work][0]]
                    done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        sys.exit(done.stderr[-2000:])
                    rates[name] += json.loads(done.stdout.splitlines()[-1])[1:]
            medians = {name: statistics.median(values) for name, values in rates.items()}
            figures = ", ".join(f"{name} {value:.0f}" for name, value in medians.items())
            ratio = medians["keras_ssl"] / medians["lightly"]
            print(
                f"  {work:<14} {WORK[work][0]:<16} {method:<12} {figures}  ({ratio:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
