"""The one training loop: teachers, students and fine-tuning between pruning steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgedigit import config as configuration
from edgedigit.config import AugmentConfig, DistillConfig, FitConfig
from edgedigit.data.augment import spec_augment
from edgedigit.data.dataset import TrainingBatches
from edgedigit.errors import ConfigError, DataError, ModelError
from edgedigit.labels import NON_DIGIT
from edgedigit.models import WaveformModel
from edgedigit.spec import FrontendSpec
from edgedigit.train import distributed, losses
from edgedigit.train.channels_last import channels_last
from edgedigit.train.checkpoints import OTHER_MATERIAL, changed_material, describe, load_checkpoint, save_checkpoint
from edgedigit.train.devices import autocast_for, autocast_type, check_device
from edgedigit.train.fake_quantize import FakeQuantized
from edgedigit.train.hints import Hinted, classifiers, embeddings_of
from edgedigit.train.observers import Observer, Validated
from edgedigit.train.optimizers import make_optimizer, make_schedulers
from edgedigit.train.scoring import predict_logits

MASKS = 3  # stream of random numbers; `edgedigit.data.dataset` holds the others


class Ensemble(nn.Module):
    """Teachers whose mean log-probabilities are the soft targets. Frozen, in evaluation mode.

    Args:
        precision: of their networks' arithmetic, see `devices.autocast_type`.
        weights: of each teacher in the mean; empty weighs all alike.
    """

    def __init__(self, teachers: Sequence[WaveformModel], precision: str, weights: Sequence[float] = ()):
        super().__init__()
        self.teachers = nn.ModuleList(teachers).eval().requires_grad_(False)
        self.precision = precision
        self.shares = [weight / sum(weights) for weight in weights] or [1 / len(teachers)] * len(teachers)

    @torch.no_grad()
    def forward(self, waveform: Tensor, known: Mapping[FrontendSpec, Tensor] | None = None) -> Tensor:
        """Soft targets (B, n_labels) as log-probabilities.

        Args:
            waveform: (B, T).
            known: features of `waveform` that the caller has computed already; they are not computed again.
        """
        features = dict(known or {})
        for teacher in self.teachers:
            if teacher.spec not in features:
                features[teacher.spec] = teacher.frontend(waveform)
        with autocast_for(
            self.precision, waveform.device.type
        ):  # networks only: a logarithm of 8 bits would be another feature
            logits = [teacher.network(features[teacher.spec]) for teacher in self.teachers]
        answers = zip(self.shares, logits, strict=True)
        return torch.stack([share * one.float().log_softmax(dim=1) for share, one in answers]).sum(dim=0)


class Averager:
    """Exponential moving average of weights and of norms' statistics, which have to fit the weights."""

    def __init__(self, model: nn.Module, decay: float):
        self.model = deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))  # the first steps are not worth remembering
        averages, values = self.model.state_dict(), model.state_dict()
        for name, averaged in averages.items():
            if averaged.is_floating_point():
                averaged.lerp_(values[name], 1 - decay)
            else:  # a norm's count of batches
                averaged.copy_(values[name])


class Trainer:
    """Trains one model, a checkpoint an epoch; alone, or together with the processes that torchrun started.

    Args:
        model: trained in place; `run` returns the averaged weights.
        batches: augmented training data.
        validation: waveforms (n, n_samples) and targets (n,), or None to train for all epochs and keep
            the last weights.
        config: schedule and optimiser.
        augment: for the masks on features.
        teacher: soft targets, or None for hard labels alone.
        distill: temperature and alpha.
        precision: of the network's arithmetic, see `devices.autocast_type`.
        device: that computes.
        folder: of `<phase>.last.pt`, `<phase>.best.pt`, `<phase>.epoch<n>.pt` where `config` asks for them, and
            `log.jsonl`; None writes nothing.
        phase: name of this training in files and log.
        resolved: configuration that goes into the checkpoints.
        progress: called with (step, n_steps, text) or None.
        quantized: train with the roundings of the INT8 export; the model's training-time branches must be folded.
        observers: told after every epoch, once its checkpoint is written.

    Raises:
        ConfigError: if the device is not there or does not have the precision, the weights do not fit the labels, or
            several processes cannot share a batch; or if embeddings are to be matched and a model has none, or
            the network cannot be traced for `quantized`.
    """

    def __init__(
        self,
        model: WaveformModel,
        batches: TrainingBatches,
        validation: tuple[np.ndarray, np.ndarray] | None,
        config: FitConfig,
        augment: AugmentConfig,
        teacher: Ensemble | None = None,
        distill: DistillConfig | None = None,
        precision: str = "fp32",
        device: str = "cpu",
        folder: Path | None = None,
        phase: str = "model",
        resolved: dict | None = None,
        progress=None,
        quantized: bool = False,
        observers: Sequence[Observer] = (),
    ):
        check_device(device)
        self.model = model.to(device)
        self.batches = batches
        self.validation = validation
        self.config = config
        self.augment = augment
        self.teacher = None if teacher is None else teacher.to(device)
        self.distill = distill or DistillConfig()
        self.precision = precision
        self.device = device
        self.folder = folder
        self.phase = phase
        self.resolved = resolved or {}
        self.progress = progress
        self.observers = observers
        self.average = Averager(model, config.ema_decay)  # of the model alone, without what helps it train
        network, self.helpers = model.network, {}  # what is trained or measured along, and resumed with the model
        if quantized:
            network = FakeQuantized(network).to(device)
            self.helpers["ranges"] = network.ranges
        self.hinting: list[nn.Module] = []  # layers whose inputs are the teachers' embeddings
        if self.teacher is not None and self.distill.feature_weight:
            self.hinting = [layer for one in self.teacher.teachers for layer in classifiers(one)]
            widths = [layer.in_features for layer in self.hinting]
            network = Hinted(network, classifiers(model), widths).to(device)
            self.helpers["projections"] = network.projections
        self.trained = nn.ModuleList([model, *self.helpers.values()])
        self.network = distributed.parallel(network)
        self.optimizer = make_optimizer(self.trained, config)
        self.n_steps = config.epochs * len(batches)
        self.scheduler, self.plateau = make_schedulers(self.optimizer, config, len(batches))
        # Gradients of half precision vanish unless the loss is scaled up; otherwise the scaler does nothing.
        self.scaler = torch.amp.GradScaler(device, enabled=autocast_type(precision, device) is torch.float16)
        self.loss_options = {
            "label_smoothing": config.label_smoothing,
            "class_weights": self._class_weights(),
            "focal_gamma": config.focal_gamma if config.loss == "focal" else 0.0,
        }
        self.rows = distributed.share_of(batches.batch_size)
        self.kept: dict[int, list] = {}  # batches that come again, see `_prepared`
        self.epoch = 0
        self.step = 0
        self.best = {"epoch": 0, "accuracy": None, "loss": None, "peak": 0.0, "lowest_loss": math.inf, "fresh_epoch": 0}
        self.done = False

    def resume(self) -> bool:
        """Continue from `<phase>.last.pt` if there is one; True if there was.

        Raises:
            ModelError: if the checkpoint is damaged or belongs to another configuration, other recordings, noises or
                label issues.
        """
        path = self._path("last")
        if path is None:
            return False
        saved = distributed.from_first(lambda: load_checkpoint(path) if path.exists() else None)
        if saved is None:
            return False
        stored = [configuration.from_stored(values) for values in (saved["config"], self.resolved)]  # newer: defaults
        before, now = (
            configuration.training_settings(replace(config, compress=config.compress.of_weights())) for config in stored
        )
        if before != now:
            differing = sorted(key for key in now if before[key] != now[key])
            raise ModelError(
                f"{path} was trained with other settings ({', '.join(differing)}); "
                "resume with the same ones or start in another --run-dir"
            )
        changed = changed_material(saved, self.batches.drawn_from)
        if "recordings" in changed:
            raise ModelError(
                f"{path} was trained on other recordings and may have heard who is held out now; "
                "resume with the same ones or start in another --run-dir"
            )
        if changed:
            raise ModelError(
                f"{path} was trained with {' and '.join(OTHER_MATERIAL[what] for what in changed)}; "
                "resume with the same or start in another --run-dir"
            )
        self.model.load_state_dict(saved["raw_state"])
        self.average.model.load_state_dict(saved["state"])
        for name, helper in self.helpers.items():
            helper.load_state_dict(saved["helpers"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.scaler.load_state_dict(saved.get("scaler", {}))
        if self.plateau:
            self.plateau.load_state_dict(saved["plateau"])
        torch.set_rng_state(saved["rng"])
        if self.device == "cuda" and "cuda_rng" in saved:
            torch.cuda.set_rng_state(saved["cuda_rng"])
        self.epoch, self.step, self.best = saved["epoch"], saved["step"], saved["best"]
        self.done = saved["done"]
        return True

    def run(self) -> WaveformModel:
        """Train to the end of the schedule, or until validation has stopped improving.

        Returns:
            The averaged weights of the last epoch whose validation accuracy is within a standard error of the best
            (of the last epoch, without validation), evaluation mode.
        """
        self._started, self._first_step = time.perf_counter(), self.step
        while not self.done:
            started = time.perf_counter()
            with channels_last(self.network, self.device):
                loss = self._train_epoch()
            self.epoch += 1
            record = {
                "phase": self.phase,
                "epoch": self.epoch,
                "loss": loss,
                "lr": self.optimizer.param_groups[0]["lr"],
            }
            logits = None if self.validation is None else self._answer()
            improved = self._validate(record, logits)
            if self.plateau:
                self.plateau.step(record.get("validation_loss", loss))
            stale = self.epoch - self.best["fresh_epoch"]
            stopped = self.validation is not None and stale >= self.config.patience
            self.done = self.epoch >= self.config.epochs or stopped
            seconds = time.perf_counter() - started
            record["seconds"] = round(seconds, 2)
            record["data_share"] = round(self.batches.waited_s / seconds, 3)  # of the epoch, spent waiting
            if distributed.rank() == 0:
                self._save(improved)
                self._log(record)
                seen = None if logits is None else Validated(*self.validation, logits, self.model.spec)
                for observer in self.observers:
                    observer.epoch_ended(record, seen)
        best = self._path("best")
        if best is not None:
            self.average.model.load_state_dict(distributed.from_first(lambda: load_checkpoint(best)["state"]))
        elif self.validation is not None:
            self.average.model.load_state_dict(self._best_state)
        return self.average.model.cpu().eval()

    def _train_epoch(self) -> float:
        self.model.train()
        total = 0.0
        started = time.perf_counter()
        for i, batch in enumerate(self._prepared()):
            loss = self._train_step(*batch)
            total += loss
            if not math.isfinite(total):
                raise ModelError(f"{self.phase}: loss became {loss} at step {self.step}; lower the learning rate")
            if self.progress:
                rate = (i + 1) * self.batches.batch_size / (time.perf_counter() - started)
                self.progress(
                    self.step, self.n_steps, f"loss {total / (i + 1):.3f} {rate:.0f} clips/s {self._time_left()} left"
                )
        return total / len(self.batches)

    def _rows_of(self, values: np.ndarray) -> Tensor:
        """What this process has of a batch."""
        return torch.from_numpy(values[self.rows]).to(self.device)

    def _prepared(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None, list[Tensor]]]:
        """Batches of this epoch: features (B, C, F, N), targets (B, n_labels), soft targets (B, n_labels) or None, and
        teachers' embeddings (B, width) where they are matched.

        Batches that come again are kept in memory, the rows of this process and as long as this object lives: neither
        augmentation nor features nor teachers are computed twice. A resumed run computes them once more, to the same
        bits.
        """
        copy, copies = self.batches.copy_of(self.epoch), self.batches.augment.copies
        if copy in self.kept:
            self.batches.waited_s = 0.0
            yield from self.kept[copy]
            return
        kept = []
        for batch in self.batches.epoch(self.epoch):
            waveforms, targets = (self._rows_of(values) for values in (batch.waveforms, batch.targets))
            with torch.no_grad(), embeddings_of(self.hinting) as embeddings:
                features = self.model.frontend(waveforms)
                if self.teacher is None:
                    soft = None
                elif batch.quiet is None:
                    soft = self.teacher(waveforms, {self.model.spec: features})
                else:
                    soft = self.teacher(self._rows_of(batch.quiet))
            if copies and self.epoch + copies < self.config.epochs:
                kept.append((features, targets, soft, embeddings))
            yield features, targets, soft, embeddings
        if kept:
            self.kept[copy] = kept

    def _time_left(self) -> timedelta:
        """Until the schedule ends, at the pace so far, validation included."""
        step_s = (time.perf_counter() - self._started) / (self.step - self._first_step)
        return timedelta(seconds=round(step_s * (self.n_steps - self.step)))

    def _class_weights(self) -> Tensor | None:
        """Factors on the labels' terms of the loss, (n_labels,).

        Raises:
            ConfigError: if there are not as many as labels.
        """
        weights = self.config.class_weights
        n_labels = len(self.batches.labels)
        if weights == configuration.BALANCED:
            weights = 1 / (n_labels * self.batches.label_shares())  # 1 on average over what is drawn
        elif not weights:
            return None
        elif len(weights) != n_labels:
            raise ConfigError(f"class_weights has {len(weights)} values, expected one for each of {n_labels} labels")
        return torch.as_tensor(weights, dtype=torch.float32, device=self.device)

    def _train_step(self, plain: Tensor, targets: Tensor, soft: Tensor | None, embeddings: list[Tensor]) -> float:
        features = self._mask(plain)
        with autocast_for(self.precision, self.device):
            answer = self.network(features)
        logits, guesses = answer if self.hinting else (answer, [])
        logits = logits.float()
        if soft is None:
            loss = losses.cross_entropy(logits, targets, **self.loss_options)
        else:
            distill = self.distill
            loss = losses.distillation(logits, soft, targets, distill.temperature, distill.alpha, **self.loss_options)
        if guesses:
            matching = losses.feature_matching([guess.float() for guess in guesses], embeddings)
            loss = loss + self.distill.feature_weight * matching
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        self.step += 1
        self.average.update(self.model, self.step)
        return distributed.mean(loss).item()

    def _mask(self, features: Tensor) -> Tensor:
        """SpecAugment on all but waveforms and EMG, whose windows are few and have augmentation of their own."""
        augment, spec = self.augment, self.model.spec
        if not augment.enabled or spec.kind in ("raw", "emg"):
            return features
        keep = spec_augment(
            (self.batches.batch_size, *features.shape[1:]),
            np.random.default_rng([self.batches.seed, MASKS, self.step]),
            augment.time_masks,
            round(augment.time_mask_ms / 1000 * spec.sample_rate / spec.hop_length),
            augment.frequency_masks,
            round(augment.frequency_mask_share * features.shape[2]),
        )
        keep = torch.from_numpy(keep[self.rows]).to(self.device)
        return torch.where(keep, features, features.mean(dim=(2, 3), keepdim=True))

    def _answer(self) -> np.ndarray:
        """Logits (n, n_labels) of the averaged weights for the validation clips."""
        return distributed.in_shares(lambda part: predict_logits(self.average.model, part), self.validation[0])

    def _validate(self, record: dict, logits: np.ndarray | None) -> bool:
        """Add validation figures to `record`; True if this epoch is the best so far."""
        if logits is None:
            self.best = {**self.best, "epoch": self.epoch}
            return True
        targets = self.validation[1]
        right = logits.argmax(axis=1) == targets
        labels = self.batches.labels
        counted = targets != labels.index(NON_DIGIT) if NON_DIGIT in labels else np.ones(len(targets), bool)
        if not counted.all():  # its accuracy stands apart: there is as much of it as one cares to record
            record["validation_unknown"] = float(right[~counted].mean())
            if not counted.any():
                raise DataError(f"validation holds recordings of {NON_DIGIT} alone; choose another data.seed or split")
        accuracy = float(right[counted].mean())
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_likelihood = shifted[np.arange(len(targets)), targets] - np.log(np.exp(shifted).sum(axis=1))
        loss = float(-log_likelihood.mean())
        record["validation_accuracy"], record["validation_loss"] = accuracy, loss
        digits = np.unique(targets[counted])
        record["validation_macro"] = float(np.mean([right[targets == label].mean() for label in digits]))
        # Small validation sets jump from epoch to epoch: among epochs no worse than the best by more than a standard
        # error the last is kept, which the schedule has annealed furthest.
        peak = max(accuracy, self.best["peak"])
        kept = accuracy >= peak - math.sqrt(peak * (1 - peak) / counted.sum())
        fresh = accuracy > self.best["peak"] or loss < self.best["lowest_loss"]
        self.best = {
            **self.best,
            "peak": peak,
            "lowest_loss": min(loss, self.best["lowest_loss"]),
            "fresh_epoch": self.epoch if fresh else self.best["fresh_epoch"],
        }
        if kept:
            self.best |= {"epoch": self.epoch, "accuracy": accuracy, "loss": loss}
            self._best_state = deepcopy(self.average.model.state_dict())
        return kept

    def _path(self, which: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.phase}.{which}.pt"

    def _save(self, improved: bool) -> None:
        if self.folder is None:
            return
        shared = {
            "model": describe(self.model),
            "state": self.average.model.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "config": self.resolved,
            **self.batches.drawn_from,
        }
        if improved:
            save_checkpoint(self._path("best"), shared)
        whole = {
            **shared,
            "raw_state": self.model.state_dict(),
            "helpers": {name: helper.state_dict() for name, helper in self.helpers.items()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "step": self.step,
            "done": self.done,
        }
        if self.plateau:
            whole["plateau"] = self.plateau.state_dict()
        if self.device == "cuda":
            whole["cuda_rng"] = torch.cuda.get_rng_state()
        every = self.config.checkpoint_epochs
        if every and self.epoch % every == 0:
            save_checkpoint(self._path(f"epoch{self.epoch}"), whole)
        save_checkpoint(self._path("last"), whole)

    def _log(self, record: dict) -> None:
        if self.folder is None:
            return
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
