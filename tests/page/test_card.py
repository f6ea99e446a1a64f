from pathlib import Path

import pytest
from huggingface_hub import ModelCard, ModelCardData

from earlyexit.page.card import card
from earlyexit.tflite.deployment import Deployment
from tests.page import made


def test_the_card_is_one_that_its_library_reads(tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed)
    run = made.read(tmp_path)
    text = card(run)
    assert text == card(run)
    found = ModelCard(text)
    assert isinstance(found.data, ModelCardData)
    assert found.data.license == "apache-2.0"
    assert found.data.eval_results is not None
    values = [result.metric_value for result in found.data.eval_results or []]
    assert values == [run.rows["no_early_exit"]["accuracy"], run.policies["guaranteed"]["val"]["accuracy"]]
    for heading in ("Intended use", "Data and labels", "Metrics", "Limits and bias", "How to run"):
        assert f"\n## {heading}\n" in text
    for kind in ("brightness", "size"):
        for group in run.reports["failures"][kind]:
            assert f"| {group['bin']} | {group['n']} |" in text


@pytest.mark.parametrize(
    ("bits", "said"), [(8, "quantized to INT8 and cut"), (4, "quantized to INT8 with INT4 weights and")]
)
def test_the_bits_of_weights_are_said(tmp_path: Path, deployed: Deployment, bits: int, said: str) -> None:
    made.write(tmp_path, deployed, changes={"ptq.bits": bits})
    assert said in card(made.read(tmp_path))


def test_hostile_params_stay_text(tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed, changes={"data.source": "a: [b\n---\n# c"})
    found = ModelCard(card(made.read(tmp_path)))
    assert isinstance(found.data, ModelCardData)
    assert found.data.eval_results is not None
    assert found.data.eval_results
    assert found.data.eval_results[0].dataset_type == "photographs"


@pytest.mark.parametrize(
    ("source", "kind"),
    [("embedded", "generated-scenes"), ("coco2014", "visual-wake-words"), ("/data/photos", "photographs")],
)
def test_results_are_claimed_on_the_data_that_gave_them(
    tmp_path: Path, deployed: Deployment, source: str, kind: str
) -> None:
    made.write(tmp_path, deployed, changes={"data.source": source})
    text = card(made.read(tmp_path))
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    assert {result.dataset_type for result in data.eval_results or []} == {kind}
    assert ("drawn scenes" in text) == (source == "embedded")
    assert "/work" not in text


def test_nothing_from_data_is_markup(tmp_path: Path, deployed: Deployment) -> None:
    made.write(tmp_path, deployed)
    hostile = "</script><script>alert(1)</script>"
    made.change(
        tmp_path, "run", origin={"data": hostile, "commit": hostile, "machine": {}, "versions": {hostile: hostile}}
    )
    text = card(made.read(tmp_path))
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") == 4
