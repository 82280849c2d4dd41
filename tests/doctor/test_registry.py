from __future__ import annotations

from tinygptv.doctor import registry


def test_an_empty_registry_beside_a_finished_register_step(checkout, found):
    assert found(checkout, "registry").level == "ok"
    (checkout / "dvc.lock").write_text("schema: '2.0'\nstages:\n  register:\n    cmd: x\n")
    check = found(checkout, "registry")
    assert check.level == "problem"
    assert check.fix == "dvc repro -f -s register"
    assert not (checkout / "mlflow.db").exists()  # looking creates nothing


def test_where_the_package_is_not_here_either_registering_alone_cannot_help(checkout, found):
    """A fresh clone: DVC knows the package by its digest alone."""
    out = "{path: data/tiny/quantize, hash: md5, md5: 0123456789abcdef0123456789abcdef.dir, size: 1, nfiles: 1}"
    (checkout / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  quantize:\n    cmd: x\n    outs:\n    - {out}\n  register:\n    cmd: x\n"
    )
    assert found(checkout, "registry").fix == "make demo"
    (checkout / "data" / "tiny" / "quantize").mkdir(parents=True)
    assert found(checkout, "registry").fix == "dvc repro -f -s register"


def test_a_filled_registry(checkout, found, monkeypatch):
    (checkout / "dvc.lock").write_text("schema: '2.0'\nstages:\n  register:\n    cmd: x\n")
    monkeypatch.setattr(registry, "_look", lambda root, profile: (2, False))
    assert found(checkout, "registry").finding == "2 versions of tinygptv"


def test_a_registry_of_other_packages(checkout, found, monkeypatch):
    (checkout / "dvc.lock").write_text("schema: '2.0'\nstages:\n  register:\n    cmd: x\n")
    monkeypatch.setattr(registry, "_look", lambda root, profile: (2, True))
    assert found(checkout, "registry").fix == "dvc repro -f -s register"


def test_a_damaged_profile_is_a_finding_and_the_others_follow(checkout, found):
    (checkout / "dvc.lock").write_text("schema: '2.0'\nstages:\n  register:\n    cmd: x\n")
    (checkout / "configs" / "tiny.yaml").write_text("register: {model_name: tinygptv}\n")
    check = found(checkout, "registry")
    assert (check.level, "key `runtime` is missing" in check.finding) == ("problem", True)
