"""What could run somebody else's code is not in the house: no pickle, in any of its coats."""

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
FILES = sorted(path for package in ("recsys", "index", "serving") for path in (HOUSE / package).rglob("*.py"))
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CODE = {"eval", "exec"}


def faults(source):
    """Every line that unpickles, or may; by the syntax tree, so that words in texts do no harm.

    Example:
        >>> faults("import pickle\\nx = torch.load(f)\\ny = np.load(f)\\nz = np.load(f, allow_pickle=True)")
        ['1: imports pickle', '2: torch.load', '4: np.load allows pickles']
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        found += [(node.lineno, f"imports {name}") for name in names if name.split(".")[0] in PICKLES]
        if isinstance(node, ast.Call):
            found += [(node.lineno, fault) for fault in call_faults(node)]
    return [f"{line}: {fault}" for line, fault in sorted(found)]


def call_faults(call):
    called = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if called in CODE:
        yield called
    if called in {"torch.load", "torch.jit.load", "pd.read_pickle", "pl.read_pickle"}:
        yield called
    if called.endswith("load") and given.get("allow_pickle", "False") != "False":  # numpy's default is False
        yield f"{called} allows pickles"
    if called.endswith("yaml.load"):
        yield called
    if given.get("shell") == "True":
        yield f"{called} by a shell"
    if given.get("trust_remote_code") == "True":
        yield f"{called} trusts remote code"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_nothing_unpickles(path):
    assert faults(path.read_text(encoding="utf-8")) == []


def test_the_test_bites():
    assert faults("from joblib import load") == ["1: imports joblib"]
    assert faults("import torch\ntorch.load('x', weights_only=True)") == ["2: torch.load"]
    assert faults("np.load('x', allow_pickle=True)") == ["1: np.load allows pickles"]
    assert faults("subprocess.run('x', shell=True)") == ["1: subprocess.run by a shell"]
    assert faults("'pickle.load(file)'") == []
