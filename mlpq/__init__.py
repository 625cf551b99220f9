"""mlpq: product quantization with multi-level clustering, as the book walks through it."""

from mlpq._check import valid_m
from mlpq.baselines import ExactIndex, KMeansIndex
from mlpq.clustering import KMeans, TwoLevelKMeans
from mlpq.index import MultiLevelPQ
from mlpq.pq import ProductQuantizer
