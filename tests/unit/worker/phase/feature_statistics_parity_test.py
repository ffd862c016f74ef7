"""Our Gaussian, neighbours, diversity and Fréchet distance against scikit-learn, scipy and numpy."""

import json
import os
import subprocess

import numpy as np
import pytest
import scipy.linalg
from safetensors.numpy import save_file
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

TOOL = os.path.join(os.environ["RSIDIFF_BIN"], "feature_tool")


def features(seed, count, dimension, rank=None, offset=0.0):
    generator = np.random.default_rng(seed)
    mix = generator.normal(size=(rank or dimension, dimension))
    rows = generator.normal(size=(count, rank or dimension)) @ mix + offset
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def run(folder, blocks, other):
    paths = []
    for index, block in enumerate([*blocks, other]):
        path = str(folder / f"{index}.safetensors")
        save_file({"features": block}, path)
        paths.append(path)
    done = subprocess.run([TOOL, *paths[:-1], "--reference", paths[-1]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# More samples than dimensions, fewer, and samples in a subspace.
@pytest.mark.parametrize("count, dimension, rank", [(200, 16, None), (24, 64, None), (60, 32, 5), (2000, 8, None)])
def test_matches_the_references(tmp_path, count, dimension, rank):
    own = features(1, count, dimension, rank)
    other = features(2, 40, dimension, offset=0.3)
    blocks = np.array_split(own, 3)
    got = run(tmp_path, blocks, other)

    x, y = own.astype(np.float64), other.astype(np.float64)
    fitted = LedoitWolf().fit(x)
    assert got["shrinkage"] == pytest.approx(fitted.shrinkage_, rel=1e-9)
    np.testing.assert_allclose(got["mean"], fitted.location_, atol=1e-12)
    whitening = np.array(got["whitening"]).reshape(dimension, dimension)
    assert np.allclose(whitening, np.tril(whitening))
    np.testing.assert_allclose(whitening.T @ whitening, np.linalg.inv(fitted.covariance_), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got["distances"], np.sqrt(fitted.mahalanobis(y)), rtol=1e-7)
    reference = np.sqrt(fitted.mahalanobis(x))
    assert got["distance_mean"] == pytest.approx(reference.mean(), rel=1e-7)
    assert got["distance_stddev"] == pytest.approx(reference.std(), rel=1e-6)

    nearest = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(x)
    own_neighbours = nearest.kneighbors()[0][:, 3]  # without an argument a row is not its own neighbour
    np.testing.assert_allclose(got["own_neighbours"], own_neighbours, rtol=1e-5)
    np.testing.assert_allclose(got["neighbours"], nearest.kneighbors(y)[0][:, 3], rtol=1e-5)
    assert got["neighbour_mean"] == pytest.approx(own_neighbours.mean(), rel=1e-5)
    assert got["neighbour_stddev"] == pytest.approx(own_neighbours.std(), rel=1e-4)

    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosine = unit @ unit.T
    pairs = np.triu_indices(count, 1)
    assert got["diversity"] == pytest.approx((1 - cosine[pairs]).mean(), rel=1e-9)

    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(c1 @ c2).real
    frechet = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root)
    assert got["frechet"] == pytest.approx(frechet, rel=1e-4)
