"""Contrastive pre-training on a GPU: seconds an epoch of 50,000 images, five seeds against one.

A ResNet-18 of full width fills a GPU by itself, so a stack is expected to take about as long as its
models in turn, and more memory: this benchmark says whether seeds are rather trained in turn.

    python tests/benchmarks/bench_images.py [--rows 50000] [--width 64] [--seeds 5] [--batch 512]

Without a GPU nothing is measured, unless `--device cpu` asks for it.
"""

import argparse
import time

import torch

from whycluster import ContrastiveClustering
from whycluster.embedded.images.phases import ImagePhases
from whycluster.training.device import matmul_precision
from whycluster.training.streams import Streams

SHAPE = (3, 32, 32)


def main() -> None:
    """Print seconds and memory of an epoch for one seed and for a stack, by precision."""
    arguments = _arguments()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("torch sees no GPU: not measured")
        return
    place = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {place}")
    print("precision  seeds  seconds an epoch  in turn  memory (GiB)")
    for precision in ("highest", "high"):
        one = _measure(1, precision, arguments)
        many = _measure(arguments.seeds, precision, arguments)
        for n, (seconds, memory) in ((1, one), (arguments.seeds, many)):
            print(f"{precision:<9} {n:6d} {seconds:17.2f} {n * one[0]:8.2f} {memory:13.2f}")


def _measure(n_models: int, precision: str, arguments) -> tuple[float, float]:
    """Return seconds of the second epoch of pre-training, and the most memory it took."""
    is_gpu = arguments.device == "cuda"
    if is_gpu:
        torch.cuda.reset_peak_memory_stats()
    epoch = _epoch(n_models, precision, arguments)
    with (
        matmul_precision(precision),
        torch.backends.cudnn.flags(
            enabled=True, deterministic=True, allow_tf32=precision != "highest"
        ),
    ):
        epoch()
        _wait(arguments.device)
        started = time.perf_counter()
        epoch()
        _wait(arguments.device)
    seconds = time.perf_counter() - started
    return seconds, torch.cuda.max_memory_allocated() / 2**30 if is_gpu else float("nan")


def _epoch(n_models: int, precision: str, arguments):
    """Return a function that trains one epoch of pre-training on random images."""
    model = ContrastiveClustering(
        10,
        width=arguments.width,
        batch_size=arguments.batch,
        pretrain_epochs=1,
        device=arguments.device,
        precision=precision,
    )
    model.image_shape_ = SHAPE
    streams = Streams(range(n_models), arguments.device)
    network = model._build(streams).to(arguments.device)
    data = torch.rand(arguments.rows, 3 * 32 * 32, device=arguments.device)
    phases = ImagePhases(model, network, data, streams)
    return lambda: phases.pretrain(1, None)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main()
