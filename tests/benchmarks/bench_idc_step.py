"""One pre-training step of IDC at the size of MNIST: batch 100, 784-512-512-2048-10.

Targets on two cores: 90 ms at `highest` and 55 ms at `medium` precision (the latter needs a CPU
with bfloat16 matrix units).

    python tests/benchmarks/bench_idc_step.py
"""

from functools import partial

import torch
from timing import fastest, large_product, large_product_gflop, prepare
from torch.utils.flop_counter import FlopCounterMode

from whycluster.idc.estimator import IDC
from whycluster.idc.phases import IDCPhases
from whycluster.training.device import matmul_precision
from whycluster.training.loop import _run_epoch, _Steps
from whycluster.training.streams import Streams

TARGETS = {"highest": 90, "medium": 55}  # ms


def build_step():
    """Return one gated step, as training takes it."""
    streams = Streams([0])
    model = IDC(10)
    model.n_features_in_ = 784
    network = model._build(streams)
    run = IDCPhases(model, network, torch.rand(100, 784), streams)
    parts = (network.encoder, network.decoder, network.gating)
    parameters = [p for part in parts for p in part.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=model.learning_rate, fused=True)
    rows = torch.arange(100).expand(1, -1)
    take = _Steps(run._step_gated, optimizer).take
    return partial(_run_epoch, take, [rows], 0.5)


def count_gflop(step) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def main() -> None:
    """Print one line per precision."""
    prepare()
    step, product = build_step(), large_product()
    gflop = count_gflop(step)
    print("precision  step ms  target ms  GFLOP  GFLOP/s  large product GFLOP/s  floor ms")
    for precision, target in TARGETS.items():
        with matmul_precision(precision):
            seconds, floor = fastest(step, product)
        peak = large_product_gflop() / floor
        print(
            f"{precision:<9}  {1e3 * seconds:7.1f}  {target:9}  {gflop:5.2f}  "
            f"{gflop / seconds:7.0f}  {peak:21.0f}  {1e3 * gflop / peak:8.1f}"
        )


if __name__ == "__main__":
    main()
