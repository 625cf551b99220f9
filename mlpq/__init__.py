"""Product quantization with multi-level clustering: the package that the book walks through."""

import mlpq._blas  # noqa: F401  # before anything that imports Faiss
from mlpq._check import nearest_m, valid_m
from mlpq._objects import Memory
from mlpq.clustering import KMeans, TwoLevelKMeans
from mlpq.codecs.adapter import ScalarQuantizer
from mlpq.codecs.directions import EDEN, RaBitQ, TurboQuant
from mlpq.codecs.pq import ProductQuantizer
from mlpq.codecs.rotation import Rotation
from mlpq.codecs.signs import LSH
from mlpq.codecs.sums import AdditiveQuantizer, ResidualQuantizer
from mlpq.data.datasets import Dataset, dataset, load_dataset
from mlpq.data.download import DownloadError
from mlpq.data.groundtruth import ground_truth
from mlpq.data.synthetic import synthetic, synthetic_chunks
from mlpq.exchange.wrapped import FaissIndex
from mlpq.index import MultiLevelPQ
from mlpq.judge.baselines import KMeansIndex
from mlpq.judge.evaluate import (
    error_decomposition,
    markdown_table,
    recall_1_at_r,
    recall_at_k,
    recall_by_distance,
    recall_interval,
    sweep,
)
from mlpq.judge.recommend import recommend
from mlpq.judge.timing import Timing, measure
from mlpq.judge.tuning import measure_grid, pareto, predict_memory
from mlpq.search.exact import ExactIndex

__version__ = "0.2.0.dev0"
__all__ = [
    "EDEN",
    "LSH",
    "AdditiveQuantizer",
    "Dataset",
    "DownloadError",
    "ExactIndex",
    "FaissIndex",
    "KMeans",
    "KMeansIndex",
    "Memory",
    "MultiLevelPQ",
    "ProductQuantizer",
    "RaBitQ",
    "ResidualQuantizer",
    "Rotation",
    "ScalarQuantizer",
    "Timing",
    "TurboQuant",
    "TwoLevelKMeans",
    "dataset",
    "error_decomposition",
    "ground_truth",
    "load_dataset",
    "markdown_table",
    "measure",
    "measure_grid",
    "nearest_m",
    "pareto",
    "predict_memory",
    "recall_1_at_r",
    "recall_at_k",
    "recall_by_distance",
    "recall_interval",
    "recommend",
    "sweep",
    "synthetic",
    "synthetic_chunks",
    "valid_m",
]
