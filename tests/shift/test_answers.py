import numpy as np

from earlyexit.shift import answers as module
from earlyexit.shift.answers import answers
from earlyexit.shift.corruptions import CORRUPTIONS, corrupted
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.segment import all_logits
from tests.conftest import Exported


def test_answers_do_not_depend_on_workers_and_order(deployed: Deployment, exported: Exported) -> None:
    images, ids = exported.images[: module._CHUNK + 9], np.arange(7, 7 + module._CHUNK + 9)
    found = answers(deployed, images, ids, workers=1)
    assert list(found) == list(CORRUPTIONS)
    for name, logits in found.items():
        changed = np.stack([corrupted(name, image, int(id_)) for image, id_ in zip(images, ids, strict=True)])
        np.testing.assert_array_equal(logits, all_logits(deployed.segments(), deployed.quantize(changed)))
    for name, logits in answers(deployed, images, ids, workers=2).items():
        np.testing.assert_array_equal(logits, found[name])
    for name, logits in answers(deployed, images[::-1], ids[::-1], workers=1).items():
        np.testing.assert_array_equal(logits, found[name][:, ::-1])
