# %% [markdown]
# # A study of one's own
#
# "Method A is better than method B" often means that somebody tuned A. A study tunes both with the
# same budget on validation images, and compares them on test images, over several seeds. Here is a
# small one: does VICReg want a wider projector on handwritten digits?

# %%
import dataclasses

from IPython.display import Image, Markdown, display

from keras_ssl import data, hypermodels, recipes, spaces, studies

# %% [markdown]
# ## Images in three parts
#
# One to train on, one to choose settings by, one to judge by. Digits are few, so half of the
# training images choose.

# %%
images = data.hold_out(data.load("digits"), validation_fraction=0.5)
for part, those in images._asdict().items():
    print(f"{part:10} {len(those)} images of {those.image_shape}")

# %% [markdown]
# ## Arms and their space
#
# An arm is one answer to the question. A space is what may be tuned: a function from keras-tuner's
# `hp` and a recipe to a recipe. The library has one for each setting of each criterion, and you can
# write your own. Each `default` is the recipe's own value, because the first draw of an arm is its
# defaults.


# %%
def batch_size(hp, recipe):
    """A space of our own."""
    size = hp.Choice("batch size", [64, 128, 256], default=recipe.batch_size)
    return dataclasses.replace(recipe, batch_size=size)


space = spaces.combine(spaces.learning_rate, spaces.covariance_weight, batch_size)
arms = {
    f"projector {widths}": hypermodels.PretrainingHyperModel(
        dataclasses.replace(recipes.SMALL["vicreg"], projector=widths, epochs=10),
        images,
        space,
        encoder="resnet8",
    )
    for widths in ("32-32-32", "256-256-32")
}

# %% [markdown]
# ## Run it
#
# Four draws for each arm, then two seeds each of the defaults and of the best draw. If you kill it
# and run it again, it goes on where it stopped.

# %%
study = studies.Study("runs/wider", arms, trials=4, seeds=2)
results = study.run()

# %% [markdown]
# ## The answer
#
# Each figure is a mean over seeds with its standard deviation; a gain has its standard error. In
# the run that is shown here, the narrower projector is better with the defaults, by 3.5 points of
# kNN. Tuning made it worse: the best of four draws on 719 validation images was above all the
# luckiest. More draws, finalists (`finalists=3`) and seeds help, and a study shows that they are
# needed.

# %%
display(Markdown(studies.arms_table(results)))
report = studies.write_report(
    results, "runs/wider", "Wider?", "Does VICReg want a wider projector?", {}, "See the table."
)

# %%
studies.draw_arms(results, "arms.png")
display(Image("arms.png", width=600))

# %% [markdown]
# `runs/wider/report.md` has everything: every draw, the curves, the settings, the versions. The
# scripts under `tuning/` ask the paper's questions in this way, with workers and resuming.
