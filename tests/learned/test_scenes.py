"""Procedural training sequences and their shards."""

import numpy as np
import pytest

from fluorojax.learned.scenes import draw_sequence, read_shard, write_shards


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, seed=5, count=3, per_shard=2)
    return folder


def test_a_seed_fixes_a_sequence_and_the_index_changes_it():
    one, same, other = draw_sequence(5, 1), draw_sequence(5, 1), draw_sequence(5, 2)
    np.testing.assert_array_equal(one.depth, same.depth)
    assert one.depth.shape != other.depth.shape or not np.array_equal(one.depth, other.depth)


def test_sequences_are_physical():
    for index in range(4):
        sequence = draw_sequence(6, index)
        assert sequence.kind in ("chest", "body")
        assert 16 <= len(sequence.depth) <= 24
        assert sequence.depth.min() >= 0
        assert sequence.depth.max() <= 9
        assert 0.005 < np.exp(-sequence.depth[0]).mean() < 0.2
        # What an exposure sees lies close to the frame, and equals it where nothing moves.
        assert np.median(np.abs(sequence.smeared - sequence.depth)) < 0.01


def test_shards_come_back_to_quantisation(folder):
    files = sorted(folder.glob("shard_*.npz"))
    assert [len(read_shard(file)) for file in files] == [2, 1]
    kept, drawn = read_shard(files[0])[1], draw_sequence(5, 1)
    np.testing.assert_allclose(kept.depth, drawn.depth, atol=1e-4)
    np.testing.assert_allclose(kept.smeared, drawn.smeared, atol=1e-4)
    assert kept.fps == drawn.fps


def test_shards_that_exist_are_kept(folder):
    file = sorted(folder.glob("shard_*.npz"))[0]
    before = file.stat().st_mtime_ns
    write_shards(folder, seed=5, count=2, per_shard=2)
    assert file.stat().st_mtime_ns == before


def test_foreign_files_are_refused_by_name(tmp_path):
    file = tmp_path / "shard_x.npz"
    file.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"shard_x\.npz: not a shard"):
        read_shard(file)
