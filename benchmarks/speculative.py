"""Self-speculative decoding against greedy decoding by the full network: acceptance and speed.

python benchmarks/speculative.py --run outputs/soft-llama --drafts 1 2 3
python benchmarks/speculative.py --model-dir outputs/weights/smollm2 --drafts 20 25 28

The baseline is the same loop without a draft.
"""

import argparse
import time

import torch

import wsn
from wsn.deploy.speculative import speculate
from wsn.run.run import open_run

PROMPTS = ("ROMEO:\nBut soft! What light", "KING HENRY:\nOnce more", "The sea is", "My lord, I ")


@torch.inference_mode()
def greedy(model, tokens, count):
    """The same loop without a draft."""
    out = model(input_ids=tokens, use_cache=True, logits_to_keep=1)
    text = [int(out.logits[0, -1].argmax())]
    for _ in range(count - 1):
        out = model(input_ids=tokens.new_tensor([text[-1:]]), past_key_values=out.past_key_values, use_cache=True)
        text.append(int(out.logits[0, -1].argmax()))
    return torch.cat([tokens, tokens.new_tensor([text])], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run")
    parser.add_argument("--model-dir")
    parser.add_argument("--drafts", type=int, nargs="+", required=True, help="layers of the draft")
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    if options.run:
        net = open_run(options.run).net
        prompts = [torch.tensor([list(p.encode())]) for p in PROMPTS]
    else:
        from wsn.backbones.hugging_face import load_tokenizer

        net = wsn.create_supernet("llama", model_dir=options.model_dir).eval()
        tokenizer = load_tokenizer(options.model_dir)
        prompts = [tokenizer(p, return_tensors="pt").input_ids for p in PROMPTS]
    full = net.view(net.space.max()).eval()
    print("| layers of the draft | drafted at once | acceptance | times faster | same text |\n|---|---|---|---|---|")
    for layers in options.drafts:
        draft = net.view(net.space.subnet(layers=list(range(layers)))).eval()
        for count in (2, 4):
            seconds, accepted, drafted, same = [0.0, 0.0], 0, 0, True
            for prompt in prompts:
                start = time.perf_counter()
                expected = greedy(full, prompt, options.tokens)
                middle = time.perf_counter()
                found = speculate(full, draft, prompt, options.tokens, count)
                seconds[0] += middle - start
                seconds[1] += time.perf_counter() - middle
                accepted, drafted = accepted + found.accepted, drafted + found.drafted
                same = same and torch.equal(found.tokens, expected)
            print(
                f"| {layers} | {count} | {accepted / drafted:.2f} | {seconds[0] / seconds[1]:.2f} | "
                f"{'yes' if same else 'NO'} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
