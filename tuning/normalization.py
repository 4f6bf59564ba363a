"""Does it matter how SimCLR normalizes?

Question: SimCLR scales embeddings to unit norm; variant A centers the dimensions first, variant B
standardizes the dimensions instead, as VICReg's variance term would have them. Which is better? The
paper (section 5.1, Table 1, Figure 2): they reach the same peak.
Space: the temperature and the base learning rate.
Objective: kNN on validation images; the answer is from test images.
Budget: per variant 6 draws, then 3 seeds each of default and tuned: 36 runs, about 15 minutes on
two cores.
Answer: hardly, as in the paper: on Fashion-MNIST the three are within 0.2 points of kNN with
default settings, less than a seed changes, and five random draws found better settings for the
classical form alone, 0.9 +- 0.2 points; on digits, tuned, 95.2, 95.4 and 94.4 %, again within the
errors. The reports: results/normalization-*.

    python tuning/normalization.py                      # digits, which come with scikit-learn
    python tuning/normalization.py --dataset fashion-mnist --data-dir DIR --workers 2
"""

from command_line import Question, chosen, fit_recipe, hypermodel, main

from keras_ssl import spaces, studies

VARIANTS = {
    "classical": "embeddings",
    "A, centred": "centered_embeddings",
    "B, standardised dimensions": "dimensions",
}


def arms(options, images):
    """Every variant."""
    space = spaces.combine(spaces.temperature, spaces.learning_rate)
    return {
        name: hypermodel(
            fit_recipe("simclr", options, images, criterion={"normalization": variant}),
            options,
            images,
            space,
        )
        for name, variant in VARIANTS.items()
        if name in chosen(tuple(VARIANTS), options)
    }


def answer(results):
    """Each variant against the classical one, tuned."""
    parts = []
    for name, arm in results.arms.items():
        part = f"{name}, tuned: {studies.spread(arm.tuned, results.scale)}"
        classical = results.arms.get("classical", arm)
        if arm is not classical:
            part += f" ({studies.difference(arm.tuned, classical.tuned, results.scale)})"
        parts.append(part)
    return "; ".join(parts) + "."


ASK = Question(
    "normalization",
    "Does it matter how SimCLR normalizes?",
    "SimCLR with unit embeddings, with centered ones (A), with standardized dimensions (B): which "
    "is better? (The paper's section 5.1.)",
    arms,
    answer,
    budget=6,
)

if __name__ == "__main__":
    main(__doc__, ASK)
