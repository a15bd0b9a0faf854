import faiss
import pytest

from index import faiss_build
from index.errors import VectorIndexError
from index.kinds import GpuCagra, GpuExact, GpuIVFPQ
from index.vector_index import VectorIndex


def test_the_build_at_hand():
    build = faiss_build.at_hand()
    assert build.version == faiss.__version__
    assert len(build.distributions) == 1
    assert build.gpu_code == hasattr(faiss, "StandardGpuResources")


def test_two_builds_in_one_folder_are_refused():
    faiss_build.refuse_two(("faiss-cpu 1.15.1",))
    with pytest.raises(VectorIndexError, match="pip uninstall -y faiss-cpu faiss-gpu`, then install one of the extras"):
        faiss_build.refuse_two(("faiss-cpu 1.15.1", "faiss-gpu 1.15.1"))


@pytest.mark.skipif(faiss_build.at_hand().gpus > 0, reason="there is a GPU")
@pytest.mark.parametrize("kind", [GpuExact(), GpuCagra()])
def test_a_gpu_kind_without_a_gpu_says_what_to_install(clustered, kind):
    vectors, _ = clustered(2000)
    with pytest.raises(VectorIndexError, match=r"kind Gpu.*Install the extra gpu in place of cpu"):
        VectorIndex.build(vectors, range(2000), kind=kind)


def test_codes_that_do_not_divide_the_width_are_refused_before_a_gpu_is_asked_for(clustered):
    vectors, _ = clustered(2000, dim=48)
    with pytest.raises(VectorIndexError, match=r"subquantizers 32: does not divide the width 48"):
        VectorIndex.build(vectors, range(2000), kind=GpuIVFPQ())
