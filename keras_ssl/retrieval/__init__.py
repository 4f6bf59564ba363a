"""What is done with representations: they are kept in files, and what is alike is found."""

from keras_ssl.retrieval.duplicates import Pair, find_threshold
from keras_ssl.retrieval.embeddings import Embeddings, read_embeddings, write_embeddings
from keras_ssl.retrieval.extraction import embed_images, open_images
from keras_ssl.retrieval.search import Index, Nearest

__all__ = [
    "Embeddings",
    "Index",
    "Nearest",
    "Pair",
    "embed_images",
    "find_threshold",
    "open_images",
    "read_embeddings",
    "write_embeddings",
]
