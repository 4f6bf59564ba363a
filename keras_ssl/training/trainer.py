"""`Trainer`, Keras' model with the training step of Keras' backend: one page for each backend.

A page knows how its backend takes gradients and keeps state. What a step does besides is in
`keras_ssl.models.JointEmbeddingModel`, and the same on all backends:

- `unpacked(data)`: checks a batch, and returns its views and labels;
- `embed(views, training)` and `scaled_loss(views, embeddings)`: what the gradient is taken of;
- `finish_step(gradients, representations, labels)`: optimizer, teacher, probe;
- `finish_evaluation(views, embeddings, representations, labels)`.

A page also has two functions for those who look at a model:

- `embedder(model, views)`: makes a function that does `model.embed(views, training=True)` for any
  number of such views, and changes nothing;
- `differentiated(model, f)`: makes a function from tensors to the named scalars that `f(tensors)`
  returns, and to the gradient of each at each tensor. `f` may read variables of the model, and what
  it assigns to them is forgotten.
"""

import keras

if keras.backend.backend() == "jax":
    from keras_ssl.training import on_jax as page
elif keras.backend.backend() == "torch":
    from keras_ssl.training import on_torch as page  # type: ignore[no-redef]
else:
    from keras_ssl.training import on_tensorflow as page  # type: ignore[no-redef]

Trainer = page.Trainer
embedder = page.embedder
differentiated = page.differentiated
