import importlib.metadata
import json
import subprocess
import sys

import pytest
import torch
import typer
from typer.testing import CliRunner

import index.faiss_build
from index.faiss_build import FaissBuild
from serving import diagnosis
from serving.diagnosis import Verdict
from serving.doctor import doctor

H200 = ["NVIDIA H200, 9.0, 580.65"]


def build(**how):
    usual = {"version": "1", "options": "AVX2", "distributions": (), "gpu_code": True, "cuvs": False, "gpus": 1}
    return FaissBuild(**usual | how)


def test_the_command_says_everything_and_exits_0_here():
    app = typer.Typer()
    app.command()(doctor)
    result = CliRunner().invoke(app, ["--json"], catch_exceptions=False)
    findings = json.loads(result.stdout)
    assert {finding["what"] for finding in findings} == {"python", "cpu", "torch", "faiss", "extra", "encoder"}
    assert result.exit_code == (1 if any(finding["verdict"] == "bad" for finding in findings) else 0)
    assert all(finding["remedy"] for finding in findings if finding["verdict"] != "good")
    torch_line = next(finding["found"] for finding in findings if finding["what"] == "torch")
    assert torch.__version__ in torch_line


def test_a_bad_finding_ends_with_1(monkeypatch):
    bad = [diagnosis.Finding("faiss", Verdict.BAD, "two", "Take one out.")]
    monkeypatch.setattr(diagnosis, "examine", lambda: iter(bad))
    app = typer.Typer()
    app.command()(doctor)
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 1
    assert "→ Take one out." in result.stdout


def test_a_double_install_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(index.faiss_build, "installed", lambda: ("faiss-cpu 1.15.1", "faiss-gpu 1.15.1"))
    (finding,) = diagnosis.faiss_build([])
    assert finding.verdict is Verdict.BAD
    assert "faiss-cpu 1.15.1 and faiss-gpu 1.15.1" in finding.found
    assert finding.remedy.startswith("Run `pip uninstall -y faiss-cpu faiss-gpu`")


def test_no_faiss_at_all(monkeypatch):
    monkeypatch.setattr(index.faiss_build, "installed", lambda: ())
    (finding,) = diagnosis.faiss_build([])
    assert (finding.verdict, finding.found) == (Verdict.BAD, "not installed")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("raise RuntimeError('nvidia-cuda-runtime-cu12 is missing')", "cannot be imported: nvidia-cuda-runtime-cu12"),
        ("import no_such_library", "cannot be imported: No module named 'no_such_library'"),
    ],
)
def test_a_faiss_that_cannot_be_imported_is_a_finding(tmp_path, module, words):
    """As the GPU wheel is where its CUDA libraries were left out."""
    (tmp_path / "faiss.py").write_text(module)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from serving import diagnosis; "
    program += "[found] = diagnosis.faiss_build([]); print(found.verdict, found.found, found.remedy)"
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert said.startswith("bad faiss-")
    assert words in said
    assert "Run `pip uninstall -y faiss-" in said


@pytest.mark.parametrize(
    ("at_hand", "problem", "verdict", "words"),
    [
        (build(gpu_code=False, gpus=0), None, Verdict.NOTE, "the CPU build"),
        (build(gpus=0), None, Verdict.BAD, "sees no GPU"),
        (build(), "CUDA error 209 no kernel image", Verdict.BAD, "no kernel image"),
        (build(options="AVX2 CUVS", cuvs=True), None, Verdict.GOOD, "cuVS, on NVIDIA H200"),
        (build(), None, Verdict.GOOD, "without cuVS, on NVIDIA H200"),
    ],
)
def test_faiss_beside_a_gpu(monkeypatch, at_hand, problem, verdict, words):
    monkeypatch.setattr(index.faiss_build, "installed", lambda: ("faiss-gpu 1.15.1",))
    monkeypatch.setattr(index.faiss_build, "at_hand", lambda: at_hand)
    monkeypatch.setattr(diagnosis, "gpu_search_problem", lambda: problem)
    (finding,) = diagnosis.faiss_build(H200)
    assert finding.verdict is verdict
    assert words in finding.found
    assert finding.remedy or verdict is Verdict.GOOD


@pytest.mark.skipif(torch.cuda.is_available(), reason="FAISS may find the GPU")
def test_the_trial_search_reports_what_went_wrong():
    assert "AttributeError" in diagnosis.gpu_search_problem()


@pytest.mark.parametrize(
    ("built_for", "capability", "runs"),
    [
        (["sm_80", "sm_90"], (9, 0), True),
        (["sm_80"], (8, 9), True),
        (["sm_89"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["sm_80", "compute_80"], (12, 0), True),
        (["compute_90"], (8, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_120"], (12, 0), True),
    ],
)
def test_kernels_for_a_card(built_for, capability, runs):
    assert diagnosis.has_kernels(built_for, *capability) is runs


def test_torch_without_kernels_for_the_card(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_70", "sm_80"])
    finding = diagnosis.torch_build(H200)
    assert finding.verdict is Verdict.BAD
    assert "sm_90; built for sm_70 sm_80" in finding.found
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "CUDA build" in diagnosis.torch_build(H200).remedy


def test_a_missing_extra_is_named(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "uvicorn":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    finding = next(f for f in diagnosis.extras() if f.found.startswith("serve"))
    assert finding.found == "serve: without uvicorn"
    assert finding.remedy.endswith("'.[serve]'")


def test_looking_imports_nothing_heavy():
    program = "import sys, serving.doctor; print([name for name in ('torch', 'faiss') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
