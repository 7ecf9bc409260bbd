"""Every model of timm as a ``slimmable`` and as a ``timm_cnn`` backbone: it works, or is refused in one line.

    python tests/campaigns/timm_models.py shapes [PART/PARTS]   # all models, shapes and costs, on the meta device
    python tests/campaigns/timm_models.py values [PART/PARTS]   # models that work, below 30 M parameters: numbers
    python tests/campaigns/timm_models.py report                # what docs/backbones.md says

Rows are in docs/data/timm_models.csv; a model that is there is not tried again. Weights of ``values`` are random: each
parameter and statistic off its initial value, so that a mix-up shows.
"""

import argparse
import csv
import sys
import warnings
from collections import Counter
from pathlib import Path

import torch

import wsn  # repairs torchvision, which timm needs
from wsn.errors import WsnError

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "data" / "timm_models.csv"
BACKBONES = {"slimmable": {"width": [0.25, 0.5, 0.75, 1.0]}, "timm_cnn": {}}
COLUMNS = ["model", "backbone", "result", "params", "smallest_macs", "largest_macs", "values", "reason"]
LARGEST = 30e6  # parameters, of models whose numbers are compared


def main() -> None:
    """Run one of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["shapes", "values", "report"])
    parser.add_argument("part", nargs="?", default="0/1")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    part, parts = map(int, given.part.split("/"))
    if given.what == "report":
        report(read())
    elif given.what == "shapes":
        from timm import list_models

        known = {(row["model"], row["backbone"]) for row in read()}
        todo = [(m, b) for m in list_models() for b in BACKBONES if (m, b) not in known]
        for model, backbone in todo[part::parts]:
            add(shapes(model, backbone))
    else:
        todo = [r for r in read() if r["result"] == "works" and float(r["params"]) < LARGEST and not r["values"]]
        for row in todo[part::parts]:
            add({**row, "values": values(row["model"], row["backbone"])})


def read() -> list[dict[str, str]]:
    """Return the rows, the last one of each model and backbone."""
    if not TABLE.exists():
        return []
    with open(TABLE, newline="") as file:
        rows = {(row["model"], row["backbone"]): row for row in csv.DictReader(file)}
    return list(rows.values())


def add(row: dict) -> None:
    """Append a row."""
    new = not TABLE.exists()
    with open(TABLE, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row["model"], row["backbone"], row["result"], row.get("values", ""), row.get("reason", "")[:90], flush=True)


def make(model: str, backbone: str) -> wsn.Supernet:
    """Return a model as a supernet of the size that its weights are made for."""
    from timm.models import get_pretrained_cfg

    size = get_pretrained_cfg(model).input_size[-1]
    return wsn.create_supernet(backbone, model=model, resolution=size, **BACKBONES[backbone])


def shapes(model: str, backbone: str) -> dict:
    """Return a row: costs of the smallest and the largest subnet, or why there are none."""
    row = {"model": model, "backbone": backbone}
    try:
        with torch.device("meta"):
            net = make(model, backbone)
            small, large = (wsn.cost(net, s) for s in (net.space.min(), net.space.max()))
            assert large.params == sum(p.numel() for p in net.model.parameters())
    except WsnError as error:
        result = "refused" if "\n" not in str(error) else "several lines"
        return {**row, "result": result, "reason": str(error)[:120]}
    except Exception as error:  # what a user would see as a traceback
        return {**row, "result": "traceback", "reason": f"{type(error).__name__}: {error}".replace("\n", " ")[:300]}
    costs = {"params": large.params, "smallest_macs": small.macs, "largest_macs": large.macs}
    return {**row, "result": "works", **costs}


@torch.no_grad()
def values(model: str, backbone: str) -> str:
    """Return ``equal``: the largest view is timm's own network, and a view is its extracted network, bit for bit."""
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.nets import randomise

    torch.manual_seed(0)
    net = randomise(make(model, backbone)).eval()
    x = torch.randn(1, net.in_chans, *[int(net.space.max()["resolution"])] * 2)
    if not torch.equal(net(x), net.model(x)):
        return "largest differs"
    subnet = net.space.min()
    plain = net.extract(subnet).eval()
    return "equal" if torch.equal(net.view(subnet)(x), plain(x)) else "view differs"


def report(rows: list[dict[str, str]]) -> None:
    """Print how many work, and the commonest reasons of the others."""
    for backbone in BACKBONES:
        own = [row for row in rows if row["backbone"] == backbone]
        print(backbone, dict(Counter(row["result"] for row in own)), dict(Counter(row["values"] for row in own)))
        families = Counter(row["reason"].partition(":")[0][-60:] for row in own if row["reason"])
        for reason, count in families.most_common(5):
            print(f"  {count:5} {reason}")


if __name__ == "__main__":
    main()
