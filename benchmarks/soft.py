"""Sorted fine-tuning of a pretrained language model: perplexity of each depth before and after.

python benchmarks/soft.py MODEL_DIR [--steps 200]: trains on the packaged Shakespeare plays, measures on Hamlet.
"""

import argparse
import math
import time

import torch

import wsn
from wsn.callbacks.progressive_shrinking import ProgressiveShrinking
from wsn.data.text import TextData
from wsn.methods.soft import SoFT
from wsn.module import SupernetModule
from wsn.samplers.exits import ExitSampler
from wsn.schedule import Phase, RoleLoss, cosine

WINDOW = 512


@torch.inference_mode()
def perplexities(net, tokens, depths, windows):
    """Return depth → perplexity over windows of 512 tokens, all depths from one forward each."""
    view = net.view(net.space.max()).eval()
    head, nats = net.head(view), dict.fromkeys(depths, 0.0)
    for i in range(windows):
        window = tokens[i * WINDOW : (i + 1) * WINDOW].unsqueeze(0)
        for depth, hidden in zip(depths, net.hidden_states(view, window, depths)):
            loss = torch.nn.functional.cross_entropy(head(hidden[0, :-1]), window[0, 1:], reduction="sum")
            nats[depth] += loss.item()
    return {depth: math.exp(total / (windows * (WINDOW - 1))) for depth, total in nats.items()}


def main():
    """Measure, train, measure."""
    import lightning as L  # after wsn, which mends torchvision beside a CPU-only torch

    parser = argparse.ArgumentParser()
    parser.add_argument("model_dir")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--depths", type=int, nargs="+", default=[15, 20, 25, 30])
    parser.add_argument("--windows", type=int, default=20, help="windows of Hamlet to measure on")
    args = parser.parse_args()
    L.seed_everything(0, verbose=False)
    net = wsn.create_supernet("llama", model_dir=args.model_dir, depth=args.depths)
    data = TextData(
        tokenizer=args.model_dir, sequence_length=args.length, batch_size=args.batch, val_size=64, eval_batch_size=4
    )
    data.setup()
    tokens = torch.cat([data._test.inputs.flatten()])[: args.windows * WINDOW]
    before = perplexities(net, tokens, args.depths, args.windows)
    print("before", {d: round(p, 2) for d, p in before.items()}, flush=True)
    data.images_per_epoch = args.steps * args.batch
    module = SupernetModule(
        net,
        SoFT("soft", {"all": Phase(1)}, {"exit": RoleLoss()}),
        ExitSampler(net.space, roles=["exit"], shared=[]),
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=args.lr),
        curve=cosine,
        clip_norm=1.0,
        init=False,
    )
    trainer = L.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_model_summary=False, accelerator="cpu",
        callbacks=[ProgressiveShrinking()], enable_progress_bar=False,
    )  # fmt: skip
    start = time.perf_counter()
    trainer.fit(module, datamodule=data)
    seconds = (time.perf_counter() - start) / args.steps
    after = perplexities(net, tokens, args.depths, args.windows)
    print(f"{args.steps} steps of {args.batch} × {args.length} tokens, {seconds:.1f} s a step")
    print("| layers | params (M) | before | after |\n|---|---|---|---|")
    for depth in args.depths:
        params = wsn.cost(net, net.space.subnet(depth=depth)).params / 1e6
        print(f"| {depth} | {params:.1f} | {before[depth]:.1f} | {after[depth]:.1f} |")


if __name__ == "__main__":
    main()
