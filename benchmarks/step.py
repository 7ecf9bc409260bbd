"""Cost of a sandwich step (largest, two random, smallest), against networks of their own and against released code.

    python benchmarks/step.py [FAMILY ...] [--peers DIR] [--rounds 11]

Families: mobilenet (peer: once-for-all), attentive (AttentiveNAS), autoformer (AutoFormer), llama (whittle 0.6.0).
Times are medians over rounds in which the contenders take turns, so their ratios hold on a noisy machine; memory is
the growth of the peak resident size over five steps in a process of its own. Peers: ``pip install --no-deps ofa tqdm
whittle litgpt``; DIR holds clones of facebookresearch/AttentiveNAS as ``attentive_nas`` and of microsoft/Cream's
AutoFormer folder as ``autoformer``. A peer that is not there is left out.
"""

import argparse
import collections.abc
import random
import statistics
import subprocess
import sys
import time
import types
from pathlib import Path

import torch
import torch.nn.functional as F

import wsn

FAMILIES = {
    "mobilenet": ("mobilenet", {"num_classes": 100, "resolution": 64}),
    "attentive": ("attentive_mobilenet", {"num_classes": 100, "resolution": 64}),
    "autoformer": ("autoformer_tiny", {"num_classes": 100, "resolution": 64, "embed_dim": [192, 216, 240, 256]}),
    "llama": (
        "llama",
        {
            "num_layers": 6,
            "hidden_size": 256,
            "num_heads": 8,
            "kv_heads": 8,
            "ffn_size": 768,
            "depth": [2, 4, 6],
            "tie_embeddings": False,
        },
    ),
}


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, nesterov=True)


def step(contender, x, y):
    """Train on one batch: forward and backward of each network, one optimizer step."""
    for network in contender.networks():
        out = network(x)
        logits = out if isinstance(out, torch.Tensor) else out.logits
        F.cross_entropy(logits.flatten(0, -2), y.flatten()).backward()
    contender.optimizer.step()
    contender.optimizer.zero_grad()


class Wsn:
    """Views of one supernet."""

    def __init__(self, net, subnets, peers):
        self.net, self.subnets = net.train(), subnets
        self.optimizer = sgd(net.parameters())

    def networks(self):
        return (self.net.view(s) for s in self.subnets)


class StandAlone:
    """The same architectures as four networks with their own weights and one optimizer."""

    def __init__(self, net, subnets, peers):
        self.plain = [net.extract(s).train() for s in subnets]
        self.optimizer = sgd([p for network in self.plain for p in network.parameters()])

    def networks(self):
        return self.plain


class Released:
    """A released supernet, which holds one active subnet at a time; subclasses make and set it."""

    def __init__(self, net, subnets, peers):
        self.net, self.subnets = net, subnets
        self.model = self.make(peers).train()
        self.optimizer = sgd(self.model.parameters())

    def networks(self):
        for s in self.subnets:
            self.activate(s)
            yield self.model


class OnceForAll(Released):
    def make(self, peers):
        from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3

        lists = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
        return OFAMobileNetV3(n_classes=100, dropout_rate=0, width_mult=1.0, **lists)

    def activate(self, s):
        kernel, expand = ([v or 3 for v in s[n]] for n in ("kernel", "expand"))
        self.model.set_active_subnet(ks=kernel, e=expand, d=list(s["depth"]))


class AttentiveNAS(Released):
    def make(self, peers):
        sys.path.insert(0, str(Path(peers) / "attentive_nas"))
        import yaml
        from models.attentive_nas_dynamic_model import AttentiveNasDynamicModel

        def attributes(node):
            if not isinstance(node, dict):
                return node
            return types.SimpleNamespace(**{k: attributes(v) for k, v in node.items()})

        config = yaml.safe_load((Path(peers) / "attentive_nas/configs/train_attentive_nas_models.yml").read_text())
        return AttentiveNasDynamicModel(attributes(config["supernet_config"]), n_classes=100, bn_param=(0.1, 1e-5))

    def activate(self, s):
        names = {"kernel_size": "kernel", "expand_ratio": "expand", "width": "width", "depth": "depth"}
        self.model.set_active_subnet(resolution=64, **{theirs: list(s[ours]) for theirs, ours in names.items()})


class AutoFormer(Released):
    def make(self, peers):
        sys.path.insert(0, str(Path(peers) / "autoformer"))
        six = types.ModuleType("torch._six")
        six.container_abcs = collections.abc
        sys.modules["torch._six"] = six
        from model.supernet_transformer import Vision_TransformerSuper

        return Vision_TransformerSuper(
            img_size=64, embed_dim=256, depth=14, num_heads=4, qkv_bias=True, num_classes=100, gp=True,
            relative_position=True, change_qkv=True,
        )  # fmt: skip

    def activate(self, s):
        n = s["depth"]
        heads, ratios = list(s["heads"][:n]), list(s["mlp_ratio"][:n])
        embed = [s["embed_dim"]] * n
        self.model.set_sample_config({"embed_dim": embed, "mlp_ratio": ratios, "num_heads": heads, "layer_num": n})


class Whittle(Released):
    def make(self, peers):
        from litgpt import Config
        from whittle.models.gpt import GPT

        config = Config(
            block_size=1024, padded_vocab_size=256, vocab_size=256, n_layer=6, n_head=8, n_embd=256, n_query_groups=8,
            intermediate_size=768, rotary_percentage=1.0, parallel_residual=False, bias=False,
            norm_class_name="RMSNorm", mlp_class_name="LLaMAMLP",
        )  # fmt: skip
        config.fix_head_size = True
        model = GPT(config)
        model.max_seq_length = 256
        return model

    def activate(self, s):
        n = s["depth"]
        self.model.set_sub_network(
            sub_network_n_embd=s["embed_dim"], sub_network_n_layers=n, sub_network_intermediate_size=list(s["ffn"][:n]),
            sub_network_num_heads=list(s["heads"][:n]), sub_network_query_groups=list(s["heads"][:n]),
            sub_network_head_size=32,
        )  # fmt: skip


PEERS = {"mobilenet": OnceForAll, "attentive": AttentiveNAS, "autoformer": AutoFormer, "llama": Whittle}


def prepare(family, batch):
    """Return the supernet, the four subnets and a batch."""
    torch.manual_seed(0)
    name, options = FAMILIES[family]
    net = wsn.create_supernet(name, **options)
    rng = random.Random(0)
    space = net.space
    subnets = [space.max(), space.sample(rng), space.sample(rng), space.min()]
    if family == "llama":
        tokens = torch.randint(0, 256, (batch // 4, 129))
        return net, subnets, tokens[:, :-1], tokens[:, 1:]
    return net, subnets, torch.randn(batch, 3, 64, 64), torch.randint(0, 100, (batch,))


def make(kind, net, subnets, peers):
    """Return a contender, or None where a peer is not installed."""
    try:
        return kind(net, subnets, peers)
    except (ImportError, FileNotFoundError) as error:
        print(f"left out {kind.__name__}: {error}", file=sys.stderr)
        return None


def compare(family, args):
    """Print the table of one family."""
    net, subnets, x, y = prepare(family, args.batch)
    kinds = {"stand-alone": StandAlone, "wsn": Wsn, PEERS[family].__name__: PEERS[family]}
    contenders = {name: made for name, kind in kinds.items() if (made := make(kind, net, subnets, args.peers))}
    times = {name: [] for name in contenders}
    for i in range(args.rounds + 2):
        for name, contender in contenders.items():
            start = time.perf_counter()
            step(contender, x, y)
            if i >= 2:
                times[name].append(time.perf_counter() - start)
    print(f"\n{family}: sandwich step, batch {len(x)}, {torch.get_num_threads()} threads")
    for name, values in times.items():
        ratio = statistics.median(v / base for v, base in zip(values, times["stand-alone"]))
        memory = peak(family, name, args)
        print(f"  {name:13} {1e3 * statistics.median(values):7.0f} ms  {ratio:5.2f} × stand-alone  {memory:6.0f} MiB")
    rng = random.Random(0)
    drawn = [net.space.sample(rng) for _ in range(100)]
    start = time.perf_counter()
    for s in drawn:
        net.view(s)
    print(f"  making a view {(time.perf_counter() - start) * 10:.1f} ms", flush=True)


def peak(family, name, args):
    """Return the growth of the peak resident size in MiB over five steps, in a process of its own."""
    command = [sys.executable, __file__, family, "--memory-of", name, "--peers", args.peers, "--batch", str(args.batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def memory_of(family, name, args):
    """Print that growth for this process."""
    net, subnets, x, y = prepare(family, args.batch)
    kind = {"stand-alone": StandAlone, "wsn": Wsn}.get(name, PEERS[family])
    before = resident_peak()
    contender = kind(net, subnets, args.peers)
    for _ in range(5):
        step(contender, x, y)
    print(resident_peak() - before)


def resident_peak():
    """Return the peak resident size of this process in MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def costs_per_second():
    """Return cost queries a second for subnets that were not asked for before, once the blocks are known."""
    net, rng = wsn.create_supernet("mobilenet"), random.Random(1)
    subnets = [net.space.sample(rng) for _ in range(20_000)]
    for s in subnets[:10_000]:
        wsn.cost(net, s)
    start = time.perf_counter()
    for s in subnets[10_000:]:
        wsn.cost(net, s)
    return 10_000 / (time.perf_counter() - start)


def main() -> None:
    """Run the comparisons and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--peers", default=".", help="folder of the clones")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        return memory_of(args.families[0], args.memory_of, args)
    for family in args.families:
        compare(family, args)
    torch.set_num_threads(1)
    print(f"\ncost queries {costs_per_second():,.0f} a second")
    return None


if __name__ == "__main__":
    main()
