"""Export the pruned student as ONNX, INT8 ONNX and TorchScript, each proven equal to the trained model.

    python export_models.py                                           # goes on from runs/default
    python export_models.py --run-dir runs/shipped --output_dir artifacts --benchmark
    python export_models.py --output_dir build/digits
    python export_models.py --again-from artifacts --output_dir artifacts      # same weights, this version's thresholds

Writes the files, a manifest beside each, and export_results.json; ends with exit code 1 if a limit is broken. If INT8
alone breaks one, the other files are written without it.
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all, since Ctrl-C may come while the rest is imported
    from edgedigit.interrupt import leave_on_interrupt

    leave_on_interrupt()

import os
import shutil
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from edgedigit.cli import ArgumentParser, print_json, refuse_torchrun, run_main

PARITY_CLIPS = 1500  # real clips that exported files and trained model are compared on
MIN_REAL_CLIPS = 1000
NAMES = {"fp32": "model.onnx", "int8": "model_int8.onnx", "torchscript": "model_ts.pt"}


def parse_args(argv):
    parser = ArgumentParser(prog="export_models.py", description=__doc__)
    made_by = parser.add_mutually_exclusive_group()
    made_by.add_argument("--run-dir", default="runs/default", help="run of prune_and_quantize.py (%(default)s)")
    made_by.add_argument(
        "--again-from",
        metavar="DIR",
        help="export the files of this folder again, with this version's thresholds of endpointing; no run is needed",
    )
    parser.add_argument("--output-dir", default="exported", help="folder to write to (%(default)s)")
    parser.add_argument("--data-dir", help="folder of the recordings (else EDGEDIGIT_DATA, else the user's cache)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--benchmark", action="store_true", help="time every file and hold it to its budget")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as gates.max_size_bytes=5e5"
    )
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse_args(argv)
    refuse_torchrun()

    # 1. The run: its configuration, recordings and pruned student.
    from edgedigit.bench.inference import CHECKPOINT, time_artifacts
    from edgedigit.bench.machine import machine_facts
    from edgedigit.compress import pipeline as compression
    from edgedigit.compress.prune import count_macs, folded_parameters
    from edgedigit.config import CompressConfig, apply_overrides, from_dict, to_dict
    from edgedigit.data.dataset import as_arrays, fingerprint
    from edgedigit.errors import GateError, ModelError
    from edgedigit.export import parity
    from edgedigit.export.again import read_exported
    from edgedigit.export.exportable import Exportable
    from edgedigit.export.facts import model_facts
    from edgedigit.export.onnx_file import finish_onnx
    from edgedigit.export.torchscript_file import export_torchscript
    from edgedigit.labels import NON_DIGIT
    from edgedigit.manifest import manifest_path, source_commit, write_json, write_manifest
    from edgedigit.train import pipeline, scoring
    from edgedigit.train.checkpoints import describe, save_checkpoint

    run_dir, output_dir = Path(args.run_dir), Path(args.output_dir)
    exported = read_exported(Path(args.again_from), NAMES, CHECKPOINT) if args.again_from else None
    if exported:
        config, compressed = apply_overrides(exported.config, args.set, only=("gates",)), exported.compressed
    else:
        config = apply_overrides(pipeline.load_run_config(run_dir), args.set, only=("gates",))
        compressed = compression.load_summary(run_dir)
        config = replace(config, compress=from_dict(compressed["compress"], CompressConfig))  # as it was really pruned
    material = pipeline.load_material(config, args.data_dir, progress=not args.quiet)
    track = material.tracks[-1]
    if exported:
        model, made = exported.model, exported.made
    else:
        pipeline.check_recordings(config, run_dir, material.tracks)
        model = compression.load_pruned(config.compress, run_dir, track.name)
        stages = (("fp32", "pruned"), ("int8", "int8"))
        made = {kind: run_dir / f"{track.name}-{stage}.onnx" for kind, stage in stages}
    for path in made.values():
        if not path.exists():
            raise ModelError(f"{path} is missing; run prune_and_quantize.py --run-dir {run_dir} --resume")
    calibration = compressed["calibration"]

    # 2. The files, in a scratch folder: what breaks a limit replaces nothing.
    output_dir.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=output_dir, prefix=".export-"))
    try:
        facts = model_facts(config, model, calibration, track.train)
        everything = [*material.tracks[0].validation, *track.train, *track.validation, *material.test]
        recordings = fingerprint(recording.name for recording in everything)
        if exported:
            exported.check_recordings(facts["training_data"], recordings)
        exportable = Exportable(model, calibration["temperature"], calibration.get("label_bias", ()))
        paths = {kind: scratch / name for kind, name in NAMES.items()}
        for kind, path in made.items():  # by prune_and_quantize.py; parity is still proven
            shutil.copyfile(path, paths[kind])
            finish_onnx(paths[kind], model.spec, facts)
        export_torchscript(exportable, paths["torchscript"], facts)
        checkpoint = scratch / CHECKPOINT
        save_checkpoint(checkpoint, {"model": describe(model), "state": model.state_dict(), "config": asdict(config)})

        # 3. Parity on real clips, accuracy on the test part.
        clips, n_real = parity_clips(material, track, config)
        reference = parity.run_torch(exportable, clips)
        common = {"n_params": folded_parameters(model), "macs": count_macs(model)}
        files = []
        for kind, path in paths.items():
            run = parity.run_torchscript if kind == "torchscript" else scoring.predict_onnx
            entry = {"file": path.name, "kind": kind, "size_bytes": path.stat().st_size, **common}
            entry["parity"] = {**parity.compare(reference, run(path, clips)), "n_real": n_real}
            if material.test:
                test_clips, _ = as_arrays(material.test, config.data.labels, model.spec.n_samples)
                predictions = run(path, test_clips).argmax(axis=1)
                entry["accuracy"] = scoring.accuracy_rows(
                    "test" + pipeline.origin(material.test), material.test, predictions, config.data.labels
                )[0]
            files.append(entry)

        # 4. Latency, in one run and in turn.
        results = {"commit": source_commit(), "default": NAMES[compressed["default"]]}
        speedup = compressed["int8_speedup"]
        if args.benchmark:
            for entry, latency in zip(files, time_artifacts(list(paths.values()), model.spec.signal), strict=True):
                entry["latency"] = latency
            median = {entry["kind"]: entry["latency"]["latency_ms_p50"] for entry in files}
            speedup = median["fp32"] / median["int8"]
            results |= {"machine": machine_facts(), "default": NAMES["int8" if speedup > 1 else "fp32"]}

        # 5. Limits: what breaks one stops everything, but for INT8, which is left out; else the faster is the default.
        broken = parity.broken_limits([entry for entry in files if entry["kind"] != "int8"], config.gates)
        int8_broken = parity.broken_limits([entry for entry in files if entry["kind"] == "int8"], config.gates)
        counted = [recording for recording in material.tracks[0].validation if recording.label != NON_DIGIT]
        if not compressed["int8_passed"]:
            int8_broken.append(
                f"{NAMES['int8']} loses {100 * compressed['int8_loss']:.2f} points on {len(counted)} clips of "
                "validation, more than prune_and_quantize.py was allowed"
            )
        if int8_broken:
            results["default"] = NAMES["fp32"]
        print(file_table(files, results["default"]))
        if exported:  # without its run nothing would bring INT8 back
            broken, int8_broken = broken + int8_broken, []
        if broken:
            print_json({"output_dir": str(output_dir), "broken": broken + int8_broken, "files": files})
            raise GateError(f"{'; '.join(broken + int8_broken)}; {output_dir} keeps what it held")
        if int8_broken:
            paths["int8"].unlink()
            files = [entry for entry in files if entry["kind"] != "int8"]
            results |= {"files": files, "left_out": {NAMES["int8"]: int8_broken}}
        else:
            results |= {"int8_speedup": speedup, "int8_loss": compressed["int8_loss"], "int8_loss_n": len(counted)}
            results |= {"files": files}
        results |= {"weights": exported.weights} if exported else {}

        # 6. Manifests and results, then everything into place; INT8 of another model must not stay beside it.
        shared = {**facts, **common, "commit": results["commit"], "calibration": calibration}
        shared |= {"config": to_dict(config), "recordings": recordings}
        shared |= {"weights": exported.weights} if exported else {}
        for entry in files:
            measured = {key: entry[key] for key in ("kind", "parity", "accuracy", "latency") if key in entry}
            write_manifest(scratch / entry["file"], {**shared, **measured})
        write_manifest(checkpoint, {**shared, "kind": "checkpoint"})
        write_json(scratch / "calibration_clips.json", compressed["calibration_clips"])
        write_json(scratch / "export_results.json", results)
        for path in scratch.iterdir():
            os.replace(path, output_dir / path.name)
        if int8_broken:
            for stale in (output_dir / NAMES["int8"], manifest_path(output_dir / NAMES["int8"])):
                stale.unlink(missing_ok=True)
    finally:
        shutil.rmtree(scratch)
    print_json({"output_dir": str(output_dir), **results})
    if int8_broken:
        raise GateError(
            f"{'; '.join(int8_broken)}; {output_dir} holds {NAMES['fp32']} (default) and {NAMES['torchscript']} "
            f"without it; {compression.int8_remedy(config.compress, run_dir)}"
        )
    return 0


def parity_clips(material, track, config):
    """Up to `PARITY_CLIPS` recordings as arrays, and how many of them a person made: artificial ones fill up only."""
    import numpy as np

    from edgedigit.data.dataset import as_arrays
    from edgedigit.data.recording import ARTIFICIAL

    everything = [*material.test, *track.validation, *track.train]
    real = [r for r in everything if r.source not in ARTIFICIAL]
    chosen = [real[row] for row in np.random.default_rng(config.seed).permutation(len(real))[:PARITY_CLIPS]]
    n_real = len(chosen)
    if n_real < MIN_REAL_CLIPS:
        print(f"parity rests on {n_real} real clips, {MIN_REAL_CLIPS} are usual; artificial ones fill up")
        chosen += [r for r in everything if r.source in ARTIFICIAL][: MIN_REAL_CLIPS - n_real]
    waveforms, _ = as_arrays(chosen, config.data.labels, config.data.signal.n_samples)
    return waveforms, n_real


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
