"""Cost of training four random subnets, against the same four as networks of their own, and against the released OFA.

    python benchmarks/step.py [--batch 64] [--image 64] [--rounds 15]

Times are medians over rounds in which the contenders take turns, so that their ratios hold on a noisy machine. For
the comparison with the released code: ``pip install --no-deps ofa tqdm``.
"""

import argparse
import importlib.util
import random
import statistics
import sys
import time

import torch
import torch.nn.functional as F

import wsn


def step(networks, optimizer, x, y) -> None:
    """Train on one batch: forward and backward of each network, one optimizer step."""
    for network in networks():
        F.cross_entropy(network(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, nesterov=True)


class Ours:
    """wsn: views of one supernet."""

    def __init__(self, net, subnets):
        self.net = net.train()
        self.subnets = subnets
        self.optimizer = sgd(net.parameters())

    def networks(self):
        return (self.net.view(s) for s in self.subnets)


class StandAlone:
    """The same architectures as four timm networks with their own weights and one optimizer."""

    def __init__(self, net, subnets):
        self.plain = [net.extract(s).train() for s in subnets]
        self.optimizer = sgd([p for network in self.plain for p in network.parameters()])

    def networks(self):
        return self.plain


class Released:
    """The released OFA supernet (package ``ofa``), which holds one active subnet at a time."""

    def __init__(self, net, subnets, width):
        from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3

        model = OFAMobileNetV3(
            n_classes=net.model.num_classes,
            dropout_rate=0,
            width_mult=width,
            ks_list=[3, 5, 7],
            expand_ratio_list=[3, 4, 6],
            depth_list=[2, 3, 4],
        )
        self.model = model.train()
        self.subnets = subnets
        self.optimizer = sgd(model.parameters())

    def networks(self):
        for s in self.subnets:
            kernel, expand = ([v or 3 for v in s[n]] for n in ("kernel", "expand"))
            self.model.set_active_subnet(ks=kernel, e=expand, d=list(s["depth"]))
            yield self.model


def view_ms(net: wsn.Supernet, subnets) -> float:
    """Return the time of making one view in milliseconds."""
    start = time.perf_counter()
    for s in subnets:
        net.view(s)
    return (time.perf_counter() - start) / len(subnets) * 1e3


def costs_per_second(net: wsn.Supernet) -> float:
    """Return cost queries a second for subnets that were not asked for before, once the blocks are known."""
    rng = random.Random(1)
    subnets = [net.space.sample(rng) for _ in range(20_000)]
    for s in subnets[:10_000]:
        wsn.cost(net, s)
    start = time.perf_counter()
    for s in subnets[10_000:]:
        wsn.cost(net, s)
    return 10_000 / (time.perf_counter() - start)


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--image", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--width", type=float, default=1.0)
    args = parser.parse_args()
    torch.manual_seed(0)
    net = wsn.create_supernet("mobilenetv3", num_classes=100, width_mult=args.width, resolution=args.image)
    rng = random.Random(0)
    subnets = [net.space.sample(rng) for _ in range(4)]
    x, y = torch.randn(args.batch, 3, args.image, args.image), torch.randint(0, 100, (args.batch,))
    contenders = {"stand-alone": StandAlone(net, subnets), "wsn": Ours(net, subnets)}
    if importlib.util.find_spec("ofa"):
        contenders["released OFA"] = Released(net, subnets, args.width)
    else:
        print("ofa is not installed: pip install --no-deps ofa tqdm", file=sys.stderr)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for i in range(args.rounds + 2):
        for name, contender in contenders.items():
            start = time.perf_counter()
            step(contender.networks, contender.optimizer, x, y)
            if i >= 2:
                times[name].append(time.perf_counter() - start)
    print(f"step of four random subnets, batch {args.batch}, {args.image} px, {torch.get_num_threads()} threads")
    for name, values in times.items():
        ratios = [v / base for v, base in zip(values, times["stand-alone"])]
        print(f"  {name:13} {1e3 * statistics.median(values):8.0f} ms   {statistics.median(ratios):5.2f} × stand-alone")
    print(f"making a view {view_ms(net, [net.space.sample(rng) for _ in range(200)]):.2f} ms")
    wide = wsn.create_supernet("mobilenetv3")
    torch.set_num_threads(1)
    print(f"cost queries  {costs_per_second(wide):,.0f} a second")


if __name__ == "__main__":
    main()
