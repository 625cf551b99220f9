"""A program as users of the package write it. mypy and pyright know every type in it; where mlpq is installed, it runs."""

from typing import assert_type

import numpy as np
import numpy.typing as npt

import mlpq
from mlpq import widgets
from mlpq.widgets import base

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


def search(ds: mlpq.Dataset) -> float:
    """Search the data set in an index of its own and return the recall."""
    index = mlpq.MultiLevelPQ(ds.d, 16, 4, metric=ds.metric).train(ds.xb[:3000]).add(ds.xb)
    D, I = index.search(ds.xq, 10, nprobe=4)
    assert_type(D, Floats)
    assert_type(I, Ids)
    assert_type(index.memory().total, int)
    return mlpq.recall_at_k(I, ds.gt, 10)


def encode(x: list[list[float]]) -> Floats:
    """Write vectors down in half the bytes and rebuild them."""
    codec = mlpq.ScalarQuantizer(2, nbits=8).train(x)
    assert_type(codec, mlpq.ScalarQuantizer)
    assert_type(codec.encode(x), npt.NDArray[np.uint8])
    return codec.decode(codec.encode(x))


if __name__ == "__main__":
    for name in ("fashion-mnist-20k", "wordnet-20k"):
        found = search(mlpq.load_dataset(name))
        assert_type(found, float)
        assert 0.2 < found < 1
    assert encode([[0.0, 1.0], [2.0, 3.0]]).shape == (2, 2)
    for explorer in widgets.EXPLORERS:  # their scripts and their style came along
        assert "export default" in base.source(explorer.explorer)
    assert base.STYLE
    print(mlpq.__version__, mlpq.__file__)
