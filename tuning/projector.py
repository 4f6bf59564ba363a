"""Does the projector's shape decide?

Question: how good is a method with projectors of the shapes d-d-d, wide-wide-d and wide-d, if the
learning rate is tuned for each? In the paper (Table S5), one hidden layer (2048-d) costs VICReg and
VICReg-ctr 3.5 to 4 points against 8192-8192-d, and wide layers make small embeddings good ones.
Space: the base learning rate.
Objective: kNN on validation images; the answer is from test images.
Budget: 4 draws per shape and method, then 3 seeds each of the defaults and the tuned settings: 60
runs, about 20 minutes on two cores.
Answer: three seeds do not tell it for VICReg. On Fashion-MNIST, tuned, wide-wide-d is first as in
the paper, but by less than chance may make: d-d-d has -0.5 +- 0.4 points of kNN and wide-d -0.7 +-
0.2. SimCLR needs a wide layer: -1.4 +- 0.1 and +0.2 +- 0.2. On digits no shape is told from another
(wide-d with VICReg +2.3 +- 1.7). The reports are in results/projector-*.

    python tuning/projector.py                          # digits, which come with scikit-learn
    python tuning/projector.py --dataset fashion-mnist --data-dir DIR --workers 2
"""

from command_line import Question, chosen, fit_recipe, hypermodel, main

from keras_ssl import recipes, spaces, studies

METHODS = ("vicreg", "simclr")
# d = 32, half of the 64 representations; wide is 16 times as wide.
SHAPES = {"d-d-d": "32-32-32", "wide-wide-d": "512-512-32", "wide-d": "512-32"}


def arms(options, images):
    """Returns an arm for every method with every shape."""
    return {
        f"{method}, {shape}": hypermodel(
            fit_recipe(method, options, images, projector=widths),
            options,
            images,
            spaces.learning_rate,
        )
        for method in chosen(METHODS, options, recipes.methods())
        for shape, widths in SHAPES.items()
    }


def answer(results):
    """Compares each shape with wide-wide-d, both tuned."""
    sentences = []
    for method in dict.fromkeys(arm.rpartition(", ")[0] for arm in results.arms):
        found = {
            shape: results.arms[f"{method}, {shape}"].final["tuned"]
            for shape in SHAPES
            if f"{method}, {shape}" in results.arms
        }
        if "wide-wide-d" not in found:
            continue
        others = ", ".join(
            f"{shape} {studies.difference(values, found['wide-wide-d'], results.scale)}"
            for shape, values in found.items()
            if shape != "wide-wide-d"
        )
        sentences.append(f"{method}, tuned, against wide-wide-d: {others}.")
    return " ".join(sentences)


ASK = Question(
    "projector",
    "Does the projector's shape decide?",
    "How good is a method with projectors of the shapes d-d-d, wide-wide-d and wide-d? (The "
    "paper's Table S5.)",
    arms,
    answer,
    budget=4,
)

if __name__ == "__main__":
    main(__doc__, ASK)
