import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier

from ebm.meters import clid, cluster_learnability, learnability, two_nn
from ebm.meters.clid import clustered


def blobs(clusters=4, each=25, noise=0.01, seed=0):
    """Codes around the corners of a cube, far apart, and which corner each is of."""
    labels = torch.arange(clusters).repeat(each)
    return 10 * torch.eye(8).double()[labels] + noise * normal(clusters * each, 8, seed=seed), labels


def test_clusters_that_are_far_apart_are_found_where_each_has_a_start():
    codes, labels = blobs(2)
    assert adjusted_rand_score(labels, clustered(codes, 2)) == 1


@given(clusters=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_k_means_ends_where_each_code_is_nearest_to_the_mean_of_its_own_cluster(clusters, seed):
    codes = normal(30, 2, seed=seed)
    labels = clustered(codes, clusters)
    found = labels.unique()
    centres = torch.stack([codes[labels == label].mean(0) for label in found])
    # Thirty codes of the plane come to rest long before 20 steps.
    assert torch.cdist(codes, centres).argmin(1).equal(torch.searchsorted(found, labels))


@pytest.mark.parametrize(("rows", "seed"), [(3, 0), (10, 1), (40, 2)])
def test_learnability_is_that_of_scikit_learns_classifier_leaving_one_out(rows, seed):
    codes = normal(rows, 3, seed=seed)
    labels = clustered(codes, 3).numpy()
    right = []
    for i in range(rows):
        others = np.arange(rows) != i
        reader = KNeighborsClassifier(1).fit(codes.numpy()[others], labels[others])
        right.append(reader.predict(codes.numpy()[i : i + 1])[0] == labels[i])
    assert cluster_learnability(codes, clusters=3) == pytest.approx(np.mean(right))


def test_tight_clusters_are_learned_and_a_ball_in_many_dimensions_is_not():
    assert cluster_learnability(blobs()[0], clusters=4) == 1
    assert cluster_learnability(normal(900, 64)) < 0.4


def test_a_point_is_learned_easily_and_has_no_dimension():
    assert cluster_learnability(torch.ones(30, 4)) == 1
    assert clid(torch.ones(30, 4)) == 1


def test_clid_is_learnability_and_the_share_of_dimensions():
    codes = normal(400, 5)
    assert clid(codes) == pytest.approx(cluster_learnability(codes) + min(two_nn(codes) / 5, 1))
    assert learnability(None, codes, codes) == {
        "cluster_learnability": cluster_learnability(codes),
        "clid": clid(codes),
    }


def test_of_many_codes_a_sample_is_read_the_same_at_each_call():
    codes = normal(300, 4)
    assert cluster_learnability(codes, samples=100) == cluster_learnability(codes, samples=100)
    assert cluster_learnability(codes, samples=None) == cluster_learnability(codes)
    assert cluster_learnability(codes, samples=100) != cluster_learnability(codes)


@pytest.mark.parametrize("clusters", [0, 31])
def test_more_clusters_than_codes_or_none_are_refused(clusters):
    with pytest.raises(ValueError, match=f"30 codes make from 1 to as many clusters, asked for {clusters}"):
        cluster_learnability(normal(30, 2), clusters=clusters)
