"""The model card: what the network is for, how good it is, for whom it is worse, how it is run."""

from html import escape
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from earlyexit.common.markdown import percent, percent_within, table, thousands, times
from earlyexit.page.run import Run
from earlyexit.reports import failures

_TEMPLATE = Path(__file__).with_name("templates") / "card.md"
_NAME = "early-exit-vww"
_DATASETS = {
    "embedded": ("generated-scenes", "Generated scenes labelled by the rule of Visual Wake Words"),
    "coco2014": ("visual-wake-words", "Visual Wake Words (COCO 2014)"),
    "mlperf_tiny": ("visual-wake-words", "Visual Wake Words of MLPerf Tiny"),
}
"""Type and name of the data of each source. Any other source is a folder."""
_FOLDER = ("photographs", "Photographs of a folder, labelled by the rule of Visual Wake Words")


def card(run: Run) -> str:
    """Return the model card of a run's INT8 early-exit network in Hugging Face's format: YAML, then Markdown."""
    policy = run.policies[run.params["firmware"]["policy"]]
    val, memory = policy["val"], run.reports["memory"]["linked"]["early_exit"]
    data = ModelCardData(
        license="apache-2.0",
        library_name="tflite",
        pipeline_tag="image-classification",
        tags=["early-exit", "int8", "tinyml", "cortex-m", "visual-wake-words"],
        model_name=_NAME,
        eval_results=_results(run, policy),
    )
    found = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        backbone=run.params["model"]["backbone"],
        exits=len(run.record["names"]) - 1,
        resolution=run.params["data"]["resolution"],
        four_bits=run.params["ptq"]["bits"] == 4,
        data=escape(run.record["origin"]["data"], quote=False),
        generated=run.params["data"]["source"] == "embedded",
        commit=escape(run.record["origin"]["commit"], quote=False),
        versions=escape(
            ", ".join(f"{name} {version}" for name, version in run.record["origin"]["versions"].items()), quote=False
        ),
        policy=policy,
        accuracy=f"{percent(val['accuracy'])} % ({percent(val['accuracy_low'])} to {percent(val['accuracy_high'])})",
        speedup=times(val["speedup_emulated"]),
        flash=thousands(memory["flash"]["total"]),
        ram=thousands(memory["ram"]["total"]),
        classifiers="\n".join(_classifiers(run)),
        sizes="\n".join(_groups(run, "size")),
        brightness="\n".join(_groups(run, "brightness")),
        n=thousands(run.record["n"]),
    )
    return str(found.content).rstrip() + "\n"


def _results(run: Run, policy: dict[str, Any]) -> list[EvalResult]:
    values = {
        "INT8, every image to the final exit": run.rows["no_early_exit"]["accuracy"],
        f"INT8, exit policy {policy['name']}": policy["val"]["accuracy"],
    }
    kind, dataset = _DATASETS.get(run.params["data"]["source"], _FOLDER)
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=kind,
            dataset_name=dataset,
            dataset_split="val",
            metric_type="accuracy",
            metric_name=name,
            metric_value=value,
        )
        for name, value in values.items()
    ]


def _classifiers(run: Run) -> list[str]:
    rows = []
    for number, (name, entry) in enumerate(run.reports["reliability"]["classifiers"].items()):
        cycles = thousands(round(run.record["costs"]["emulated"]["until"][number]))
        rows.append([name, _accuracy(entry["accuracy"]), cycles])
    return table(["Classifier", "Val Acc. (%), 95 % interval", "Estimated Cortex-M4 cycles until there"], rows)


def _groups(run: Run, kind: str) -> list[str]:
    rows = [
        [group["bin"], thousands(group["n"]), *map(_accuracy, group["accuracy"])]
        for group in run.reports["failures"][kind]
    ]
    return table([failures.KINDS[kind], "n", *run.record["names"]], rows)


def _accuracy(found: dict[str, Any]) -> str:
    return percent_within(found["value"], found["low"], found["high"], 1)
