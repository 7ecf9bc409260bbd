"""whittle's sandwich on the shapes, texts and tokens of sweeps/language_small.sh: what AmoebaLLM is compared with.

python benchmarks/whittle_sandwich.py RUN TEXT   (pip install whittle==0.6.0 litgpt syne-tune==0.13.0)

RUN is a run folder of method=amoeba, whose model, training batches and named shapes are taken; TEXT the folder that
sweeps/language_text.py wrote. Trains whittle's own supernet (litgpt's GPT with the same weights) by its own
SandwichStrategy, all weights, and writes RUN/../whittle/<text>.csv, a row for each shape: the first layers, heads and
FFN units of the checkpoint's order, which is whittle's subnet of those sizes.
"""

import argparse
import math
from pathlib import Path

import torch

import wsn
from wsn.config import build, build_data
from wsn.files import read_csv, write_csv
from wsn.run.folder import read_config


class Shapes:
    """A search space of whittle: depth and one width for heads and FFN, as method=amoeba has it."""

    def __init__(self, space):
        from syne_tune.config_space import choice

        self.space = space
        leaders = {name: space.dimensions[name].choices[0] for name in ("depth", "width")}
        self.config_space = {name: choice(list(values)) for name, values in leaders.items()}

    def cast(self, config):
        """Return whittle's sizes of a depth and a width."""
        return sizes(self.space.subnet(depth=int(config["depth"]), width=config["width"]))


def sizes(subnet):
    """Return the arguments of ``set_sub_network``."""
    heads = next(h for h in subnet["heads"] if h)
    ffn = next(f for f in subnet["ffn"] if f)
    return {
        "sub_network_n_embd": subnet["embed_dim"],
        "sub_network_n_layers": sum(subnet["layers"]),
        "sub_network_intermediate_size": ffn,
        "sub_network_num_heads": heads,
        "sub_network_query_groups": heads // 3,
        "sub_network_head_size": 64,
    }


def make(model, length):
    """Return whittle's supernet with the weights of a transformers Llama, and check that it computes the same."""
    from litgpt import Config
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
    from whittle.models.gpt import GPT

    config = Config.from_name("SmolLM2-135M")
    config.fix_head_size, config.tie_embeddings = True, True
    net, state = GPT(config), {}
    copy_weights_hf_llama(config, {}, state, dict(model.state_dict()))
    net.load_state_dict(state, strict=False)
    net.tie_weights()
    net.max_seq_length = length
    tokens = torch.arange(40).unsqueeze(0) + 1000
    with torch.no_grad():
        error = (net(tokens) - model(input_ids=tokens).logits).abs().max().item()
    print(f"largest difference of logits to transformers': {error:.1e}")
    return net


@torch.no_grad()
def perplexity(net, batches):
    """Return the perplexity over batches of tokens and the tokens after them."""
    nats = count = 0
    for tokens, labels in batches:
        loss = torch.nn.functional.cross_entropy(net(tokens).flatten(0, 1), labels.flatten(), reduction="sum")
        nats, count = nats + loss.item(), count + labels.numel()
    return math.exp(nats / count)


def main():
    """Train, measure, write."""
    import lightning as L
    from whittle.sampling.random_sampler import RandomSampler
    from whittle.training_strategies.sandwich import SandwichStrategy

    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--lr", type=float, default=1e-4)
    args = parser.parse_args()
    L.seed_everything(0, verbose=False)
    cfg = read_config(args.run)
    data = build_data(cfg.data)
    data.setup()
    net = make(wsn.create_supernet("llama", model_dir=cfg.backbone.model_dir).model, cfg.data.sequence_length)
    space = build(cfg.method).prepare(wsn.create_supernet("llama", model_dir=cfg.backbone.model_dir)).space

    def loss(logits, labels):
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    strategy = SandwichStrategy(random_samples=2, sampler=RandomSampler(Shapes(space), seed=0), loss_function=loss)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=0.0)
    for step, (tokens, labels) in enumerate(data.train_dataloader()):
        total = strategy(net, tokens, labels)
        torch.nn.utils.clip_grad_norm_(net.parameters(), cfg.optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step}: mean loss of four subnets {total / 4:.3f}", flush=True)
    out = args.run.parent / "whittle"
    out.mkdir(exist_ok=True)
    shapes = [row for row in read_csv(args.run / "subnets.csv") if row["split"] == "test"]
    for text in ("shakespeare", "python"):
        test = build_data({**cfg.data, "test": str(args.text / f"{text}.txt")})
        rows = []
        for row in shapes:
            net.reset_super_network()
            net.set_sub_network(**sizes(space.find(row["arch"])))
            rows.append({**row, "perplexity": perplexity(net, test.test_dataloader())})
        write_csv(out / f"{text}.csv", rows)


if __name__ == "__main__":
    main()
