"""One index over many files and many processes: trained on a sample, encoded part by part, searched shard by shard.

    from mlpq import distributed

    sh = distributed.build(["part-0.npy", "part-1.npy"], mlpq.MultiLevelPQ(768, 4096, 64, m=96), "folder")
    D, I = sh.search(xq, k=10, nprobe=32)

What is found is what a single `MultiLevelPQ` finds that was trained on the rows `training_rows` and to which all parts were
added, id for id. Without a client this process does the work, one piece after the other, in little memory. With a client
of Dask (`pip install mlpq[dask]`) its workers do; all of them must see the folder, and parts that are files, under the same
paths.
"""

from mlpq.distributed.building import build, training_rows
from mlpq.distributed.shards import Shards, load

__all__ = ["Shards", "build", "load", "training_rows"]
