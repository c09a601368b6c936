"""The files of published weights in a run's identity: the one that has changed is named."""

from __future__ import annotations

from mmx.runs.identity import Identity, find_differences, join_differences
from mmx.runs.manifest import Manifest, RecordedIdentity, RecordedWeights

FILES = {"config.json": "c", "model.safetensors": "m"}


def identity(**changed: str) -> Identity:
    files = {**FILES, **changed}
    return Identity(weights={"text": "".join(files.values())}, weight_files={"text": files})


def test_the_file_that_changed_is_named() -> None:
    found = find_differences(identity(), identity(**{"model.safetensors": "n"}))
    assert found == ("weights (encoder.text: model.safetensors)",)
    assert join_differences(found) == "the weights of encoder.text: model.safetensors"
    assert find_differences(identity(), identity()) == ()


def test_an_added_file_is_named() -> None:
    found = find_differences(identity(), identity(**{"vocab.txt": "v"}))
    assert found == ("weights (encoder.text: vocab.txt)",)


def test_a_run_that_recorded_no_files_names_the_encoder() -> None:
    older = Identity(weights={"text": "x"})
    assert find_differences(older, identity()) == ("weights (encoder.text)",)


def test_a_manifest_keeps_them() -> None:
    recorded = identity().as_recorded()
    manifest = Manifest(identity=recorded)
    assert manifest.to_json()["identity"]["weight_files"] == {"text": FILES}
    assert Identity.of(Manifest.from_json(manifest.to_json())).weight_files == {"text": FILES}
    assert "weight_files" not in Identity(config="c").as_recorded().to_json()


def test_weights_that_were_fetched_later_are_added() -> None:
    facts = RecordedWeights(role="target", name="tiny", origin="owner/tiny", revision="0" * 40)
    begun = Manifest(identity=RecordedIdentity(config="c", code={}, weights={"image": "w"}))
    now = RecordedIdentity(weights={"image": "other", "text": "t"}, weight_files={"text": FILES})
    then = begun.with_weights(now, {"text": facts})
    assert then.identity.weights == {"image": "w", "text": "t"}
    assert then.identity.weight_files == {"text": FILES}
    assert then.to_json()["published"]["text"]["revision"] == "0" * 40
    assert begun.published == {}


def test_code_that_only_one_run_records_counts_as_unchanged() -> None:
    none, old, new = Identity(), Identity(whole_code="a"), Identity(whole_code="b")
    assert find_differences(old, new) == ("code (mmx)",)
    assert find_differences(none, new) == find_differences(old, none) == ()
    finer = Identity(code={"mmx": "c"}, whole_code="b")
    assert find_differences(finer, Identity(code={"mmx": "c"}, whole_code="a")) == ()
