"""Make the embedded data set from the four IDX files of Fashion-MNIST.

    python mlpq/data/make_fashion_mnist_20k.py FOLDER

FOLDER holds the IDX files, such as /usr/share/datasets/fashion-mnist of the Debian package dataset-fashion-mnist. The
digest that the script prints is the one in mlpq/data/named.py.
"""

import hashlib
import sys
from pathlib import Path

import h5py
import numpy as np

from mlpq._check import Array
from mlpq.data import groundtruth, readers
from mlpq.data.named import EMBEDDED, IDX_SHA256
from mlpq.storage import replacing

N, NQ = 20_000, 1_000


def make(folder: Path, target: Path) -> str:
    """Write the first 20,000 training and 1,000 test images in the ann-benchmarks layout; return the SHA-256."""
    train, test, labels, test_labels = (readers.read_idx(folder / file, sha) for file, sha in IDX_SHA256.items())
    xb, xq = train[:N].reshape(N, -1), test[:NQ].reshape(NQ, -1)
    D, I = groundtruth.compute(xb.astype(np.float32), xq.astype(np.float32), groundtruth.K)
    with replacing(target) as part, h5py.File(part, "w") as file:
        file.attrs.update({"type": "dense", "distance": "euclidean", "dimension": xb.shape[1], "point_type": "uint8"})
        file.attrs["source"] = "Fashion-MNIST by Zalando SE, MIT licence"
        arrays: dict[str, Array] = {"train": xb, "test": xq, "neighbors": I.astype(np.int32)}
        arrays["distances"] = np.sqrt(D.astype(np.float32))
        arrays |= {"train_labels": labels[:N], "test_labels": test_labels[:NQ]}
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip", compression_opts=9, shuffle=array.itemsize > 1)
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(make(Path(sys.argv[1]), EMBEDDED / "fashion-mnist-20k.hdf5"))
