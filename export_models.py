"""Export the pruned student as ONNX, INT8 ONNX and TorchScript, each proven equal to the trained model.

    python export_models.py                                           # goes on from runs/default
    python export_models.py --run-dir runs/shipped --output_dir artifacts --benchmark
    python export_models.py --output_dir build/digits

Writes the files, a manifest beside each, and export_results.json; ends with exit code 1 if a limit is broken.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_json, run_main

PARITY_CLIPS = 1500  # real clips that exported files and trained model are compared on
NAMES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}


def parse_args(argv):
    parser = ArgumentParser(prog="export_models.py", description=__doc__)
    parser.add_argument("--run-dir", default="runs/default", help="run of prune_and_quantize.py (%(default)s)")
    parser.add_argument("--output-dir", default="exported", help="folder to write to (%(default)s)")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--benchmark", action="store_true", help="time every file and hold it to its budget")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as gates.max_size_bytes=5e5"
    )
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)

    # 1. The run: its configuration, recordings and pruned student.
    import numpy as np

    from edgedigit.compress import pipeline as compression
    from edgedigit.compress.prune import count_macs, folded_parameters
    from edgedigit.config import apply_overrides
    from edgedigit.data.dataset import as_arrays
    from edgedigit.data.recording import SYNTH
    from edgedigit.errors import GateError
    from edgedigit.export import parity
    from edgedigit.export.exportable import Exportable
    from edgedigit.export.facts import model_facts
    from edgedigit.export.onnx_file import export_onnx, finish_onnx
    from edgedigit.export.torchscript_file import export_torchscript
    from edgedigit.manifest import source_commit, write_json, write_manifest
    from edgedigit.train import evaluate, pipeline
    from edgedigit.train.checkpoints import describe, save_checkpoint

    run_dir, output_dir = Path(args.run_dir), Path(args.output_dir)
    config = apply_overrides(pipeline.load_run_config(run_dir), args.set, only=("gates",))
    compressed = compression.load_summary(run_dir)
    material = pipeline.load_material(config, args.data_dir)
    track = material.tracks[-1]
    model = compression.load_pruned(run_dir, track.name)
    calibration = compressed["calibration"]

    # 2. The files.
    output_dir.mkdir(parents=True, exist_ok=True)
    facts = model_facts(config, model, calibration)
    exportable = Exportable(model, calibration["temperature"])
    paths = {name: output_dir / file for name, file in NAMES.items()}
    export_onnx(exportable, paths["fp32"])
    finish_onnx(paths["fp32"], model.spec, facts)
    shutil.copyfile(run_dir / f"{track.name}-int8.onnx", paths["int8"])
    paths["torchscript"] = output_dir / "model_ts.pt"
    export_torchscript(exportable, paths["torchscript"], facts)
    checkpoint = output_dir / "model.pt"
    save_checkpoint(checkpoint, {"model": describe(model), "state": model.state_dict(), "config": asdict(config)})

    # 3. Parity on real clips, accuracy on the test part.
    everything = [r for r in (*material.test, *track.validation, *track.train) if r.source != SYNTH]
    rows = np.random.default_rng(config.seed).permutation(len(everything))[:PARITY_CLIPS]
    clips, _ = as_arrays([everything[row] for row in rows], config.data.labels, model.spec.n_samples)
    reference = parity.run_torch(exportable, clips)
    test_clips, _ = (
        as_arrays(material.test, config.data.labels, model.spec.n_samples) if material.test else (None, None)
    )
    common = {"n_params": folded_parameters(model), "macs": count_macs(model)}
    commit = source_commit()
    files = []
    for name, path in paths.items():
        run = parity.run_torchscript if name == "torchscript" else evaluate.predict_onnx
        entry = {"file": path.name, "kind": name, "size_bytes": path.stat().st_size, **common}
        entry["parity"] = parity.compare(reference, run(path, clips))
        if test_clips is not None:
            predictions = run(path, test_clips).argmax(axis=1)
            entry["accuracy"] = evaluate.accuracy_rows("test", material.test, predictions, config.data.labels)[0]
        files.append(entry)

    # 4. Latency, in one run and in turn.
    if args.benchmark:
        from edgedigit.bench import machine_facts, time_artifacts

        for entry, latency in zip(files, time_artifacts(list(paths.values())), strict=True):
            entry["latency"] = latency

    # 5. Results and manifests, then the limits.
    results = {
        "commit": commit,
        "default": NAMES[compressed["default"]],
        "int8_speedup": compressed["int8_speedup"],
        "files": files,
    }
    if args.benchmark:
        results["machine"] = machine_facts()
        median = {entry["kind"]: entry["latency"]["latency_ms_p50"] for entry in files}
        results["int8_speedup"] = median["fp32"] / median["int8"]
        results["default"] = NAMES["int8" if median["int8"] < median["fp32"] else "fp32"]
    for entry in files:
        write_manifest(
            output_dir / entry["file"],
            {
                **facts,
                "kind": entry["kind"],
                **common,
                "commit": commit,
                "calibration": calibration,
                **{key: entry[key] for key in ("parity", "accuracy", "latency") if key in entry},
                "config": json.loads(json.dumps(asdict(config))),
            },
        )
    write_json(output_dir / "calibration_clips.json", compressed["calibration_clips"])
    write_json(output_dir / "export_results.json", results)
    print(file_table(files, results["default"]))
    print_json({"output_dir": str(output_dir), **results})
    broken = parity.broken_limits(files, config.gates)
    if broken:
        raise GateError("; ".join(broken))
    return 0


def file_table(files, default) -> str:
    """One line a file."""
    lines = []
    for entry in files:
        parity, line = entry["parity"], f"{entry['file']:<16} {entry['size_bytes'] / 1000:6.1f} kB"
        line += f"  difference {parity['max_difference']:.1e}, same decision {100 * parity['same_decision']:.2f} %"
        line += f" of {parity['n']}"
        if "accuracy" in entry:
            line += f"  test {100 * entry['accuracy']['accuracy']:.2f} % of {entry['accuracy']['n']}"
        if "latency" in entry:
            line += "  p50 {latency_ms_p50:.3f} p99 {latency_ms_p99:.3f} ms".format(**entry["latency"])
        lines.append(line + ("  (default)" if entry["file"] == default else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_main(main))
